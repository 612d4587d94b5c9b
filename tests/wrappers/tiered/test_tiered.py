import asyncio
import copy
import logging

import pytest

from satchel import (
    BatchError,
    Capability,
    ConfigurationError,
    InvalidKeyError,
    InvalidTTLError,
    MemoryStore,
    SerializationError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
    _threads,
    open_store,
)
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import PrefixKeysWrapper, TieredStore
from tests.scripted import turns


@pytest.fixture
def clock():
    return FakeClock()


async def ttl_left(store, key="k"):
    return (await store.get_entry("c", key)).ttl


async def held(store):
    return sorted([(name, key) async for name in store.collections() async for key in store.keys(name)])


async def test_a_hit_in_cold_is_promoted_with_what_is_left_of_its_time(clock):
    hot, cold = MemoryStore(clock=clock), MemoryStore(clock=clock)
    store = TieredStore(hot, cold, clock=clock)
    await cold.put("c", "k", None, ttl=60)
    await cold.put_many("c", {"l": 1, "m": 2})
    clock.advance(45)
    assert await store.get("c", "k", "default") is None
    assert await store.get_many("c", ["m", "x", "l", "k"]) == {"m": 2, "l": 1, "k": None}
    assert await ttl_left(hot) == pytest.approx(15)
    assert await ttl_left(hot, "l") is None
    clock.advance(16)
    assert await store.get("c", "k", "default") == "default"


async def test_no_entry_stays_in_hot_for_longer_than_hot_ttl(clock):
    hot, cold = MemoryStore(clock=clock), MemoryStore(clock=clock)
    store = TieredStore(hot, cold, hot_ttl=10, clock=clock)
    await cold.put("c", "promoted", 1)
    await store.get("c", "promoted")
    await store.put("c", "put", 1)
    await store.put_many("c", {"short": 1, "shorter": 1}, ttl=5)
    assert [await ttl_left(hot, key) for key in ("promoted", "put", "short", "shorter")] == [10, 10, 5, 5]
    assert await ttl_left(store, "put") is None
    await cold.put("c", "put", "by another process")
    clock.advance(9)
    assert await store.get("c", "put") == 1
    clock.advance(1.1)
    assert await store.get("c", "put") == "by another process"


@pytest.mark.parametrize(("write", "in_hot", "in_cold"), [("through", True, True), ("around", False, True)])
async def test_where_a_put_goes(write, in_hot, in_cold):
    hot, cold = MemoryStore(), MemoryStore()
    store = TieredStore(hot, cold, write=write)
    await hot.put("c", "k", "old")
    await store.put("c", "k", 1)
    await store.put_many("c", {"l": 1, "m": 2})
    assert [await hot.exists("c", key) for key in "klm"] == [in_hot] * 3
    assert [await cold.exists("c", key) for key in "klm"] == [in_cold] * 3
    assert await store.get_many("c", list("klm")) == {"k": 1, "l": 1, "m": 2}


@pytest.mark.parametrize("turn", [_threads._A_TURN, -1], ids=["quick", "busy"])  # a busy machine pauses at any item
@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("write", ["through", "back"])
async def test_both_tiers_get_what_a_value_was_at_the_call(write, many, turn, monkeypatch):
    monkeypatch.setattr(_threads, "_A_TURN", turn)

    class Waits(MemoryStore):
        """Looks at a value late, as one that has to open first, or a wrapper that waits."""

        async def put(self, *arguments, **options):
            await turns(3)
            await super().put(*arguments, **options)

        async def put_many(self, *arguments, **options):
            await turns(3)
            await super().put_many(*arguments, **options)

    hot, cold = Waits(), Waits()
    store = TieredStore(hot, cold, write=write)
    values = {"k": {"list": [1], "map": {"a": {}}}, "l": [[1]], "m": {"large": ["x"] * 20_000}}
    given = copy.deepcopy(values)
    if many:
        putting = asyncio.create_task(store.put_many("c", given))
    else:
        putting = asyncio.gather(*[store.put("c", key, value) for key, value in given.items()])
    for _ in range(8):
        await turns(1)
        given["k"]["map"]["a"]["b"] = given["k"]["list"].append(2)
        given["l"][0].append(2)
    await putting
    await store.flush()
    for tier in (hot, cold):
        assert await tier.get_many("c", list(values)) == values


async def test_entries_and_versions_are_those_of_cold():
    hot, cold = MemoryStore(), MemoryStore()
    store = TieredStore(hot, cold)
    await store.put("c", "k", 1)
    entry = await store.get_entry("c", "k")
    assert entry == await cold.get_entry("c", "k")
    assert await store.get_entries("c", ["x", "k"]) == {"k": entry}
    assert await store.compare_and_put("c", "k", 2, version=entry.version)
    assert await store.get("c", "k") == 2


