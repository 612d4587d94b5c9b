import asyncio
import logging
import threading

import pytest

from satchel import (
    BatchError,
    Capability,
    ConfigurationError,
    IntegrityError,
    InvalidKeyError,
    MemoryStore,
    SerializationError,
    StoreClosedError,
    StoreTimeoutError,
    StoreUnavailableError,
    UnsupportedOperationError,
    open_store,
)
from satchel.errors import CircuitOpenError
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import FallbackWrapper, PrefixKeysWrapper
from tests.wrappers.failing import Failing, Listing, collect

READS = {
    "get": ("c", "k"),
    "exists": ("c", "k"),
    "get_many": ("c", ["x", "k"]),
    "get_entry": ("c", "k"),
    "get_entries": ("c", ["x", "k"]),
    "ping": (),
}
WRITES = {
    "put": ("c", "k", 2),
    "put_many": ("c", {"k": 2, "l": 3}),
    "delete": ("c", "k"),
    "delete_many": ("c", ["k", "l"]),
    "put_if_absent": ("c", "l", 2),
    "destroy_collection": ("c",),
    "destroy": (),
    "cull": (),
}


def down():
    return FlakyStore(failure_rate=1)


async def contents(store):
    return {
        (collection, key): (await store.get_entry(collection, key)).value
        async for collection in store.collections()
        async for key in store.keys(collection)
    }


@pytest.mark.parametrize("operation", READS)
async def test_reads_go_to_the_fallback_when_the_first_store_fails(operation):
    second = MemoryStore()
    await second.put("c", "k", "held")
    store = FallbackWrapper(down(), second)
    assert await getattr(store, operation)(*READS[operation]) == await getattr(second, operation)(*READS[operation])


@pytest.mark.parametrize("operation", READS)
async def test_reads_are_the_first_stores_while_it_answers(operation):
    first = MemoryStore()
    await first.put("c", "k", "held")
    store = FallbackWrapper(first, down())
    assert await getattr(store, operation)(*READS[operation]) == await getattr(first, operation)(*READS[operation])
    assert await store.get("c", "absent", "default") == "default"


async def test_the_fallback_gives_the_callers_default_and_a_stored_none():
    second = MemoryStore()
    await second.put("c", "none", None)
    store = FallbackWrapper(down(), second)
    assert await store.get("c", "absent", "default") == "default"
    assert await store.get("c", "none", "default") is None


async def test_listings_go_to_the_fallback_unless_they_have_given_a_name():
    second = MemoryStore()
    await second.put_many("c", {"x1": 1, "x2": 2, "y": 3})
    store = FallbackWrapper(Listing("abc", fail_at=[0]), second)
    assert sorted([key async for key in store.keys("c", prefix="x")]) == ["x1", "x2"]
    assert [name async for name in FallbackWrapper(down(), second).collections()] == ["c"]
    store, found = FallbackWrapper(Listing("abc", fail_at=[2]), second), []
    with pytest.raises(StoreUnavailableError):
        await collect(found, store.keys("c"))
    assert found == ["a", "b"]


async def test_where_both_fail_the_second_error_is_raised_with_the_first():
    store = FallbackWrapper(down(), FlakyStore(failure_rate=1, latency=0.001))
    with pytest.raises(StoreUnavailableError) as failure:
        await store.get("c", "k")
    assert "latency=0.001" in failure.value.store
    assert isinstance(failure.value.__context__, StoreUnavailableError)


@pytest.mark.parametrize(
    "operation", [verb for verb in WRITES if verb not in ("destroy", "destroy_collection", "cull")]
)
async def test_writes_go_to_the_first_store_alone(operation):
    first, second = MemoryStore(), MemoryStore()
    store = FallbackWrapper(first, second)
    await getattr(store, operation)(*WRITES[operation])
    assert await contents(second) == {}
    with pytest.raises((StoreUnavailableError, BatchError)):
        await getattr(FallbackWrapper(down(), second), operation)(*WRITES[operation])
    assert await contents(second) == {}


@pytest.mark.parametrize("operation", WRITES)
async def test_both_hold_the_same_after_every_write(operation):
    first, second = MemoryStore(), MemoryStore()
    for each in (first, second):
        await each.put("c", "k", 1)
        await each.put("other", "k", 1)
    await getattr(FallbackWrapper(first, second, write_both=True), operation)(*WRITES[operation])
    assert await contents(second) == await contents(first)


async def test_conditional_writes_reach_the_fallback_where_they_were_made():
    first, second = MemoryStore(), MemoryStore()
    store = FallbackWrapper(first, second, write_both=True)
    version = await store.put_if_absent("c", "k", 1, ttl=100)
    assert await store.put_if_absent("c", "k", 2) is None
    assert await second.get("c", "k") == 1
    assert (await second.get_entry("c", "k")).ttl == pytest.approx(100, abs=5)
    assert await store.compare_and_put("c", "k", 3, version="other") is None
    assert await second.get("c", "k") == 1
    version = await store.compare_and_put("c", "k", 3, version=version)
    assert await second.get("c", "k") == 3
    assert await store.touch("c", "k", ttl=500) is True
    assert (await second.get_entry("c", "k")).ttl == pytest.approx(500, abs=5)
    assert await store.compare_and_delete("c", "k", version="other") is False
    assert await second.exists("c", "k") is True
    assert await store.compare_and_delete("c", "k", version=version) is True
    assert await second.exists("c", "k") is False


