"""A collection: the store's verbs with the name bound, over any store, and what is its own."""

import asyncio
import dataclasses
import datetime as dt
import gc
import threading
from typing import Any, ClassVar

import msgspec
import pytest

from satchel import (
    BatchError,
    Capability,
    Collection,
    ConfigurationError,
    ConflictError,
    DiskStore,
    Entry,
    InvalidKeyError,
    InvalidTTLError,
    KeyMissingError,
    MemoryStore,
    ModelMismatchError,
    NullStore,
    SerializationError,
    UnsupportedOperationError,
    require,
)
from satchel import _threads as threads
from satchel._update import _queues


class User(msgspec.Struct):
    name: str
    visits: int = 0


ADA, BOB = User("ada", 1), User("bob", 2)


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def users(store):
    return store.collection("users", model=User)


class CoreOnly:
    """Satisfies the core of the protocol and no more, as somebody else's store may."""

    capabilities = Capability.NONE
    max_key_bytes = 4096

    def __init__(self):
        self.kept: dict[tuple[str, str], Any] = {}

    async def get(self, collection, key, default=None):
        return self.kept.get((collection, key), default)

    async def put(self, collection, key, value, *, ttl=None):
        self.kept[collection, key] = value

    async def aclose(self):
        self.kept.clear()


async def test_every_verb_reaches_the_store_with_the_collection_bound(store, users):
    await users.put("ada", ADA)
    await users.put_many({"bob": BOB, "cleo": User("cleo")})
    assert await store.get("users", "bob") == {"name": "bob", "visits": 2}
    assert await users.get("ada") == ADA
    assert await users.get("nobody") is None
    assert await users.get("nobody", 3) == 3
    assert await users.exists("ada") is True
    assert await users.get_many(["bob", "nobody", "ada"]) == {"bob": BOB, "ada": ADA}
    assert sorted([key async for key in users.keys(prefix="")]) == ["ada", "bob", "cleo"]
    assert [key async for key in users.keys(prefix="b")] == ["bob"]
    assert len([key async for key in users.keys(limit=2)]) == 2
    assert await users.delete("cleo") is True
    assert await users.delete_many(["ada", "nobody"]) == 1
    assert await users.destroy() is True
    assert await users.destroy() is False


async def test_entries_hold_the_model(users, clock):
    await users.put("ada", ADA, ttl=60)
    entry = await users.get_entry("ada")
    assert entry is not None
    assert (entry.value, entry.ttl, entry.updated_at) == (ADA, 60.0, dt.datetime.fromtimestamp(clock.now, dt.UTC))
    assert await users.get_entries(["ada", "bob"]) == {"ada": entry}
    assert await users.get_entry("bob") is None


async def test_conditional_writes_validate_too(users):
    first = await users.put_if_absent("ada", ADA)
    assert first is not None
    assert await users.put_if_absent("ada", BOB) is None
    second = await users.compare_and_put("ada", BOB, version=first)
    assert await users.compare_and_put("ada", ADA, version=first) is None
    assert await users.get("ada") == BOB
    assert await users.compare_and_delete("ada", version=first) is False
    assert await users.compare_and_delete("ada", version=second) is True
    for refused in (
        users.put_if_absent("ada", "x"),
        users.compare_and_put("ada", "x", version=first),
        users.put_many({"a": ADA, "b": "x"}),
    ):
        with pytest.raises(ModelMismatchError, match="is of type str, not User"):
            await refused
    assert not await users.exists("a")


async def test_require_gives_the_value_or_names_what_is_missing(users):
    await users.put("ada", ADA)
    assert await users.require("ada") == ADA
    with pytest.raises(KeyMissingError, match="key 'bob' of collection 'users' is absent"):
        await users.require("bob")


async def test_require_takes_a_stored_none_for_a_value(store):
    things = store.collection("things", model=int | None)
    await things.put("none", None)
    assert await things.require("none") is None
    assert await things.get("none", 3) is None


async def test_the_ttl_of_the_collection_is_the_default_of_its_writes(store, clock):
    short = store.collection("users", model=User, ttl=dt.timedelta(seconds=10))
    await short.put("default", ADA)
    await short.put("longer", ADA, ttl=100)
    await short.put("for ever", ADA, ttl=None)
    await short.put_many({"many": ADA})
    await short.put_if_absent("absent", ADA)
    await short.compare_and_put("absent", BOB, version=(await short.get_entry("absent")).version)
    await short.update("updated", lambda user: user, initial=ADA)
    ttls = {key: entry.ttl async for key in short.keys(prefix="") if (entry := await short.get_entry(key))}
    assert ttls == {"default": 10, "longer": 100, "for ever": None, "many": 10, "absent": 10, "updated": 10}
    clock.now += 5
    assert await short.touch("default") is True
    assert (await short.get_entry("default")).ttl == 10
    assert await short.touch("default", ttl=None) is True
    assert (await short.get_entry("default")).ttl is None