async def test_where_says_which_tiers_have_an_entry():
    hot, cold = MemoryStore(), MemoryStore()
    store = TieredStore(hot, cold)
    await cold.put("c", "cold", "x" * 10)
    await store.put("c", "both", b"x" * 10)
    assert list(await store.where("c", "cold")) == ["cold"]
    both = await store.where("c", "both")
    assert {name: entry.size for name, entry in both.items()} == {"hot": 10, "cold": 10}
    assert await store.where("c", "nowhere") == {}


@pytest.mark.parametrize("conditional", [True, False])
async def test_warming_promotes_what_cold_has(conditional):
    hot, cold = MemoryStore(), MemoryStore()
    if not conditional:
        hot._missing = Capability.CONDITIONAL
    store = TieredStore(hot, cold)
    await cold.put_many("c", {str(number): number for number in range(1200)})
    assert await store.warm("c", [str(number) for number in range(1100, 1300)]) == 100
    assert len(await held(hot)) == 100
    assert await store.warm("c", (str(number) for number in range(1200))) == (1100 if conditional else 1200)
    assert await store.get("c", "7") == 7
    assert store.snapshot().hot.hits == 1


@pytest.mark.parametrize("lists", [True, False])
async def test_demoting_keeps_what_was_used_last(lists):
    hot, cold = MemoryStore(), MemoryStore()
    if not lists:
        hot._missing = Capability.ENUMERATE_KEYS
    store = TieredStore(hot, cold)
    await cold.put_many("c", {key: key for key in "abcdef"})
    await store.warm("c", list("abcde"))
    await store.get("c", "b")
    await store.get_many("c", ["a", "f"])
    await hot.put("unknown", "k", 1)
    assert await store.demote(keep=3) == (4 if lists else 3)
    hot._missing = Capability.NONE
    assert [ref for ref in await held(hot) if ref[0] == "c"] == [("c", "a"), ("c", "b"), ("c", "f")]
    assert await store.get("c", "d") == "d"
    assert await store.demote(keep=5) == 0
    assert store.snapshot().demotions == (4 if lists else 3)
    for keep in (-1, True, None):
        with pytest.raises(ConfigurationError, match="keep"):
            await store.demote(keep=keep)


async def test_only_the_latest_uses_are_remembered(monkeypatch):
    monkeypatch.setattr("satchel.wrappers.tiered.hot._REMEMBERED", 10)
    hot = MemoryStore()
    hot._missing = Capability.ENUMERATE_KEYS
    store = TieredStore(hot, MemoryStore())
    await store.put_many("c", {str(number): number for number in range(25)})
    assert len(store._hot.uses._last | store._hot.uses._before) <= 20
    assert await store.demote(keep=0) >= 5


async def test_what_was_counted(clock):
    hot, cold = FlakyStore(clock=clock), FlakyStore(clock=clock)
    store = TieredStore(hot, cold, clock=clock)
    await cold.put("c", "k", None)
    await store.get("c", "k")
    await store.get("c", "k")
    await store.get_many("c", ["k", "x"])
    await store.put_many("c", {"l": 1, "m": 1})
    await store.delete("c", "l")
    hot.fail_next(operation="read")
    await store.get("c", "m")
    cold.fail_next(operation="read")
    with pytest.raises(StoreUnavailableError):
        await store.get("c", "y")
    found = store.snapshot()
    assert (found.hot.hits, found.hot.misses, found.hot.writes, found.hot.errors) == (2, 3, 2, 1)
    assert (found.cold.hits, found.cold.misses, found.cold.writes, found.cold.errors) == (2, 1, 3, 1)
    assert (found.promotions, found.demotions, found.queued) == (1, 0, 0)


async def test_hot_serves_while_cold_fails():
    hot, cold = MemoryStore(), FlakyStore()
    store = TieredStore(hot, cold)
    await store.put("c", "k", 1)
    cold.fail_next(3)
    assert await store.get("c", "k") == 1
    assert await store.get_many("c", ["k"]) == {"k": 1}
    assert await store.exists("c", "k")
    with pytest.raises(StoreUnavailableError):
        await store.ping()
    with pytest.raises(StoreUnavailableError):
        await store.get("c", "l")
    with pytest.raises(BatchError):
        await store.get_many("c", ["k", "l"])


async def test_hot_that_always_fails_takes_nothing_down(caplog, clock):
    hot, cold = FlakyStore(failure_rate=1.0, clock=clock), MemoryStore(clock=clock)
    store = TieredStore(hot, cold, clock=clock)
    with caplog.at_level(logging.WARNING, "satchel"):
        await store.ping()
        await store.put("c", "k", "hunter2")
        await store.put_many("c", {"l": 1})
        assert await store.get("c", "k") == "hunter2"
        clock.advance(100)
        assert await store.get("c", "k") == "hunter2"
        assert await store.get_many("c", ["l", "k"]) == {"l": 1, "k": "hunter2"}
        assert await store.exists("c", "k")
        assert await store.warm("c", ["k"]) == 0
        assert await store.cull() == 0
        assert await store.delete("c", "k")
        assert await store.destroy()
    assert await held(store) == []
    assert store.snapshot().hot.errors == len(caplog.records) > 5
    assert "hunter2" not in caplog.text


