import inspect

import pytest

from satchel import (
    Capability,
    ConfigurationError,
    MemoryStore,
    NullStore,
    SerializationError,
    StoreClosedError,
    StoreUnavailableError,
    SyncStore,
    UnsupportedOperationError,
    open_store,
)
from satchel.testing import WrapperConformance
from satchel.wrappers import BaseWrapper, CompositeStore, RoutingStore
from tests.wrappers.doubles import PrefixKeys, Routing


class TestRouting(WrapperConformance):
    def wrap(self, inner, clock):
        return Routing(MemoryStore(clock=clock), inner)


async def test_each_collection_is_kept_where_it_belongs():
    hot, cold = MemoryStore(), MemoryStore()
    store = Routing(hot, cold)
    await store.put("hot things", "k", 1)
    await store.put("things", "k", 2)
    assert await hot.get("hot things", "k") == 1
    assert await cold.get("things", "k") == 2
    assert await hot.get("things", "k") is None


def test_capabilities_are_what_is_written_and_every_inner_store_has():
    hot, cold = MemoryStore(), MemoryStore()
    assert Routing(hot, cold).capabilities == Capability.CULL | Capability.DESTROY_COLLECTION
    cold._missing = Capability.CULL
    assert Routing(hot, cold).capabilities == Capability.DESTROY_COLLECTION


@pytest.mark.parametrize("operation", ["keys", "collections", "destroy", "touch", "put_if_absent", "compare_and_put"])
def test_what_is_not_written_is_refused_by_name(operation):
    store = Routing(MemoryStore(), NullStore())
    with pytest.raises(UnsupportedOperationError, match=rf"Routing\(MemoryStore\(\), NullStore\(\)\).* {operation};"):
        getattr(store, operation)()


def test_the_longest_key_is_the_shortest_of_them():
    assert Routing(MemoryStore(), PrefixKeys(MemoryStore())).max_key_bytes == 4094


async def test_all_are_closed_also_when_one_fails_and_one_that_comes_twice_once():
    broken, other = MemoryStore(), MemoryStore()
    await broken.aclose()
    with pytest.raises(StoreClosedError):
        await Routing(broken, other).aclose()
    with pytest.raises(StoreClosedError):
        await other.get("c", "k")
    async with Routing(twice := MemoryStore(), twice) as store:
        await store.ping()
        await store.aclose()


async def test_leaving_closes_all():
    hot, cold = MemoryStore(), MemoryStore()
    async with Routing(hot, cold):
        pass
    for inner in (hot, cold):
        with pytest.raises(StoreClosedError):
            await inner.ping()


async def test_leaving_finishes_what_is_the_stores_own():
    class Queueing(Routing):
        async def _finish(self):
            await self.put("c", "k", (1,))

    hot, cold = MemoryStore(), MemoryStore()
    with pytest.raises(SerializationError):
        async with Queueing(hot, cold):
            pass
    for inner in (hot, cold):
        with pytest.raises(StoreClosedError):
            await inner.ping()


async def test_a_failure_to_close_shows_also_when_another_was_closed_before():
    class Failing(MemoryStore):
        async def _close(self):
            raise StoreUnavailableError("down")

    closed, failing, other = MemoryStore(), Failing(), MemoryStore()
    store = CompositeStore(closed, failing, other)
    await failing.ping()
    await closed.aclose()
    with pytest.raises(StoreUnavailableError):
        await store.__aexit__(None, None, None)
    with pytest.raises(StoreClosedError):
        await other.ping()


@pytest.mark.parametrize("inners", [(), (MemoryStore(), None), (MemoryStore, MemoryStore())])
def test_what_is_no_store_is_refused(inners):
    with pytest.raises(ConfigurationError, match="CompositeStore goes over stores, got"):
        CompositeStore(*inners)


def test_a_store_for_threads_is_refused():
    with (
        SyncStore(MemoryStore()) as store,
        pytest.raises(ConfigurationError, match="CompositeStore goes over stores, got SyncStore"),
    ):
        CompositeStore(MemoryStore(), store)


@pytest.mark.parametrize("operation", ["get", "put", "get_many", "put_many", "delete", "keys", "touch"])
def test_a_verb_that_nobody_has_written_does_not_go_to_the_first_store(operation):
    with pytest.raises(UnsupportedOperationError, match=rf"CompositeStore\(.* {operation};"):
        getattr(CompositeStore(MemoryStore(), NullStore()), operation)("c", "k")


def test_what_a_store_turns_out_not_to_have_is_refused_with_the_name_of_the_whole():
    cold = MemoryStore()
    store = Routing(MemoryStore(), cold)
    cold._missing = Capability.CULL
    with pytest.raises(UnsupportedOperationError, match=r"Routing\(.* cull;"):
        store.cull()


def test_verbs_keep_their_signatures_and_documentation():
    store = RoutingStore(MemoryStore(), collections={})
    for name in ("get_entry", "exists", "delete", "put_if_absent", "compare_and_put", "compare_and_delete", "touch"):
        own, plain = getattr(RoutingStore, name), getattr(BaseWrapper, name)
        assert own is not plain
        assert inspect.signature(own) == inspect.signature(plain)
        assert inspect.signature(getattr(store, name)) == inspect.signature(getattr(MemoryStore(), name))
        assert own.__doc__ == plain.__doc__


def test_a_stack_on_a_composite_describes_itself_and_is_built_again():
    store = PrefixKeys(Routing(MemoryStore(), NullStore()), prefix="a")
    description = store.describe()
    assert str(description) == "Routing://?hot=<MemoryStore>&cold=<NullStore>&wrap=PrefixKeys(prefix=a)"
    again = open_store(description)
    assert again.describe() == description
    assert again.inner.hot is store.inner.hot
