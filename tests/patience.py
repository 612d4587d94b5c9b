"""How long stores wait in tests for servers that fail: only while they fail, since a busy machine is slow by itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from satchel.backend.base import BaseStore


@contextmanager
def impatient(store: BaseStore, seconds: float = 0.3) -> Iterator[None]:
    """Let a store give up each request after so many seconds meanwhile."""
    patient, store._timeout = store._timeout, seconds
    try:
        yield
    finally:
        store._timeout = patient
