"""Tags: a result is good as long as no tag of it was invalidated, whenever and wherever that happened."""

import asyncio
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    ConfigurationError,
    ConflictError,
    IntegrityError,
    InvalidKeyError,
    MemoryStore,
    StoreError,
    Tags,
    UnsupportedOperationError,
    cached,
    cached_many,
)
from satchel._single_flight import SingleFlight
from satchel.testing import FakeClock
from satchel.wrappers import ReadOnlyWrapper, SingleFlightWrapper, TieredStore
from tests.coordination.test_counter import Another
from tests.coordination.test_lock_schedules import SlowServer
from tests.coordination.virtual import run, wall_clock
from tests.scripted import BatchStore, held, turns
from tests.wrappers.single_flight import quiet

GOLDEN = Path(__file__).parent / "golden" / "tags"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return SingleFlightWrapper(MemoryStore(clock=clock))


class Source:
    """Has a value that functions read, and is changed."""

    def __init__(self):
        self.value = self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self):
        self.runs += 1
        value = self.value
        await self.gate.wait()
        return value


def reader(store, source, **options):
    @cached(store, "c", key=str, tags=lambda user: [f"user:{user}", "all"], **options)
    async def read(user):
        return [user, await source.read()]

    return read


async def test_all_results_with_a_tag_are_absent_after_it_was_invalidated(store):
    source = Source()
    read, tags = reader(store, source), Tags(store)
    assert [await read(1), await read(2), await read(1)] == [[1, 0], [2, 0], [1, 0]]
    source.value = 5
    await tags.invalidate("user:1")
    assert [await read(1), await read(2), await read(1)] == [[1, 5], [2, 0], [1, 5]]
    await tags.invalidate("nobody", "all")
    assert [await read(1), await read(2)] == [[1, 5], [2, 5]]
    assert source.runs == 5


async def test_invalidating_reaches_what_another_process_keeps(store):
    source = Source()
    one, other = reader(Another(store), source), reader(Another(store), source)
    await one(1)
    assert await other(1) == [1, 0]
    source.value = 5
    await Tags(Another(store)).invalidate("user:1")
    assert await one(1) == await other(1) == [1, 5]
    assert source.runs == 2


async def test_a_late_result_has_the_tags_of_its_start(store):
    source = Source()
    read = reader(store, source)
    source.gate.clear()
    late = asyncio.create_task(read(1))
    await turns(20)
    source.value = 5
    await Tags(store).invalidate("user:1")
    source.gate.set()
    assert await late == [1, 0]
    assert await read(1) == [1, 5]


async def test_who_joins_a_flight_does_not_take_a_result_from_before_an_invalidation(store):
    source = Source()
    read = reader(store, source)
    source.gate.clear()
    first = asyncio.create_task(read(1))
    await turns(20)
    source.value = 5
    await Tags(store).invalidate("user:1")
    joining = [asyncio.create_task(read(1)) for _ in range(3)]
    await turns(20)
    source.gate.set()
    assert await first == [1, 0]
    assert await asyncio.gather(*joining) == [[1, 5]] * 3
    assert source.runs == 2


@pytest.mark.parametrize("options", [{"stale": 30}, {"early": 1e9}, {"stale": 30, "on_error": "stale"}])
async def test_the_windows_of_stale_and_early_ask_the_tags_too(store, clock, options):
    source = Source()
    read = reader(store, source, ttl=60, **options)
    await read(1)
    clock.advance(61 if "stale" in options else 59)
    source.value = 5
    await Tags(store).invalidate("user:1")
    assert await read(1) == [1, 5]
    await quiet()


async def test_on_error_serves_no_result_whose_tag_was_invalidated(store, clock):
    @cached(store, "c", ttl=60, stale=60, on_error="stale", tags=lambda: ["tag"])
    async def fails_later():
        if clock() > begun:
            raise ZeroDivisionError
        return "kept"

    begun = clock()
    assert await fails_later() == "kept"
    clock.advance(61)
    assert await fails_later() == "kept"
    await Tags(store).invalidate("tag")
    with pytest.raises(ZeroDivisionError):
        await fails_later()


async def test_peek_and_refresh_ask_the_tags_too(store):
    source = Source()
    read = reader(store, source)
    await read(1)
    source.value = 5
    assert await read.peek(1) == [1, 0]
    await Tags(store).invalidate("all")
    assert await read.peek(1) is None
    assert await read.refresh(1) == await read.peek(1) == [1, 5]


