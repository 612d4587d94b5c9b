"""What a MemoryStore keeps and what it lets go of."""

import asyncio
import gc
import tracemalloc
import weakref

import pytest

from satchel import JsonCodec, MemoryStore
from satchel.errors import ConfigurationError, InvalidKeyError, SerializationError, ValueTooLargeError
from satchel.testing import FakeClock

LETTER = "x"  # its JSON has 3 bytes


async def listed(names):
    return [name async for name in names]


@pytest.fixture
def clock():
    return FakeClock()


class TestEntryBound:
    async def test_the_least_recently_put_goes_first(self):
        store = MemoryStore(max_entries_per_collection=2)
        for key in "abc":
            await store.put("c", key, key)
        assert await store.get_many("c", ["a", "b", "c"]) == {"b": "b", "c": "c"}

    @pytest.mark.parametrize("read", ["get", "get_entry", "exists"])
    async def test_reading_keeps_an_entry(self, read):
        store = MemoryStore(max_entries_per_collection=2)
        await store.put("c", "a", 1)
        await store.put("c", "b", 2)
        await getattr(store, read)("c", "a")
        await store.put("c", "d", 4)
        assert set(await listed(store.keys("c"))) == {"a", "d"}

    @pytest.mark.parametrize("bounds", [{"max_entries_per_collection": 3}, {"max_bytes": 9}])
    async def test_overwriting_at_capacity_evicts_nothing(self, bounds):
        store = MemoryStore(**bounds)
        for key in "abc":
            await store.put("c", key, LETTER)
        for key in "cab":
            await store.put("c", key, "y")
        assert await store.get_many("c", list("abc")) == dict.fromkeys("abc", "y")

    async def test_each_collection_has_its_own_bound(self):
        store = MemoryStore(max_entries_per_collection=1)
        await store.put("one", "a", 1)
        await store.put("two", "a", 2)
        assert (await store.get("one", "a"), await store.get("two", "a")) == (1, 2)

    @pytest.mark.parametrize("bounds", [{"max_entries_per_collection": 3}, {"max_bytes": 9}])
    async def test_expired_go_before_least_recently_used(self, clock, bounds):
        store = MemoryStore(clock=clock, **bounds)
        await store.put("c", "oldest", LETTER)
        await store.put("c", "fleeting", LETTER, ttl=1)
        await store.put("c", "newest", LETTER)
        clock.advance(2)
        await store.put("c", "next", LETTER)
        assert set(await listed(store.keys("c"))) == {"oldest", "newest", "next"}

    async def test_expired_go_first_however_many_have_expired(self, clock):
        store = MemoryStore(clock=clock, max_entries_per_collection=600)
        await store.put_many("other", {str(number): 1 for number in range(600)}, ttl=1)
        await store.put("c", "oldest", 1)
        await store.put_many("c", {str(number): 1 for number in range(599)}, ttl=2)
        clock.advance(3)
        await store.put("c", "next", 1)
        assert set(await listed(store.keys("c"))) == {"oldest", "next"}

    async def test_a_batch_past_the_bound_leaves_its_last_entries(self):
        store = MemoryStore(max_entries_per_collection=3)
        await store.put_many("c", {str(number): number for number in range(10)})
        assert await store.get_many("c", map(str, range(10))) == {"7": 7, "8": 8, "9": 9}

    async def test_evicting_reading_expired_and_culling_together_end(self, clock):
        store = MemoryStore(clock=clock, max_entries_per_collection=5)

        async def work(number):
            for step in range(50):
                await store.put("c", f"{number}-{step % 7}", step, ttl=1)
                clock.advance(0.1)
                await store.get("c", f"{number}-{(step + 3) % 7}")
                await store.cull()

        async with asyncio.timeout(20):
            await asyncio.gather(*map(work, range(8)))
        assert len(await listed(store.keys("c"))) <= 5