async def test_what_hot_does_not_take_is_read_from_cold(caplog):
    hot = MemoryStore(max_bytes=10)
    store = TieredStore(hot, MemoryStore())
    await store.put("c", "k", "small")
    await store.put("c", "k", "x" * 100)
    assert await store.get("c", "k") == "x" * 100
    assert await hot.get("c", "k") is None
    assert not caplog.records
    assert store.snapshot().hot.errors == 0


def test_capabilities_are_those_of_cold_but_what_hot_must_destroy_too():
    full = MemoryStore().capabilities
    hot, cold = MemoryStore(), MemoryStore()
    hot._missing = full
    assert TieredStore(hot, cold).capabilities == full & ~(Capability.DESTROY_COLLECTION | Capability.DESTROY_STORE)
    cold._missing = Capability.CONDITIONAL | Capability.CULL
    assert TieredStore(MemoryStore(), cold).capabilities == full & ~cold._missing


async def test_what_is_lacking_is_refused_by_name():
    hot = MemoryStore()
    hot._missing = hot.capabilities
    with pytest.raises(UnsupportedOperationError, match=r"TieredStore\(.* destroy;"):
        await TieredStore(hot, MemoryStore()).destroy()


async def test_a_verb_of_later_days_does_not_go_past_hot():
    store = TieredStore(MemoryStore(), cold := MemoryStore())
    with pytest.raises(UnsupportedOperationError, match=r"TieredStore\(.* rename;"):
        await store._around("rename", cold.delete, "c", "k")


@pytest.mark.parametrize("write", ["through", "back"])
async def test_a_put_without_a_value_or_with_an_unknown_option_is_refused(write):
    store = TieredStore(MemoryStore(), MemoryStore(), write=write)
    for put in (lambda: store.put("c", "k"), lambda: store.put("c", "k", 1, tll=5)):
        with pytest.raises(TypeError):
            await put()
    assert await store.get("c", "k", "default") == "default"


async def test_closing_closes_both_and_waits_for_reads_between_them():
    hot, cold = FlakyStore(latency=0.01), FlakyStore(latency=0.01)
    store = TieredStore(hot, cold)
    await cold.put("c", "k", 1)
    reading = asyncio.create_task(store.get("c", "k"))
    await asyncio.sleep(0)
    await store.aclose()
    assert await reading == 1
    for inner in (hot, cold):
        with pytest.raises(StoreError, match="closed"):
            await inner.ping()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"write": "behind"}, "write must be"),
        ({"write": None}, "write must be"),
        ({"hot_ttl": 0}, "hot_ttl"),
        ({"hot_ttl": "5"}, "hot_ttl"),
        ({"queue_size": 0}, "queue_size"),
        ({"queue_size": True}, "queue_size"),
        ({"clock": 5}, "clock"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        TieredStore(MemoryStore(), MemoryStore(), **options)


@pytest.mark.parametrize("write", ["through", "back"])
async def test_a_key_that_one_tier_does_not_take_is_refused(write):
    hot, cold = PrefixKeysWrapper(MemoryStore(), prefix="p" * 96), MemoryStore()
    store = TieredStore(hot, cold, write=write)
    long = "k" * 4000
    await cold.put("c", long, "cold alone could have it")
    for call in (
        lambda: store.get("c", long),
        lambda: store.get_entry("c", long),
        lambda: store.get_many("c", ["k", long]),
        lambda: store.put("c", long, 1),
        lambda: store.put_many("c", {"k": 1, long: 1}),
        lambda: store.delete("c", long),
        lambda: store.delete_many("c", [long]),
        lambda: store.warm("c", [long]),
    ):
        with pytest.raises(InvalidKeyError, match="the limit here is 3999"):
            await call()
    assert await held(cold) == [("c", long)]


def test_it_goes_over_two_stores():
    one = MemoryStore()
    with pytest.raises(ConfigurationError, match="two stores"):
        TieredStore(one, one)
    with pytest.raises(ConfigurationError, match="dict"):
        TieredStore({}, one)


async def test_arguments_are_refused_before_anything_is_written():
    store = TieredStore(hot := MemoryStore(), cold := MemoryStore(), write="back")
    with pytest.raises(InvalidTTLError):
        await store.put("c", "k", 1, ttl=0)
    with pytest.raises(SerializationError, match=r"put_many of key 'l' in collection 'c' of TieredStore.*\$"):
        await store.put_many("c", {"k": 1, "l": (1,)})
    assert await held(hot) == await held(cold) == []
    assert not store.snapshot().queued


def test_it_describes_itself_and_is_built_again():
    hot, cold = MemoryStore(), MemoryStore()
    description = TieredStore(hot, cold, write="back").describe()
    assert str(description) == "TieredStore://?hot=<MemoryStore>&cold=<MemoryStore>&write=back"
    again = open_store(description)
    assert again.inners == (hot, cold)
    assert again.describe() == description


def test_a_url_cannot_name_it():
    with pytest.raises(ConfigurationError, match="tiered"):
        open_store("memory://?wrap=tiered")
