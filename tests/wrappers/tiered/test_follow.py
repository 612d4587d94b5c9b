"""A near cache: hot follows what cold reports of its changes, step by step."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from satchel import (
    Capability,
    Change,
    ConfigurationError,
    MemoryStore,
    StoreClosedError,
    StoreUnavailableError,
    UnsupportedOperationError,
    open_store,
)
from satchel.testing import FakeClock
from satchel.wrappers import NearCacheWrapper, TieredStore, layer
from satchel.wrappers.tiered import follow
from tests.scripted import turns


class Reporting(MemoryStore):
    """Reports what the test says, when it says it."""

    def __init__(self, **options):
        super().__init__(**options)
        self.watched = {}
        self.refused = None

    @asynccontextmanager
    async def watch(self, collection, *, prefix=""):
        if self.refused is not None:
            raise self.refused
        queue = self.watched[collection] = asyncio.Queue()
        try:
            yield self._changes(queue)
        finally:
            del self.watched[collection]

    async def _changes(self, queue):
        while True:
            change = await queue.get()
            if isinstance(change, Exception):
                raise change
            yield change

    async def report(self, kind, key=None, collection="c"):
        self.watched[collection].put_nowait(Change(kind, collection, key))
        await turns(5)


@pytest.fixture
async def cold():
    return Reporting()


@pytest.fixture
async def hot():
    return MemoryStore()


@pytest.fixture
async def store(hot, cold):
    async with TieredStore(hot, cold, follow=True) as made:
        yield made


async def ready(store, cold):
    """Let the store begin to follow the collection."""
    await store.get("c", "no such key")
    await turns(2)
    await cold.report("ready")


async def test_hot_is_used_only_once_the_changes_of_the_collection_are_reported(store, hot, cold):
    await cold.put("c", "k", "v")
    assert await store.get("c", "k") == "v"
    await store.put("c", "l", "w")
    assert await hot.get_many("c", ["k", "l"]) == {}
    await turns(2)
    assert await store.get("c", "k") == "v"
    assert store.snapshot().promotions == 0
    await cold.report("ready")
    assert await store.get_many("c", ["k", "l"]) == {"k": "v", "l": "w"}
    assert await hot.get_many("c", ["k", "l"]) == {"k": "v", "l": "w"}
    before = store.snapshot().cold
    assert await store.get("c", "k") == "v"
    assert store.snapshot().cold == before


async def test_what_hot_held_before_is_not_read(cold):
    hot = MemoryStore()
    await hot.put("c", "k", "of another life")
    async with TieredStore(hot, cold, follow=True) as store:
        assert await store.get("c", "k") is None
        await turns(2)
        await cold.report("ready")
        assert await store.get("c", "k") is None
        assert not await hot.exists("c", "k")


async def test_a_reported_change_drops_the_entry_and_no_other(store, hot, cold):
    await ready(store, cold)
    await cold.put_many("c", {"k": "old", "l": "old"})
    assert await store.get_many("c", ["k", "l"]) == {"k": "old", "l": "old"}
    await cold.put("c", "k", "new")
    assert await store.get("c", "k") == "old"  # it has not been reported
    await cold.report("changed", "k")
    assert await hot.get_many("c", ["k", "l"]) == {"l": "old"}
    assert await store.get_many("c", ["k", "l"]) == {"k": "new", "l": "old"}
    assert store.snapshot().changes == 1
    assert not store._hot.states


@pytest.mark.parametrize("kind", ["changed", "lost"])
async def test_a_read_under_way_when_a_change_is_reported_does_not_put_its_answer_into_hot(hot, kind):
    gate, asked = asyncio.Event(), asyncio.Event()

    class Slow(Reporting):
        async def get_entry(self, collection, key):
            entry = await super().get_entry(collection, key)
            asked.set()
            await gate.wait()
            return entry

    cold = Slow()
    async with TieredStore(hot, cold, follow=True) as store:
        gate.set()
        await ready(store, cold)
        gate.clear()
        await cold.put("c", "k", "old")
        asked.clear()
        reading = asyncio.create_task(store.get("c", "k"))
        await asked.wait()
        await cold.put("c", "k", "new")
        await cold.report(kind, "k" if kind == "changed" else None)
        gate.set()
        assert await reading == "old"
        assert not await hot.exists("c", "k")
        assert await store.get("c", "k") == "new"


async def test_what_is_lost_empties_the_collection_until_it_is_ready_again(store, hot, cold):
    await ready(store, cold)
    await store.get("d", "k")
    await turns(2)
    await cold.report("ready", collection="d")
    await cold.put_many("c", {"k": "old", "l": "old"})
    await cold.put("d", "k", "kept")
    await store.get_many("c", ["k", "l"])
    await store.get("d", "k")
    await cold.report("lost")
    await cold.put("c", "k", "new")
    assert await store.get("c", "k") == "new"
    await store.put("c", "l", "newer")
    assert await store.get("c", "l") == "newer"
    assert store.snapshot().losses == 1
    await cold.report("ready")
    assert await hot.get_many("c", ["k", "l"]) == {}
    assert await hot.get("d", "k") == "kept"
    await store.get("c", "k")
    assert await hot.get("c", "k") == "new"
    assert not store._hot.states


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("write", ["through", "back"])
async def test_the_report_of_an_own_put_does_not_keep_its_value_out_of_hot(write, early):
    class Early(Reporting):
        """Reports a put before it is acknowledged."""

        async def put(self, collection, key, value, *, ttl=None):
            await super().put(collection, key, value, ttl=ttl)
            if early and collection in self.watched:
                await self.report("changed", key)

    hot, cold = MemoryStore(), Early()
    async with TieredStore(hot, cold, follow=True, write=write) as store:
        await ready(store, cold)
        await store.put("c", "k", "mine")
        await store.flush()
        if not early:
            await cold.report("changed", "k")
        await turns(20)
        assert await hot.get("c", "k") == "mine"
        before = store.snapshot().cold.hits
        assert await store.get("c", "k") == "mine"
        assert store.snapshot().cold.hits == before
        await cold.put("c", "k", "of another")
        await cold.report("changed", "k")
        assert await store.get("c", "k") == "of another"


async def test_a_change_elsewhere_reported_as_the_own_put_ends_is_read(store, hot, cold):
    await ready(store, cold)
    await store.put("c", "k", "mine")
    await cold.put("c", "k", "of another")
    await cold.report("changed", "k")  # one report for both
    await turns(20)
    assert await hot.get("c", "k") == "of another"
    assert await store.get("c", "k") == "of another"


async def test_a_watch_that_fails_is_begun_again_and_hot_is_not_used_meanwhile(store, hot, cold, monkeypatch, caplog):
    monkeypatch.setattr(follow, "_LONGEST_PAUSE", 0.0)
    await ready(store, cold)
    await cold.put("c", "k", "old")
    await store.get("c", "k")
    cold.refused = StoreUnavailableError("away")
    cold.watched["c"].put_nowait(StoreUnavailableError("cut off"))
    await turns(10)
    await cold.put("c", "k", "new")
    assert await store.get("c", "k") == "new"
    assert await hot.get("c", "k") in (None, "old")
    cold.refused = None
    await turns(10)
    await cold.report("ready")
    await store.get("c", "k")
    assert await hot.get("c", "k") == "new"
    assert "cut off" in caplog.text
    assert "away" in caplog.text


async def test_a_store_that_turns_out_not_to_report_is_read_from_cold_for_ever(store, hot, cold, caplog):
    cold.refused = UnsupportedOperationError("no replica set")
    for value in ("old", "new"):
        await cold.put("c", "k", value)
        assert await store.get("c", "k") == value
        await turns(10)
    assert not await hot.exists("c", "k")
    assert "no replica set" in caplog.text


async def test_hot_ttl_stays_the_bound_where_nothing_is_reported(cold):
    clock = FakeClock()
    cold = Reporting(clock=clock)
    hot = MemoryStore(clock=clock)
    async with TieredStore(hot, cold, follow=True, hot_ttl=60, clock=clock) as store:
        await ready(store, cold)
        await cold.put("c", "k", "old")
        assert await store.get("c", "k") == "old"
        await cold.put("c", "k", "new")
        clock.advance(59)
        assert await store.get("c", "k") == "old"
        clock.advance(2)
        assert await store.get("c", "k") == "new"


async def test_closing_ends_what_watches(hot, cold):
    before = asyncio.all_tasks()
    store = TieredStore(hot, cold, follow=True)
    await ready(store, cold)
    await store.aclose()
    assert cold.watched == {}
    assert asyncio.all_tasks() == before


def test_on_the_next_event_loop_it_begins_anew():
    hot, cold = MemoryStore(), Reporting()
    store = TieredStore(hot, cold, follow=True)

    async def first():
        await ready(store, cold)
        await cold.put("c", "k", "old")
        await store.get("c", "k")
        assert await hot.exists("c", "k")

    async def second():
        await cold.put("c", "k", "new")
        assert await store.get("c", "k") == "new"
        await turns(2)
        await cold.report("ready")
        assert await store.get("c", "k") == "new"
        assert await hot.get("c", "k") == "new"
        await store.aclose()

    asyncio.run(first())
    asyncio.run(second())


@pytest.mark.long
def test_on_the_next_event_loop_it_begins_anew_though_the_one_before_was_closed_with_its_tasks():
    program = """
