"""`NearCacheWrapper`: memory in front of a store, kept right by the changes that the store reports."""

from __future__ import annotations

from ...clock import TTL, Clock, system_clock
from ...protocol import AsyncKeyValue
from ...stores.memory import MemoryStore
from ...url.description import Description
from ..base import BaseWrapper
from .store import TieredStore


class NearCacheWrapper(TieredStore):
    """Store that keeps entries read lately in memory, and removes each as soon as the inner store reports a change.

    It is `TieredStore(MemoryStore(max_bytes=...), inner, follow=True)`, written so that a URL can name it.

    Args:
        inner: The store; it must have `WATCH`.
        max_bytes: The most bytes of encoded values in memory; entries used least recently make room.
            None for no limit.
        hot_ttl: The longest that an entry stays in memory, in seconds or as a `timedelta`: how long an old value can be
            read in the worst case, in which the inner store does not notice that its reports are missing.
        clock: Function that returns seconds since the Unix epoch; the same as that of the inner store.

    Raises:
        ConfigurationError: It is not a store, or an option is out of its range.
        UnsupportedOperationError: The inner store does not have `WATCH`.
    """

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        max_bytes: int | None = 50_000_000,
        hot_ttl: TTL | None = 60,
        clock: Clock = system_clock,
    ) -> None:
        super().__init__(
            MemoryStore(max_bytes=max_bytes, clock=clock), inner, hot_ttl=hot_ttl, follow=True, clock=clock
        )

    def describe(self) -> Description:
        """Return the parts of this stack as data."""
        return BaseWrapper.describe(self)