class TestByteBound:
    async def test_the_least_recently_used_of_all_collections_goes(self):
        store = MemoryStore(max_bytes=9)
        await store.put("one", "a", LETTER)
        await store.put("two", "a", LETTER)
        await store.put("three", "a", LETTER)
        await store.get("one", "a")
        await store.put("four", "a", LETTER)
        assert set(await listed(store.collections())) == {"one", "three", "four"}

    async def test_growing_shrinking_and_deleting_are_counted(self):
        store = MemoryStore(max_bytes=100)
        for size in (90, 10, 60):
            await store.put("c", "a", b"x" * size)
        await store.put("c", "b", b"y" * 40)
        assert set(await listed(store.keys("c"))) == {"a", "b"}
        await store.delete("c", "a")
        await store.put("c", "d", b"z" * 60)
        assert set(await listed(store.keys("c"))) == {"b", "d"}
        await store.destroy_collection("c")
        await store.put_many("c", {str(number): b"x" * 10 for number in range(10)})
        assert len(await listed(store.keys("c"))) == 10
        await store.put("c", "one more", b"x")
        assert len(await listed(store.keys("c"))) == 10

    @pytest.mark.parametrize("value", [b"x" * 11, "x" * 9, "x" * 70_000, b"x" * 70_000], ids=len)
    async def test_a_value_larger_than_all_is_refused_and_evicts_nothing(self, value):
        store = MemoryStore(max_bytes=10)
        await store.put("c", "a", b"x" * 10)
        with pytest.raises(ValueTooLargeError, match="at most 10"):
            await store.put("c", "b", value)
        assert await store.get("c", "a") == b"x" * 10


@pytest.mark.parametrize("name", ["max_entries_per_collection", "max_bytes"])
@pytest.mark.parametrize("bound", [0, -1, 1.0, "1", True])
def test_a_wrong_bound_is_refused_by_name(name, bound):
    with pytest.raises(ConfigurationError, match=name):
        MemoryStore(**{name: bound})


class TestExpired:
    async def test_20_000_are_freed_by_the_timer_alone(self, clock):
        store = MemoryStore(clock=clock)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(20_000):
                await store.put("c", str(number), {"text": "x" * 200, "number": number}, ttl=0.5)
            full = tracemalloc.get_traced_memory()[0] - before
            clock.advance(1)
            async with asyncio.timeout(20):
                while tracemalloc.get_traced_memory()[0] - before > full / 50:  # noqa: ASYNC110  # nothing says when
                    await asyncio.sleep(0.05)
        finally:
            tracemalloc.stop()
        assert full > 20_000 * 200

    async def test_later_writes_free_them_a_few_at_a_time(self, clock):
        store = MemoryStore(clock=clock)
        await store.put_many("c", {str(number): number for number in range(2_000)}, ttl=1)
        clock.advance(2)
        await store.put("other", "a", 1)
        assert 0 < await store.cull() < 2_000

    async def test_a_fresh_value_under_an_expired_name_stays(self, clock):
        store = MemoryStore(clock=clock)
        await store.put("c", "a", 1, ttl=1)
        await store.put("c", "b", 1, ttl=1)
        clock.advance(2)
        await store.put("c", "a", 2)
        await store.touch("c", "b", ttl=None)
        assert await store.cull() <= 1
        assert await store.get("c", "a") == 2

    async def test_a_touched_entry_outlives_its_first_deadline(self, clock):
        store = MemoryStore(clock=clock)
        await store.put("c", "a", 1, ttl=1)
        await store.touch("c", "a", ttl=10)
        clock.advance(2)
        assert await store.cull() == 0
        assert await store.get("c", "a") == 1
        clock.advance(9)
        assert await store.cull() == 1

    async def test_renewing_one_entry_for_ever_takes_no_more_memory(self, clock):
        store = MemoryStore(clock=clock)
        await store.put("c", "a", 1, ttl=3600)
        tracemalloc.start()
        try:
            for step in range(30_000):
                await store.put("c", "a", step, ttl=3600)
                clock.advance(0 if step < 15_000 else 0.001)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()

    async def test_listings_begun_before_hide_what_expires_meanwhile(self, clock):
        store = MemoryStore(clock=clock)
        await store.put_many("c", {str(number): number for number in range(1_500)}, ttl=1)
        keys = store.keys("c")
        await anext(keys)
        clock.advance(2)
        assert len(await listed(keys)) < 1_000