async def test_times_to_live_are_the_same():
    clock = FakeClock()
    first, second = MemoryStore(clock=clock), MemoryStore(clock=clock)
    store = FallbackWrapper(first, second, write_both=True)
    await store.put("c", "k", 1, ttl=5)
    await store.put_many("c", {"l": 1}, ttl=7)
    assert [(await second.get_entry("c", key)).ttl for key in "kl"] == [5, 7]


@pytest.mark.parametrize("operation", ["put", "put_many", "delete", "delete_many", "put_if_absent"])
async def test_a_write_that_the_first_store_failed_does_not_reach_the_fallback(operation):
    second = MemoryStore()
    await second.put("c", "k", 1)
    store = FallbackWrapper(down(), second, write_both=True)
    with pytest.raises((StoreUnavailableError, BatchError)):
        await getattr(store, operation)(*WRITES[operation])
    assert await contents(second) == {("c", "k"): 1}


async def test_of_a_batch_what_was_written_reaches_the_fallback():
    first, second = Failing(), MemoryStore()
    store = FallbackWrapper(first, second, write_both=True)
    first.failing = {"b": [StoreUnavailableError("lost")]}
    with pytest.raises(BatchError) as failure:
        await store.put_many("c", {"a": 1, "b": 2, "d": 3}, ttl=60)
    assert list(failure.value.failed) == ["b"]
    assert await second.get_many("c", ["a", "b", "d"]) == {"a": 1, "d": 3}
    first.failing = {"d": [StoreUnavailableError("lost")]}
    with pytest.raises(BatchError):
        await store.delete_many("c", ["a", "d"])
    assert await second.get_many("c", ["a", "b", "d"]) == {"d": 3}


async def test_what_the_fallback_fails_is_logged_and_does_not_fail_the_write(caplog):
    first, second = MemoryStore(), down()
    store = FallbackWrapper(first, second, write_both=True)
    await store.put("c", "k", "hunter2")
    assert await store.delete("c", "k") is True
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "put did not reach the fallback, which is behind now" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("many", [True, False])
async def test_both_end_with_the_same_value_of_writes_at_once(many):
    class Slow(MemoryStore):
        async def put(self, collection, key, value, *, ttl=None):
            await asyncio.sleep(0.02 if value == "early" else 0)
            await super().put(collection, key, value, ttl=ttl)

    first, second = MemoryStore(), Slow()
    store = FallbackWrapper(first, second, write_both=True)
    early = asyncio.create_task(store.put("c", "k", "early"))
    await asyncio.sleep(0)
    await (store.put_many("c", {"l": 1, "k": "late"}) if many else store.put("c", "k", "late"))
    await early
    assert await second.get("c", "k") == await first.get("c", "k") == "late"


@pytest.mark.parametrize("operation", ["put", "put_many", "put_if_absent", "compare_and_put", "named"])
async def test_both_get_what_a_value_was_at_the_call(operation):
    class Waits(FlakyStore):
        async def put(self, *arguments, **options):
            await asyncio.sleep(0)
            await super().put(*arguments, **options)

    first, second = Waits(latency=0.001), Waits()
    store = FallbackWrapper(first, second, write_both=True)
    value = {"list": [1], "number": 1}
    if operation == "compare_and_put":
        version = await store.put_if_absent("c", "k", 1)
        writing = store.compare_and_put("c", "k", value, version=version)
    elif operation == "named":
        writing = store.put_if_absent(collection="c", key="k", value=value)
    else:
        writing = (
            store.put_many("c", {"k": value}) if operation == "put_many" else getattr(store, operation)("c", "k", value)
        )
    writing = asyncio.create_task(writing)
    await asyncio.sleep(0)
    value["list"].append(2)
    value["more"] = 1
    await writing
    assert await second.get("c", "k") == await first.get("c", "k") == {"list": [1], "number": 1}


async def test_what_cannot_be_copied_is_refused_by_the_store():
    store = FallbackWrapper(MemoryStore(), MemoryStore(), write_both=True)
    deep = endless = []
    for _ in range(5000):
        deep = [deep]
    endless.append(endless)
    for value in ((number for number in "12"), {"lock": threading.Lock()}, deep, endless):
        with pytest.raises(SerializationError):
            await store.put("c", "k", value)


