"""A store with a timeout waits for no request longer, and goes on working."""

import asyncio
import gc
import weakref
from contextvars import ContextVar

import pytest

from satchel import ConfigurationError, MemoryStore, StoreTimeoutError
from satchel.backend.base import BaseStore


class Slow(BaseStore):
    """Answers when it is told to."""

    def __init__(self, **options):
        super().__init__(**options)
        self.answers = asyncio.Event()

    async def _read(self, refs):
        await self.answers.wait()
        return [None] * len(refs)

    async def _write(self, records):
        await self.answers.wait()
        return [None] * len(records)

    async def _delete(self, refs, now):
        await self.answers.wait()
        return [False] * len(refs)

    async def _keys(self, collection, prefix, now):
        await self.answers.wait()
        yield ["k"]

    async def _ping(self):
        await self.answers.wait()


CALLS = {
    "get": lambda store: store.get("c", "k"),
    "put": lambda store: store.put("c", "k", 1),
    "delete": lambda store: store.delete("c", "k"),
    "ping": lambda store: store.ping(),
    "keys": lambda store: anext(store.keys("c"), None),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_request_without_an_answer_ends(call):
    async with Slow(timeout=0.01) as store:
        with pytest.raises(StoreTimeoutError) as raised:
            await call(store)
        assert raised.value.retryable
        assert isinstance(raised.value.__cause__, TimeoutError)
        store.answers.set()
        await call(store)


async def test_a_batch_is_given_up_as_a_whole():
    async with Slow(timeout=0.01) as store:
        outcomes = await asyncio.gather(*(store.get("c", f"k{n}") for n in range(100)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreTimeoutError}


async def test_opening_is_bounded_too():
    class NeverOpens(Slow):
        async def _open(self):
            await self.answers.wait()

    store = NeverOpens(timeout=0.01)
    store.answers = asyncio.Event()
    with pytest.raises(StoreTimeoutError):
        await store.get("c", "k")
    store.answers.set()
    assert await store.get("c", "k") is None
    await store.aclose()


async def test_opening_in_steps_may_take_longer_than_each_of_them():
    class OpensInSteps(Slow):
        _open_sets_own_timeouts = True

        async def _open(self):
            for _ in range(4):
                await self._with_timeout(asyncio.sleep(0))
                await asyncio.sleep(0.01)

    async with OpensInSteps(timeout=0.02) as store:
        store.answers.set()
        assert await store.get("c", "k") is None


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "1"])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds above 0"):
        Slow(timeout=timeout)


def test_stores_of_one_process_take_none():
    with pytest.raises(TypeError):
        MemoryStore(timeout=1)


class Anything:
    """Is something that a caller's context holds."""


_variable = ContextVar("_variable", default=None)


async def test_a_timer_keeps_nothing_of_its_caller():
    store = Slow(timeout=60)
    store.answers.set()
    # The loop drops cancelled timers only once they are the next to come.
    earlier = asyncio.get_running_loop().call_later(30, print)

    async def call():
        anything = Anything()
        _variable.set(anything)
        await store.get("c", "k")
        return weakref.ref(anything)

    kept = await asyncio.create_task(call())
    await asyncio.sleep(0)
    gc.collect()
    earlier.cancel()
    assert kept() is None