class TestListing:
    @pytest.mark.parametrize("bounds", [{}, {"max_entries_per_collection": 5_000}])
    async def test_what_stays_is_listed_once_while_others_come_and_go(self, bounds):
        store = MemoryStore(**bounds)
        names = [str(number) for number in range(2_500)]
        await store.put_many("c", dict.fromkeys(names, 1))
        seen = []
        async for name in store.keys("c"):
            seen.append(name)
            if len(seen) in {10, 1_500}:
                await store.put("c", f"new {len(seen)}", 1)
                await store.delete("c", names[5])
                await store.get("c", names[7])
                await store.put("c", names[9], 2)
        assert len(seen) == len(set(seen))
        assert set(names) - {names[5]} <= set(seen)

    async def test_collections_may_come_and_go_meanwhile(self):
        store = MemoryStore()
        for number in range(1_500):
            await store.put(str(number), "a", 1)
        seen = []
        async for name in store.collections():
            seen.append(name)
            if len(seen) == 10:
                await store.put("new", "a", 1)
                await store.destroy_collection("1400")
        assert len(seen) == len(set(seen))
        assert {str(number) for number in range(1_500)} - {"1400"} <= set(seen)

    async def test_a_destroyed_store_ends_a_listing(self):
        store = MemoryStore()
        await store.put_many("c", {str(number): 1 for number in range(3_000)})
        keys = store.keys("c")
        await anext(keys)
        await store.destroy()
        assert len(await listed(keys)) < 1_000

    @pytest.mark.long
    async def test_a_million_keys_are_listed_within_constant_memory(self):
        keys = 1_000_000
        store = MemoryStore(seed={"c": dict.fromkeys(map(str, range(keys)))})
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            count = 0
            async for _ in store.keys("c"):
                count += 1
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert count == keys
        assert peak < 500_000  # a list of the names would be three times that


class TestSeed:
    async def test_it_is_there_for_many_concurrent_first_calls(self):
        store = MemoryStore(seed={"c": {"a": {"n": 1}, "b": None}})
        assert await asyncio.gather(*[store.get("c", "a") for _ in range(100)]) == [{"n": 1}] * 100
        assert await store.exists("c", "b")

    async def test_it_is_copied(self):
        value = {"n": [1]}
        store = MemoryStore(seed={"c": {"a": value}})
        value["n"].append(2)
        assert await store.get("c", "a") == {"n": [1]}

    async def test_it_stays_destroyed(self):
        store = MemoryStore(seed={"c": {"a": 1}})
        assert await store.destroy()
        assert await store.get("c", "a") is None

    @pytest.mark.parametrize("seed", [{"": {"a": 1}}, {"c": {1: 1}}, {"c": ["a"]}, ["c"]])
    def test_wrong_names_are_refused(self, seed):
        with pytest.raises(InvalidKeyError):
            MemoryStore(seed=seed)

    def test_a_wrong_value_is_refused(self):
        with pytest.raises(SerializationError):
            MemoryStore(seed={"c": {"a": (1,)}})