async def test_a_bad_name_or_ttl_is_refused_when_the_collection_is_made(store):
    with pytest.raises(InvalidKeyError, match="collection must not be empty"):
        store.collection("")
    with pytest.raises(InvalidKeyError, match="collection must be a str, got MemoryStore"):
        Collection("users", store)
    for ttl in (0, -1, float("nan"), True, "60"):
        with pytest.raises(InvalidTTLError):
            store.collection("users", ttl=ttl)


async def test_bad_keys_are_refused_as_the_store_refuses_them(users):
    for call in (
        users.get(""),
        users.put("", ADA),
        users.get_many("ada"),
        users.put_many([("a", ADA)]),
        users.delete(3),
    ):
        with pytest.raises(InvalidKeyError):
            await call
    with pytest.raises(ValueError, match="limit must be"):
        users.keys(limit=-1)


async def test_without_a_model_it_takes_what_the_store_takes(store):
    things = store.collection("things")
    for value in (None, b"", {}, 0, "x", [1, {"a": None}]):
        await things.put("k", value)
        assert await things.require("k") == value
    with pytest.raises(SerializationError, match=r"\$"):
        await things.put("k", (1, 2))


async def test_many_misfits_are_a_batch_error_that_names_each(store, users):
    await store.put_many("users", {"good": {"name": "ada"}, "bad": {"name": 3}, "worse": 4})
    for read in (users.get_many, users.get_entries):
        with pytest.raises(BatchError, match=f"^{read.__name__}: 2 of 3 keys failed, one with ModelMismatch") as caught:
            await read(["good", "bad", "worse"])
        assert caught.value.operation == read.__name__
        assert set(caught.value.failed) == {"bad", "worse"}
        assert all(isinstance(error, ModelMismatchError) for error in caught.value.failed.values())
        assert caught.value.retryable is False


async def test_it_works_over_anything_that_satisfies_the_protocol():
    users = Collection(CoreOnly(), "users", model=User)
    await users.put("ada", ADA)
    assert await users.get("ada") == ADA
    assert await users.get("bob", BOB) is BOB


async def test_what_the_store_cannot_do_is_refused_by_name():
    users = Collection(CoreOnly(), "users", model=User)
    for call in (
        users.update("ada", lambda user: user, initial=ADA),
        users.put_if_absent("ada", ADA),
        users.compare_and_put("ada", ADA, version="1"),
        users.compare_and_delete("ada", version="1"),
        users.touch("ada"),
    ):
        with pytest.raises(UnsupportedOperationError, match=r"CoreOnly.*CONDITIONAL"):
            await call
    with pytest.raises(UnsupportedOperationError, match="ENUMERATE_KEYS"):
        users.keys()
    with pytest.raises(UnsupportedOperationError, match="DESTROY_COLLECTION"):
        await users.destroy()


async def test_over_a_null_store_nothing_is_there():
    users = NullStore().collection("users", model=User)
    await users.put("ada", ADA)
    assert await users.get("ada") is None
    assert await users.update("ada", lambda user: user, initial=ADA) == ADA


async def test_update_loses_no_update_of_many_tasks(store):
    counter = store.collection("counters", model=int)
    results = await asyncio.gather(*(counter.update("c", lambda count: count + 1, initial=0) for _ in range(200)))
    assert await counter.require("c") == 200
    assert sorted(results) == list(range(1, 201))


class SlowStore(MemoryStore):
    """Lets other tasks in between a read and the write that depends on it."""

    async def get_entry(self, collection, key):
        entry = await super().get_entry(collection, key)
        await asyncio.sleep(0)
        return entry


class Counting:
    """Adds one, and counts how often it was asked to."""

    def __init__(self):
        self.calls = 0

    def __call__(self, count):
        self.calls += 1
        return count + 1


async def test_updates_of_one_process_wait_for_each_other_where_reads_and_writes_interleave():
    store, add = SlowStore(), Counting()
    counters = [store.collection("counters", model=int), Collection(store, "counters", model=int, ttl=60)]
    updates = (counters[n % 2].update("c", add, initial=0) for n in range(500))
    assert sorted(await asyncio.gather(*updates)) == list(range(1, 501))
    assert add.calls == 500