async def test_results_of_many_have_tags_each(store):
    calls = []

    @cached_many(store, "c", tags=lambda user: [f"user:{user}"])
    async def read(users: list[int]) -> dict[int, int]:
        calls.append(users)
        return {user: len(calls) for user in users}

    assert await read([1, 2]) == {1: 1, 2: 1}
    await Tags(store).invalidate("user:2")
    assert await read.peek([1, 2]) == {1: 1}
    assert await read([1, 2]) == {1: 1, 2: 2}
    assert calls == [[1, 2], [2]]


async def test_a_near_cache_does_not_hide_an_invalidation():
    cold, source = MemoryStore(), Source()
    stores = [TieredStore(MemoryStore(), cold, hot_ttl=3600) for _ in range(2)]
    one, other = [reader(store, source) for store in stores]
    for read in (one, other, one, other):
        await read(1)
    source.value = 5
    await Tags(stores[0]).invalidate("user:1")
    assert await other(1) == await one(1) == [1, 5]


async def test_a_read_of_tags_does_not_join_one_under_way():
    store = BatchStore()
    tags = Tags(store)
    version = (await tags.versions(["a"]))["a"]
    gate = held(store)
    under_way = asyncio.create_task(tags.present_versions(["a"]))
    await turns(5)
    later = asyncio.create_task(tags.present_versions(["a"]))
    await turns(5)
    gate.set()
    assert await under_way == await later == {"a": version}
    assert store.server.sizes("read") == [1, 1, 1]


async def test_who_loses_at_making_a_tag_takes_the_version_of_the_winner(store):
    found = await asyncio.gather(*[Tags(Another(store)).versions(["a", "b"]) for _ in range(5)])
    assert found == [found[0]] * 5


async def test_a_tag_that_is_invalidated_all_the_time_is_an_error():
    class Losing(MemoryStore):
        async def put_if_absent(self, *arguments, **named):
            return None

    with pytest.raises(ConflictError, match="were invalidated 50 times in a row"):
        await Tags(Losing()).versions(["a"])


@pytest.mark.parametrize("result", [{"a": [1]}, None, "text", b"", b"\x00\xff" * 1000])
async def test_results_of_all_kinds_have_tags(store, result):
    @cached(store, "c", tags=lambda: ["tag"])
    async def read():
        return result

    assert await read() == await read() == await read.peek() == result


async def test_what_was_kept_before_a_function_had_tags_is_made_again(store):
    for kept in ({"a": 1}, b"raw", b"\x01\x00\x00\x00\x02{]", b"\x01\xff", {"format": 1, "tags": {}, "value": 1}):
        await store.put("c", "1", kept)
        source = Source()
        assert await reader(store, source)(1) == [1, 0]


async def test_a_function_may_have_no_tags_for_a_call(store):
    source = Source()

    @cached(store, "c", tags=list)
    async def read():
        return await source.read()

    assert [await read(), await read()] == [0, 0]
    assert source.runs == 1


async def tags_later(user):
    return ["tag"]


@pytest.mark.parametrize("tags", ["tag", 5, tags_later])
def test_tags_are_a_plain_function(store, tags):
    with pytest.raises(ConfigurationError, match="tags must be a"):
        cached(store, "c", tags=tags)


@pytest.mark.parametrize(
    ("tags", "error"),
    [(lambda: "tag", ConfigurationError), (lambda: [""], InvalidKeyError), (lambda: [5], InvalidKeyError)],
)
async def test_tags_that_are_none_are_refused(store, tags, error):
    @cached(store, "c", tags=tags)
    async def read(): ...

    with pytest.raises(error):
        await read()


def test_a_store_without_conditional_writes_is_refused():
    store = ReadOnlyWrapper(MemoryStore())
    for work in (Tags, lambda store: cached(store, "c", tags=list)):
        with pytest.raises(UnsupportedOperationError):
            work(store)
    with pytest.raises(InvalidKeyError):
        Tags(MemoryStore(), collection="")


async def test_an_entry_that_is_no_tag_is_refused(store):
    await store.put("cache-tags", "a", {"user": "data"})
    with pytest.raises(IntegrityError, match="holds something that is no tag"):
        await Tags(store).versions(["a"])


async def test_tags_are_in_a_collection_of_ones_own(store):
    @cached(store, "c", tags=lambda: ["tag"], tags_collection="names")
    async def read():
        return 1

    await read()
    assert await store.exists("names", "tag")
    await Tags(store, collection="names").invalidate("tag")
    assert await read.peek() is None
    assert repr(Tags(MemoryStore(), collection="names")) == "Tags(MemoryStore(), collection='names')"


