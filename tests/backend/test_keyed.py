"""Engines that take one item a request: the base runs requests at once, and failures stay alone."""

import asyncio

import pytest

from satchel import Capability, KeyedStore, StoreUnavailableError, UnsupportedOperationError
from tests.scripted import SingleStore, held, turns


async def test_requests_run_at_once_up_to_the_limit():
    store = SingleStore(max_inflight=8)
    await store.ping()
    gate = held(store)
    calls = [asyncio.create_task(store.get("c", f"{number}")) for number in range(30)]
    await turns(5)
    assert len(store.server.sizes("read")) == 8
    gate.set()
    await asyncio.gather(*calls)
    assert store.server.sizes("read") == [1] * 30
    await store.aclose()


async def test_a_slow_item_holds_up_nobody_else():
    store = SingleStore()
    await store.ping()
    gate = held(store)
    slow = asyncio.create_task(store.put("c", "slow", 1))
    await turns(3)
    store.server.gate = None
    await store.put_many("c", {f"{number}": number for number in range(100)})
    assert not slow.done()
    gate.set()
    await slow
    await store.aclose()


async def test_a_key_has_one_request_under_way_and_what_waits_is_merged():
    store = SingleStore()
    await asyncio.gather(*[store.put("c", "k", number) for number in range(10)])
    assert len(store.server.sizes("write")) == 2
    assert await store.get("c", "k") == 9
    assert await asyncio.gather(*[store.delete("c", "k") for _ in range(10)]) == [True] + [False] * 9
    await store.aclose()


async def test_an_unavailable_item_fails_alone():
    store = SingleStore()
    store.server.faults["bad"] = ConnectionResetError()
    answers = await asyncio.gather(*[store.put("c", key, 1) for key in ("a", "bad", "b")], return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), StoreUnavailableError, type(None)]
    await store.aclose()


async def test_all_three_hooks_make_the_conditional_capability():
    class Fewer(KeyedStore):
        async def _read_one(self, ref):
            return None

        async def _write_one(self, ref, record):
            return None

        async def _delete_one(self, ref, now):
            return False

        async def _touch_one(self, ref, deadline, now):
            return False

    assert Fewer().capabilities == Capability.NONE
    assert Capability.CONDITIONAL in SingleStore().capabilities
    store = Fewer()
    with pytest.raises(UnsupportedOperationError, match=r"Fewer\(\) does not have touch"):
        await store.touch("c", "k", ttl=1)
    await store.aclose()
