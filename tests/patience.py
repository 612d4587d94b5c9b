"""How long tests wait: for what is certain to come, however slow the machine; for servers that fail, not for long."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from satchel import StoreTimeoutError
from satchel.backend.base import BaseStore
from tests.proxy import FaultyProxy

_LONGEST = 50.0
"""Seconds after which what was to come does not come: a little less than a test may take."""
_PAUSE = 0.002


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, while other threads and processes go on."""
    give_up = time.monotonic() + _LONGEST
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(_PAUSE)


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Wait until a condition holds, while other tasks, threads and processes go on."""
    give_up = time.monotonic() + _LONGEST
    while True:
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        assert time.monotonic() < give_up, "it never came"
        await asyncio.sleep(_PAUSE)


@contextmanager
def impatient(store: BaseStore, seconds: float = 0.3) -> Iterator[None]:
    """Let a store give up each request after so many seconds meanwhile."""
    patient, store._timeout = store._timeout, seconds
    try:
        yield
    finally:
        store._timeout = patient


async def gives_up(store: BaseStore, proxy: FaultyProxy) -> None:
    """Check that a store gives up a silent server in time, and uses it again once it answers."""
    await store.put("c", "k", "before")
    proxy.silent = True
    with impatient(store):
        for call in (store.get("c", "k"), store.put("c", "k", "unknown"), store.ping(), anext(store.keys("c"))):
            with pytest.raises(StoreTimeoutError) as failed:
                await call
            assert failed.value.retryable
    proxy.silent = False
    await store.put("c", "k", "after")
    assert await store.get("c", "k") == "after"
