"""Signal handlers that use a `SyncStore` while the code that they interrupt is inside it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from satchel import MemoryStore, StoreClosedError, StoreError
from satchel.sync import SyncStore
from satchel.sync.thread import LoopThread


@contextmanager
def handler(function: Callable[[], object]) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, lambda *_: function())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def interrupt_next(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Let a signal arrive in the middle of the next call, which holds the lock of its thread there."""
    original: Any = getattr(LoopThread, method)

    def interrupted(self: LoopThread, *args: Any) -> Any:
        monkeypatch.setattr(LoopThread, method, original)
        done = original(self, *args)
        signal.raise_signal(signal.SIGUSR1)
        return done

    monkeypatch.setattr(LoopThread, method, interrupted)


def test_a_handler_that_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    with SyncStore(MemoryStore()) as store, handler(lambda: store.put("c", "handler", 1)):
        store.ping()
        interrupt_next(monkeypatch, "_running")
        store.put("c", "main", 2)
        assert store.get_many("c", ["handler", "main"]) == {"handler": 1, "main": 2}


def test_a_handler_that_interrupts_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[StoreError] = []

    def write() -> None:
        try:
            store.put("c", "handler", 1)
        except StoreError as error:
            refusals.append(error)

    with SyncStore(MemoryStore()) as store, handler(write):
        start: Any = LoopThread._start

        def interrupted(self: LoopThread) -> Any:
            signal.raise_signal(signal.SIGUSR1)
            return start(self)

        monkeypatch.setattr(LoopThread, "_start", interrupted)
        store.put("c", "main", 2)
        assert [str(error).partition(" was called")[0] for error in refusals] == ["put of SyncStore(MemoryStore())"]
        assert store.get("c", "main") == 2
        store.put("c", "handler", 1)


def test_a_handler_that_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SyncStore(MemoryStore())
    with handler(store.close):
        store.ping()
        interrupt_next(monkeypatch, "_running")
        with pytest.raises(StoreClosedError):
            store.put("c", "main", 2)


def test_a_handler_that_closes_while_the_store_is_being_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SyncStore(MemoryStore())
    with handler(store.close):
        store.ping()
        interrupt_next(monkeypatch, "_running")
        store.close()
    with pytest.raises(StoreClosedError):
        store.ping()
