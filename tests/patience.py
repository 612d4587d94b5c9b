"""How long stores wait in tests for servers that fail: only while they fail, since a busy machine is slow by itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from satchel import StoreTimeoutError
from satchel.backend.base import BaseStore
from tests.proxy import FaultyProxy


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