async def test_what_is_written_is_what_every_release_reads(monkeypatch, store):
    version = "8f14e45fceea167a5a36dedd4bea2543"
    monkeypatch.setattr("secrets.token_hex", lambda _: version)

    for name, result in [("result.json", {"id": 7}), ("result.bin", b"\xffresult")]:

        @cached(store, "c", key=lambda name: name, tags=lambda name: ["user:7"])
        async def read(name):
            return result  # noqa: B023  # it is called at once

        await read(name)
        kept = await store.get("c", name)
        path = GOLDEN / name
        golden = path.read_bytes() if path.suffix == ".bin" else json.loads(path.read_text("utf-8"))
        assert kept == golden
        assert await read.peek(name) == result
    assert await store.get("cache-tags", "user:7") == json.loads((GOLDEN / "tag.json").read_text("utf-8"))


OPTIONS = [
    {},
    {"ttl": 20},
    {"ttl": 10, "stale": 20},
    {"ttl": 20, "early": 2.0},
    {"ttl": 10, "stale": 20, "on_error": "stale"},
    {"ttl": 20, "timeout": 3},
]


class World:
    """Processes that read a source through a cache, change it and invalidate its tag, over an engine that is slow."""

    def __init__(self, seed):
        random.seed(seed)
        self.chance = random.Random(seed)
        self.server = SlowServer(delay=lambda: self.chance.choices([0, 0.1, 1, 5], [20, 5, 5, 2])[0])
        self.server.loses_answer = lambda: self.chance.random() < 0.05
        self.source = self.least = 0
        self.hits = self.runs = self.failed = 0
        self.options = self.chance.choice(OPTIONS)

    async def process(self):
        store = SingleFlightWrapper(
            BatchStore(self.server, clock=wall_clock, timeout=10), seed=self.chance.randrange(99)
        )

        @cached(store, "c", key=lambda: "k", tags=lambda: ["tag", "other"], **self.options)
        async def read():
            self.runs += 1
            value = self.source
            await asyncio.sleep(self.chance.choice([0, 0.1, 1, 8]))
            if self.chance.random() < 0.1:
                raise ZeroDivisionError
            return value

        await asyncio.gather(*[self.task(store, read) for _ in range(3)])
        await asyncio.sleep(100)  # refreshes in the background end meanwhile

    async def task(self, store, read):
        for _ in range(12):
            if self.chance.random() < 0.2:
                self.source += 1  # committed; only then
                changed = self.source
                try:
                    await Tags(store).invalidate("tag")
                    self.least = max(self.least, changed)
                except StoreError:
                    self.failed += 1
            await asyncio.sleep(self.chance.choice([0, 0, 0.1, 1, 12]))
            least, runs = self.least, self.runs
            try:
                value = await read()
            except (StoreError, ZeroDivisionError, TimeoutError):
                self.failed += 1
                continue
            self.hits += self.runs == runs
            assert value >= least, "a result from before an invalidation that had ended"


def explore(seed):
    world = World(seed)

    async def everybody():
        await asyncio.gather(*[world.process() for _ in range(3)])

    run(everybody())
    return world


def explore_many(count):
    return [explore(seed) for seed in range(count)]


@given(st.integers(min_value=0, max_value=2**32))
def test_no_call_that_begins_after_an_invalidation_gets_what_was_before(seed):
    assert explore(seed).runs


@pytest.mark.long
def test_the_schedules_have_in_them_what_they_are_about():
    worlds = explore_many(30)
    assert sum(world.hits for world in worlds) > 300
    assert sum(world.failed for world in worlds) > 30


def test_joining_without_asking_the_tags_is_caught(monkeypatch):
    wait = SingleFlight.get_or_make

    async def trusting(self, collection, key, factory, agreed, trust=None):
        flight = self._found(collection, key)
        if flight is not None:
            return await self._wait_for(flight, agreed.timeout)
        return await wait(self, collection, key, factory, agreed, trust)

    monkeypatch.setattr(SingleFlight, "get_or_make", trusting)
    with pytest.raises(AssertionError, match="from before an invalidation"):
        explore_many(300)


def test_tags_that_are_read_after_the_function_are_caught(monkeypatch):
    from satchel.caching.call import CachedCall, Frame, framed  # noqa: PLC0415  # for this test alone

    async def make(self):
        result = await self._function()
        versions = await self._place.tags.versions(self.tags)
        return self._lifetime.of(result, framed(Frame(versions, result)))

    monkeypatch.setattr(CachedCall, "make", make)
    with pytest.raises(AssertionError, match="from before an invalidation"):
        explore_many(300)
