"""What wrappers make of watching: names come back, and no call is counted, retried or delayed."""

import asyncio

import pytest

from satchel import Capability, Change, MemoryStore, UnsupportedOperationError
from satchel.testing import FlakyStore, WatchConformance
from satchel.wrappers import (
    BaseWrapper,
    CircuitBreakerWrapper,
    EventsWrapper,
    FallbackWrapper,
    LoggingWrapper,
    OnErrorWrapper,
    PrefixCollectionsWrapper,
    PrefixKeysWrapper,
    ReadOnlyWrapper,
    RetryWrapper,
    RoutingStore,
    SanitizationWrapper,
    SerializingWrapper,
    SingleCollectionWrapper,
    StatisticsWrapper,
    TieredStore,
    TimeoutWrapper,
)
from tests.stores.watched import taken


class TestStackOfNames(WatchConformance):
    def make_store(self, clock, place):
        stack = PrefixCollectionsWrapper(PrefixKeysWrapper(MemoryStore(clock=clock), prefix="a"), prefix="b")
        return PrefixKeysWrapper(SingleCollectionWrapper(stack, collection="one"), prefix="c")


class TestSanitization(WatchConformance):
    def make_store(self, clock, place):
        return SanitizationWrapper(MemoryStore(clock=clock), key_strategy="escape", collection_strategy="hash")


class TestRoutingStore(WatchConformance):
    def make_store(self, clock, place):
        return RoutingStore(
            MemoryStore(clock=clock),
            collections={"c": MemoryStore(clock=clock)},
            prefixes={"c:": MemoryStore(clock=clock)},
        )


async def test_keys_that_are_not_the_wrappers_are_not_reported():
    inner = MemoryStore()
    for store in (PrefixKeysWrapper(inner, prefix="a"), SingleCollectionWrapper(inner, collection="c")):
        async with store.watch("c", prefix="k") as changes:
            await inner.put("c", "k", 1)
            await inner.put("c", "a:", 1)
            await store.put("c", "other", 1)
            await store.put("c", "k2", 1)
            assert await taken(changes, 2) == [Change("ready", "c"), Change("changed", "c", "k2")]


async def test_a_loss_has_the_callers_collection():
    inner = MemoryStore()
    store = PrefixCollectionsWrapper(inner, prefix="a")
    async with store.watch("c") as changes:
        await taken(changes, 1)
        await inner.destroy()
        assert await taken(changes, 2) == [Change("lost", "c"), Change("ready", "c")]


@pytest.mark.parametrize("preset", ["redis-v1", "filesystem-v1"])
def test_where_keys_are_hashed_watching_is_dropped_and_refused_by_name(preset):
    for store in (SanitizationWrapper(MemoryStore(), preset=preset), _routed_by_key()):
        assert Capability.WATCH not in store.capabilities
        with pytest.raises(UnsupportedOperationError, match=f"{type(store).__name__}.* does not have watch"):
            store.watch("c")


def _routed_by_key():
    default, other = MemoryStore(), MemoryStore()
    return RoutingStore(default, route=lambda collection, key: other if key == "k" else None, others=[other])


def test_a_store_that_cannot_be_watched_cannot_be_in_any_wrapper():
    inner = MemoryStore()
    inner._missing = Capability.WATCH
    store = StatisticsWrapper(PrefixKeysWrapper(inner, prefix="a"))
    assert Capability.WATCH not in store.capabilities
    with pytest.raises(UnsupportedOperationError, match="does not have watch"):
        store.watch("c")


AROUND = [
    CircuitBreakerWrapper,
    EventsWrapper,
    lambda inner: FallbackWrapper(inner, MemoryStore()),
    LoggingWrapper,
    OnErrorWrapper,
    ReadOnlyWrapper,
    RetryWrapper,
    SerializingWrapper,
    StatisticsWrapper,
    lambda inner: TimeoutWrapper(inner, seconds=0.01),
]


@pytest.mark.parametrize("wrap", AROUND, ids=lambda wrap: getattr(wrap, "__name__", "made"))
async def test_what_surrounds_calls_leaves_watching_alone(wrap):
    inner = FlakyStore()
    store = wrap(inner)
    assert inner.watch in (store.watch, getattr(store.watch, "__wrapped__", None))
    await hears_of_a_put(store, inner)


async def test_tiers_are_watched_by_cold():
    inner = FlakyStore()
    await hears_of_a_put(TieredStore(MemoryStore(), inner), inner)


async def hears_of_a_put(store, inner):
    async with store.watch("c") as changes:
        await asyncio.sleep(0.02)
        await inner.put("c", "k", 1)
        assert await taken(changes, 2) == [Change("ready", "c"), Change("changed", "c", "k")]


async def test_a_wrapper_of_ones_own_that_renames_is_watched_by_the_callers_names():
    class Upper(BaseWrapper):
        def _ref(self, collection, key):
            return collection, key.swapcase()

        def _key_from_inner(self, collection, key):
            return key.swapcase()

    store = Upper(MemoryStore())
    async with store.watch("c", prefix="a") as changes:
        await store.put_many("c", {"Ab": 1, "aB": 1})
        assert await taken(changes, 2) == [Change("ready", "c"), Change("changed", "c", "aB")]