async def test_batches_that_have_keys_in_common_do_not_wait_for_each_other_for_ever():
    first, second = FlakyStore(latency=0.0001), FlakyStore(latency=0.001)
    store = FallbackWrapper(first, second, write_both=True)
    keys = [str(number) for number in range(10)]
    async with asyncio.timeout(30):
        await asyncio.gather(
            *[store.put_many("c", dict.fromkeys(keys[turn:] + keys[:turn], turn)) for turn in range(10)],
            *[store.delete_many("c", keys[::-1]) for _ in range(3)],
        )
    assert await contents(first) == await contents(second)


async def test_only_errors_that_were_named_lead_to_the_fallback():
    second = MemoryStore(seed={"c": {"k": "held", "l": "held"}})
    damaged, late = Failing(), Failing()
    damaged.fail_next(2, error=IntegrityError("damaged"))
    late.fail_next(9, error=StoreTimeoutError("late"))
    with pytest.raises(IntegrityError):
        await FallbackWrapper(damaged, second).get("c", "k")
    assert await FallbackWrapper(damaged, second, on=(IntegrityError,)).get("c", "k") == "held"
    assert await FallbackWrapper(late, second).get("c", "k") == "held"
    with pytest.raises(StoreTimeoutError):
        await FallbackWrapper(late, second, on=(StoreUnavailableError,)).get("c", "k")
    refusing = Failing()
    refusing.fail_next(error=CircuitOpenError("refused"))
    assert await FallbackWrapper(refusing, second).get("c", "k") == "held"
    with pytest.raises(InvalidKeyError):
        await FallbackWrapper(MemoryStore(), second).get("c", "")


async def test_a_batch_leads_to_the_fallback_where_all_that_failed_was_named():
    first, second = Failing(), MemoryStore(seed={"c": {"k": "held", "l": "held"}})
    store = FallbackWrapper(first, second)
    await first.put("c", "l", "newer")
    first.failing = {"k": [StoreUnavailableError("lost")]}
    assert await store.get_many("c", ["k", "l"]) == {"k": "held", "l": "held"}
    first.failing = {"k": [StoreUnavailableError("lost")], "l": [IntegrityError("damaged")]}
    with pytest.raises(BatchError):
        await store.get_many("c", ["k", "l"])


def test_capabilities_and_the_longest_key_are_those_of_both():
    first, second = MemoryStore(), MemoryStore()
    second._missing = Capability.CULL | Capability.ENUMERATE_KEYS
    store = FallbackWrapper(first, second)
    assert store.capabilities == first.capabilities & ~second._missing
    for refused in (store.cull, store.keys):
        with pytest.raises(UnsupportedOperationError, match=r"FallbackWrapper\(MemoryStore\(\), MemoryStore\(\)\)"):
            refused("c")


@pytest.mark.parametrize("write_both", [True, False])
async def test_a_key_that_the_fallback_does_not_take_is_refused(write_both):
    store = FallbackWrapper(MemoryStore(), PrefixKeysWrapper(MemoryStore(), prefix="ab"), write_both=write_both)
    longest = store.max_key_bytes
    assert longest < 4096
    await store.put("c", "k" * longest, 1)
    for call in (store.get("c", "k" * (longest + 1)), store.put_many("c", {"k" * (longest + 1): 1})):
        with pytest.raises(InvalidKeyError, match=str(longest)):
            await call
    for bad in (None, 5, ["k"], ""):
        with pytest.raises(InvalidKeyError):
            await store.put("c", bad, 1)
        with pytest.raises(InvalidKeyError):
            await store.put(bad, "k", 1)


async def test_closing_closes_both():
    first, second = MemoryStore(), MemoryStore()
    async with FallbackWrapper(first, second) as store:
        await store.put("c", "k", 1)
    for each in (first, second):
        with pytest.raises(StoreClosedError):
            await each.get("c", "k")


async def test_a_closed_first_store_is_no_reason_to_read_the_second():
    first = MemoryStore()
    await first.aclose()
    with pytest.raises(StoreClosedError):
        await FallbackWrapper(first, MemoryStore()).get("c", "k")


@pytest.mark.parametrize(
    "options",
    [
        {"on": ()},
        {"on": [StoreTimeoutError]},
        {"on": StoreTimeoutError},
        {"on": (OSError,)},
        {"on": (5,)},
        {"write_both": 1},
    ],
)
def test_a_bad_option_is_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        FallbackWrapper(MemoryStore(), MemoryStore(), **options)


def test_it_describes_itself_and_is_built_again():
    first, second = MemoryStore(), MemoryStore()
    description = FallbackWrapper(first, second, write_both=True).describe()
    assert str(description) == "memory://?wrap=FallbackWrapper(fallback=<MemoryStore>,write_both=true)"
    again = open_store(description)
    assert again.fallback is second
    assert again.describe() == description


def test_what_is_no_store_is_refused():
    for stores in ((None, MemoryStore()), (MemoryStore(), None)):
        with pytest.raises(ConfigurationError, match="FallbackWrapper goes over stores, got NoneType"):
            FallbackWrapper(*stores)