import asyncio
from satchel import MemoryStore
from satchel.wrappers import NearCacheWrapper

store = NearCacheWrapper(MemoryStore())

async def first():
    while not store.snapshot().hot.hits:
        await store.put("c", "k", "old")
        await asyncio.sleep(0.01)
        await store.get("c", "k")

async def second():
    await store.inner.put("c", "k", "new")
    print(await store.get("c", "k"))

loop = asyncio.new_event_loop()
loop.run_until_complete(first())
loop.close()
asyncio.run(second())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "new\n", done.stderr


def test_what_cannot_follow_is_refused():
    blind = MemoryStore()
    blind._missing = Capability.WATCH
    with pytest.raises(UnsupportedOperationError, match="WATCH"):
        TieredStore(MemoryStore(), blind, follow=True)
    with pytest.raises(UnsupportedOperationError, match="WATCH"):
        NearCacheWrapper(blind)
    small = MemoryStore()
    small._missing = Capability.DESTROY_COLLECTION
    with pytest.raises(UnsupportedOperationError, match="DESTROY_COLLECTION"):
        TieredStore(small, MemoryStore(), follow=True)
    with pytest.raises(ConfigurationError, match="follow"):
        TieredStore(MemoryStore(), MemoryStore(), follow=1)


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("kind", ["changed", "lost"])
async def test_who_watches_the_store_itself_reads_nothing_older_than_what_was_reported(cold, follow, kind):
    class Told(MemoryStore):
        """Reports to each watcher apart."""

        @asynccontextmanager
        async def watch(self, collection, *, prefix=""):
            yield cold._changes(queue)

    queue, told = asyncio.Queue(), Told()
    async with TieredStore(MemoryStore(), told, follow=follow) as store, store.watch("c") as changes:
        queue.put_nowait(Change("ready", "c"))
        assert await anext(changes) == Change("ready", "c")
        await told.put("c", "k", "old")
        assert await store.get("c", "k") == "old"
        await told.put("c", "k", "new")
        queue.put_nowait(Change(kind, "c", "k" if kind == "changed" else None))
        assert (await anext(changes)).kind == kind
        assert await store.get("c", "k") == "new"