class TestNames:
    """get and put look names up before they check them."""

    class Shouting(str):
        """Is equal to nothing that a dict would find."""

        __slots__ = ()

        def __hash__(self):
            return 1

        def __eq__(self, other):
            return self is other

    @pytest.mark.parametrize("wrong", ["", 1, None, b"a", ["a"], {}, "\ud800", "x" * 4097])
    @pytest.mark.parametrize("place", [0, 1])
    async def test_wrong_ones_are_refused(self, wrong, place):
        store = MemoryStore(seed={"c": {"a": 1}})
        names = ["c", "a"]
        names[place] = wrong
        with pytest.raises(InvalidKeyError):
            await store.get(*names)
        with pytest.raises(InvalidKeyError):
            await store.put(*names, 1)

    async def test_a_subclass_is_the_plain_str(self):
        store = MemoryStore()
        await store.put("c", "a", 1)
        await store.put(self.Shouting("c"), self.Shouting("a"), 2)
        assert await store.get("c", "a") == 2
        assert await store.get(self.Shouting("c"), self.Shouting("a")) == 2
        assert [type(name) for name in await listed(store.keys("c"))] == [str]


class TestVersions:
    """put makes no version; the first to look does."""

    async def test_it_stays_until_the_next_write(self):
        store = MemoryStore()
        await store.put("c", "a", 1)
        first = (await store.get_entry("c", "a")).version
        await store.touch("c", "a", ttl=5)
        assert (await store.get_entry("c", "a")).version == first
        await store.put("c", "a", 1)
        assert (await store.get_entry("c", "a")).version not in {first, ""}

    async def test_nobody_guesses_the_one_that_is_not_made_yet(self):
        store = MemoryStore()
        await store.put("c", "a", 1)
        assert not await store.compare_and_delete("c", "a", version="")
        await store.put("c", "a", 1)
        assert await store.compare_and_put("c", "a", 2, version="") is None
        assert await store.get("c", "a") == 1


class TestEventLoops:
    def test_a_waiting_timer_holds_up_no_exit_and_the_next_run_works(self, clock):
        store = MemoryStore(clock=clock)
        asyncio.run(store.put("c", "a", 1, ttl=100))
        assert asyncio.run(store.get("c", "a")) == 1
        clock.advance(200)
        assert asyncio.run(store.get("c", "a")) is None

    def test_two_loops_of_one_thread_take_turns(self):
        store = MemoryStore()
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
        try:
            first.run_until_complete(store.put("c", "a", 1))
            for call in (store.get, store.exists):
                assert second.run_until_complete(call("c", "a")) == 1
            second.run_until_complete(store.put("c", "a", 2))
            assert first.run_until_complete(store.get("c", "a")) == 2
        finally:
            first.close()
            second.close()

    async def test_a_forgotten_store_is_freed_though_its_timer_waits(self):
        store = MemoryStore()
        await store.put("c", "a", 1, ttl=100)
        forgotten = weakref.ref(store)
        del store
        gc.collect()
        assert forgotten() is None


async def test_a_codec_that_cannot_decode_says_the_same_on_every_path():
    class Forgetful(JsonCodec):
        number = 200

        def decode(self, payload):
            raise LookupError(payload)

    store = MemoryStore(codec=Forgetful())
    await store.put("c", "a", 1)
    for call in (store.get("c", "a"), store.get_entry("c", "a")):
        with pytest.raises(Exception, match="cannot be decoded: LookupError"):
            await call


@pytest.mark.parametrize("end", ["destroy_collection", "destroy", "aclose"])
async def test_other_tasks_run_while_many_entries_are_freed(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    await store.put_many("c", dict.fromkeys(map(str, range(10_000)), 1), ttl=60)
    await store.put("other", "k", 1)
    monkeypatch.setattr("satchel._threads._A_TURN", 0.0)  # a pause after every part
    call = store.destroy_collection("c") if end == "destroy_collection" else getattr(store, end)()
    ending = asyncio.create_task(call)
    pauses = 0
    while not ending.done():
        await asyncio.sleep(0)
        pauses += 1
        if end == "destroy_collection":
            assert await store.get("c", "0") is None  # all are gone at once
    await ending
    assert pauses > 10_000 / 500
    if end != "aclose":
        assert await store.get("other", "k") == (1 if end == "destroy_collection" else None)
        assert [key async for key in store.keys("c")] == []