async def test_500_updates_at_once_over_files_all_succeed(tmp_path):
    async with DiskStore(tmp_path) as store:
        counter, add = store.collection("counters", model=int), Counting()
        results = await asyncio.gather(*(counter.update("c", add, initial=0) for _ in range(500)))
        assert sorted(results) == list(range(1, 501))
        assert await counter.require("c") == 500


async def test_update_loses_no_update_to_writers_through_another_object():
    store = SlowStore()
    counters = [Collection(Another(store), "counters", model=int) for _ in range(20)]
    add = Counting()
    await asyncio.gather(*(counter.update("c", add, initial=0) for counter in counters))
    assert await store.get("counters", "c") == 20
    assert add.calls > 20


async def test_updates_of_different_keys_do_not_wait_for_each_other():
    both = asyncio.Barrier(2)

    class Meeting(MemoryStore):
        async def get_entry(self, collection, key):
            await both.wait()
            return await super().get_entry(collection, key)

    counter = Meeting().collection("counters", model=int)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(counter.update(key, Counting(), initial=0) for key in "ab")) == [1, 1]


async def test_a_cancelled_update_lets_the_next_one_go_on():
    entered, never = asyncio.Event(), asyncio.Event()

    class Stuck(MemoryStore):
        async def get_entry(self, collection, key):
            if not entered.is_set():
                entered.set()
                await never.wait()
            return await super().get_entry(collection, key)

    counter = Stuck().collection("counters", model=int)
    tasks = [asyncio.create_task(counter.update("c", Counting(), initial=0)) for _ in range(3)]
    await entered.wait()
    tasks[1].cancel()
    tasks[0].cancel()
    assert await tasks[2] == 1
    assert [task.cancelled() for task in tasks[:2]] == [True, True]
    assert not _queues


class Another:
    """Reaches a store through an object of its own, as another process would."""

    def __init__(self, store):
        self.store = store

    def __getattr__(self, name):
        return getattr(self.store, name)


class BusyStore(MemoryStore):
    """Has another writer that is always faster."""

    async def compare_and_put(self, collection, key, value, *, version, ttl=None):
        await self.put(collection, key, 0)
        return await super().compare_and_put(collection, key, value, version=version, ttl=ttl)


async def test_update_gives_up_with_an_error_of_its_own(monkeypatch):
    monkeypatch.setattr("satchel._update._LONGEST_PAUSE", 0.0)
    counter = BusyStore().collection("counters", model=int)
    await counter.put("c", 7)
    with pytest.raises(ConflictError, match="key 'c' in collection 'counters'") as caught:
        await counter.update("c", lambda count: count + 1)
    assert caught.value.retryable is True
    assert (caught.value.operation, caught.value.collection, caught.value.key) == ("update", "counters", "c")


async def test_update_of_an_absent_key_needs_an_initial_value(users):
    with pytest.raises(KeyMissingError, match="key 'ada'"):
        await users.update("ada", lambda user: user)
    assert not await users.exists("ada")


async def test_update_never_changes_the_initial_value_itself(store):
    empty: list[int] = []
    lists = store.collection("lists", model=list[int])

    def add(numbers):
        numbers.append(1)
        return numbers

    assert await lists.update("a", add, initial=empty) == [1]
    assert await lists.update("a", add, initial=empty) == [1, 1]
    assert empty == []


async def test_update_refuses_what_the_function_makes_when_it_does_not_fit(users):
    await users.put("ada", ADA)
    with pytest.raises(ModelMismatchError, match="is of type NoneType, not User"):
        await users.update("ada", lambda user: None)
    assert await users.get("ada") == ADA


async def test_update_passes_on_what_the_function_raises(users):
    await users.put("ada", ADA)
    with pytest.raises(ZeroDivisionError):
        await users.update("ada", lambda user: 1 / 0)
    assert await users.get("ada") == ADA


async def test_update_takes_no_coroutine_function(users):
    async def later(user):
        return user

    with pytest.raises(TypeError, match="plain function"):
        await users.update("ada", later, initial=ADA)


class LaterObject:
    async def __call__(self, user):
        return user


class FutureOf:
    def __call__(self, user):
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("function", [LaterObject(), lambda user: LaterObject().__call__(user), FutureOf()])
async def test_update_takes_no_function_that_returns_an_awaitable(users, function):
    with pytest.raises(TypeError, match="plain function"):
        await users.update("ada", function, initial=ADA)
    assert not await users.exists("ada")
    await users.put("ada", ADA)
    with pytest.raises(TypeError, match="plain function"):
        await users.update("ada", function)
    gc.collect()  # a coroutine that nobody closed would warn here, which is an error
    assert await users.get("ada") == ADA