async def test_who_watches_the_store_itself_reads_nothing_from_before_ready():
    cold = MemoryStore()
    async with TieredStore(MemoryStore(), cold) as store:
        await store.put("c", "k", "old")
        await cold.put("c", "k", "new")
        async with store.watch("c") as changes:
            assert await anext(changes) == Change("ready", "c")
            assert await store.get("c", "k") == "new"


async def test_what_is_read_while_nothing_is_reported_is_not_read_once_it_is_again(hot, cold):
    async with TieredStore(hot, cold) as store, store.watch("c") as changes:
        await cold.report("lost")
        assert await anext(changes) == Change("lost", "c")
        await cold.put("c", "k", "old")
        assert await store.get("c", "k") == "old"
        await cold.put("c", "k", "new")
        await cold.report("ready")
        assert await anext(changes) == Change("ready", "c")
        assert await store.get("c", "k") == "new"


async def test_a_slow_removal_from_hot_holds_up_no_later_report(cold):
    stuck = asyncio.Event()

    class Slow(MemoryStore):
        async def delete(self, collection, key):
            if key == "slow":
                await stuck.wait()
            return await super().delete(collection, key)

    async with TieredStore(Slow(), cold, follow=True) as store:
        await store.get("c", "k")
        await cold.report("ready")
        await store.put("c", "k", "old")
        await cold.report("changed", "slow")
        await cold.put("c", "k", "new")
        await cold.report("changed", "k")
        assert await store.get("c", "k") == "new"
        await cold.put("c", "k", "newer")
        await cold.report("lost")
        assert await store.get("c", "k") == "newer"
        stuck.set()


async def test_two_near_caches_over_one_store():
    shared = MemoryStore()
    one, other = NearCacheWrapper(shared), NearCacheWrapper(shared)
    for number in range(3):
        for writer, reader in ((one, other), (other, one)):
            value = f"{number} of {writer is one}"
            await writer.put("c", "k", value)
            assert await writer.get("c", "k") == value
            await turns(20)
            assert await reader.get("c", "k") == value
            assert await reader.get("c", "k") == value
    assert other.snapshot().hot.hits >= 3
    assert one.snapshot().changes >= 5
    await one.aclose()
    with pytest.raises(StoreClosedError):
        await other.aclose()


async def test_an_entry_that_expires_is_gone_from_the_near_cache():
    clock = FakeClock()
    async with NearCacheWrapper(MemoryStore(clock=clock), clock=clock) as store:
        await store.put("c", "k", "v", ttl=10)
        await turns(20)
        assert await store.get("c", "k") == "v"
        clock.advance(11)
        assert await store.get("c", "k") is None


def test_a_url_puts_memory_before_a_store():
    store = open_store("memory://?wrap=near(max_bytes=1000,hot_ttl=5)&wrap=statistics")
    assert str(store.describe()) == "memory://?wrap=near(max_bytes=1000,hot_ttl=5)&wrap=statistics"
    near = layer(store, NearCacheWrapper)
    assert "max_bytes=1000" in str(near.inners[0].describe())
    assert near.inner is store.inner.inner
    with pytest.raises(UnsupportedOperationError, match="WATCH"):
        open_store("disk:///tmp/x?wrap=near")
