"""`in_sync`: a blocking face of what stands on a store."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

from satchel import Collection, ConfigurationError, MemoryStore, ModelMismatchError, StoreError
from satchel.caching import cached
from satchel.coordination import Counter, Lock, Once
from satchel.sync import SyncCollection, SyncStore, in_sync


class Layer:
    """Stands for a layer of somebody else's."""

    kind = "layer"

    def __init__(self, store):
        self.store, self.seen = store, []

    async def name(self):
        return "name"

    def plain(self, value):
        return value + 1

    async def numbers(self, count):
        try:
            for number in range(count):
                yield number
        finally:
            self.seen.append("left")

    @contextlib.asynccontextmanager
    async def within(self, value, *, swallow=False):
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(50):  # it must be left in the task that entered it
                yield value
        except KeyError:
            if not swallow:
                raise
        finally:
            self.seen.append("same" if asyncio.current_task() is task else "other")

    @contextlib.asynccontextmanager
    async def broken(self):
        raise ValueError("broken")
        yield

    async def part(self):
        return Layer(self.store)

    async def parts(self):
        yield Layer(self.store)
        yield 1

    @contextlib.asynccontextmanager
    async def ends_its_body(self):
        task = asyncio.current_task()
        try:
            asyncio.get_running_loop().call_soon(task.cancel)
            yield
        except asyncio.CancelledError:
            raise LookupError("lost") from None


@pytest.fixture
def store() -> Iterator[SyncStore]:
    with SyncStore(MemoryStore()) as store:
        yield store


@pytest.fixture
def layer(store):
    return in_sync(Layer(store.inner), store)


def test_methods_block_and_all_else_is_as_it_was(layer):
    assert layer.name() == "name"
    assert layer.plain(1) == 2
    assert layer.kind == "layer"
    assert layer.part().name() == "name", "what an async object gives has a face too"
    assert repr(layer).startswith("in_sync(<")
    with pytest.raises(AttributeError, match="missing"):
        layer.missing  # noqa: B018  # looking is the test


def test_async_iterators_are_iterated(layer):
    assert list(layer.numbers(3)) == [0, 1, 2]
    for number in layer.numbers(3):
        assert number == 0
        break
    assert layer.name() == "name"
    assert list(layer.numbers(0)) == []
    assert layer.seen[0] == "left"


def test_async_context_managers_are_entered_and_left_in_one_task(layer):
    with layer.within(7) as value:
        assert value == 7
    with layer.within(7, swallow=True):
        raise KeyError("swallowed")
    with pytest.raises(KeyError, match="raised"), layer.within(7):
        raise KeyError("raised")
    assert layer.seen == ["same"] * 3
    with pytest.raises(ValueError, match="broken"), layer.broken():
        pass
    with pytest.raises(LookupError, match="lost"), layer.ends_its_body():
        layer.name()


def test_what_is_not_for_with_or_for_says_so(store, layer):
    with pytest.raises(TypeError, match="not an async context manager"), layer:
        pass
    with pytest.raises(TypeError, match="not an async iterator"):
        iter(layer)


def test_a_counter_counts_over_threads(store):
    visits = in_sync(Counter(store.inner, "visits"), store)
    threads = [threading.Thread(target=visits.increment) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert visits.value() == 5
    visits.reset()
    assert visits.value() == 0


def test_a_lock_is_held_by_one_thread(store):
    lock, seen = in_sync(Lock(store.inner, "jobs"), store), []
    with lock:
        assert lock.held
        other = in_sync(Lock(store.inner, "jobs"), store)
        assert other.acquire(timeout=0) is False

        def wait() -> None:
            with other:
                seen.append("other")

        waiting = threading.Thread(target=wait)
        waiting.start()
        seen.append("first")
    waiting.join()
    assert seen == ["first", "other"]
    assert not lock.locked()


def test_once_runs_once(store):
    calls = []

    async def charge() -> str:
        calls.append(1)
        return "charged"

    run = in_sync(Once(store.inner).run, store)
    assert [run("order", charge), run("order", charge)] == ["charged"] * 2
    assert len(calls) == 1


def test_any_name_may_be_that_of_a_keyword_of_a_cached_function(store):
    @cached(store.inner, "c")
    async def named(**values: int) -> dict[str, int]:
        return values

    face = in_sync(named, store)
    assert face(self=1) == face(self=1) == {"self": 1}
    assert face.invalidate(self=1) is True


def test_a_collection_becomes_a_sync_collection(store):
    numbers = in_sync(Collection(store.inner, "n", model=int), store)
    assert isinstance(numbers, SyncCollection)
    numbers.put("a", 1)
    with pytest.raises(ModelMismatchError):
        numbers.put("b", "text")


def test_sync_collections_have_the_everyday_verbs(store):
    numbers = store.collection("n", model=int)
    numbers.put_many({"a": 1, "b/c": 2, "b/d": 3})
    assert numbers.count() == 3
    assert list(numbers.keys(glob="b/*", limit=1, after="")) == ["b/c"]
    assert list(numbers.values(prefix="b/", after="")) == [2, 3]
    assert list(numbers.items(depth=1)) == [("a", 1)]
    assert list(numbers.prefixes()) == ["b/"]
    assert numbers.get("a", model=float) == 1.0
    assert numbers.get_or_put("made", lambda: numbers.require("a") + 1) == 2, "a factory may use the store"
    assert numbers.pop("made") == 2
    assert numbers.pop("made", "none") == "none"
    numbers.copy("a", "e")
    numbers.move("e", "f")
    assert numbers.get("f") == 1
    assert numbers.delete_prefix("b/") == 2
    with pytest.raises(TypeError, match="plain function"):
        numbers.get_or_put("x", Layer(None).name)
    assert store.max_value_bytes is None


def test_bad_input_is_refused(store):
    with pytest.raises(ConfigurationError, match="second argument"):
        in_sync(Counter(store.inner, "c"), store.inner)
    with pytest.raises(ConfigurationError, match="SyncStore itself"):
        in_sync(store.inner, store)
    with pytest.raises(ConfigurationError, match="a function, not its result"):
        in_sync(Layer(None).name(), store)


async def test_a_running_loop_is_not_blocked(store):
    with pytest.raises(StoreError, match="would block the event loop"):
        in_sync(Layer(None), store).name()


def test_async_objects_of_an_iterator_get_a_face_too(layer):
    part, number = layer.parts()
    assert part.name() == "name"
    assert number == 1