async def test_a_collection_takes_a_store_and_says_what_it_got():
    for given, named in (
        (None, "NoneType"),
        ("hunter2", "str"),
        (dict, "class dict"),
        (MemoryStore, "class MemoryStore"),
    ):
        with pytest.raises(ConfigurationError, match=f"takes a store, got .*{named}") as caught:
            Collection(given, "c")
        assert "hunter2" not in str(caught.value)


async def test_require_takes_a_store_and_a_capability(store, users):
    for given, named in ((None, "NoneType"), (users, "Collection"), (MemoryStore, "class MemoryStore")):
        with pytest.raises(ConfigurationError, match=f"takes a store, got .*{named}"):
            require(given, Capability.CULL)
    for given in ("CULL", None, 32):
        with pytest.raises(TypeError, match=f"takes a Capability.*got .*{type(given).__name__}"):
            require(store, given)


@dataclasses.dataclass
class Watched:
    numbers: list[int]
    threads: ClassVar[set[threading.Thread]] = set()

    def __post_init__(self):
        self.threads.add(threading.current_thread())


@pytest.mark.parametrize("make", [MemoryStore, CoreOnly])
async def test_large_values_are_validated_in_a_worker_thread_when_got(make):
    watched = Collection(make(), "watched", model=Watched)
    value = Watched(list(range(20_000)))
    await watched.put("k", value)
    Watched.threads.clear()
    assert await watched.get("k") == value
    assert threading.main_thread() not in Watched.threads


async def test_large_values_are_validated_in_a_worker_thread(store):
    watched = store.collection("watched", model=Watched)
    for numbers, in_main in (([1], True), (list(range(20_000)), False)):
        value = Watched(numbers)
        Watched.threads.clear()
        await watched.put("k", value)
        assert await watched.get("k") == value
        assert (await watched.get_entry("k")).value == value
        assert (await watched.get_many(["k"]))["k"] == value
        assert (threading.main_thread() in Watched.threads) is in_main
        assert Watched.threads


async def test_many_small_values_leave_the_loop_its_turns(users, monkeypatch):
    monkeypatch.setattr(threads, "_A_TURN", 0.0)  # each value takes longer
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    plain = {str(number): {"name": "x", "visits": number} for number in range(5000)}
    task = asyncio.create_task(others())
    await users._all_loaded("get_many", plain)
    task.cancel()
    assert turns >= 5000


def test_it_says_what_it_is_without_a_value(store):
    assert repr(store.collection("users", model=User)) == "Collection(MemoryStore(), 'users', model=User)"
    assert repr(store.collection("things")) == "Collection(MemoryStore(), 'things')"
    assert store.collection("things").name == "things"


async def test_an_entry_is_generic_and_no_heavier_for_it(users):
    await users.put("ada", ADA)
    entry = await users.get_entry("ada")
    assert type(entry) is Entry
    assert not hasattr(entry, "__dict__")
    assert "ada" not in repr(entry)


async def test_update_keeps_the_deadline_of_an_entry(store, clock):
    short = Collection(store, "c", model=int, ttl=10)
    await short.put("longer", 1, ttl=100)
    await short.put("for ever", 1, ttl=None)
    clock.now += 5
    for key in ("longer", "for ever", "new"):
        await short.update(key, lambda count: count + 1, initial=0)
    ttls = {key: entry.ttl for key, entry in (await short.get_entries(["longer", "for ever", "new"])).items()}
    assert ttls == {"longer": pytest.approx(95), "for ever": None, "new": pytest.approx(10)}
    await short.update("longer", lambda count: count + 1, ttl=50)
    assert (await short.get_entry("longer")).ttl == pytest.approx(50)
    await short.update("longer", lambda count: count + 1, ttl=None)
    assert (await short.get_entry("longer")).ttl is None


async def test_touch_removes_a_deadline_only_when_it_is_said(store):
    plain = Collection(store, "c", model=int)
    await plain.put("k", 1, ttl=60)
    with pytest.raises(InvalidTTLError, match=r"key 'k' of collection 'c' needs ttl=.*None removes the deadline"):
        await plain.touch("k")
    assert (await plain.get_entry("k")).ttl is not None
    assert await plain.touch("k", ttl=None) is True
    assert (await plain.get_entry("k")).ttl is None
