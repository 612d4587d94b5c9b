"""Times at which entries of a bounded `DiskStore` were read, until they are saved."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ...names import Ref

_MOST = 1000


class ReadTimes:
    """Record of when entries were last read, filled in any thread and taken in another."""

    def __init__(self) -> None:
        self._read_at: dict[Ref, int] = {}

    def __len__(self) -> int:
        return len(self._read_at)

    @property
    def full(self) -> bool:
        """Whether the times are to be saved now, even without another write."""
        return len(self._read_at) > _MOST

    def note(self, refs: Iterable[Ref]) -> None:
        """Record that entries were read just now."""
        self._read_at.update(dict.fromkeys(refs, time.time_ns()))

    def take(self) -> list[tuple[Ref, int]]:
        """Return the entries with the nanoseconds since the Unix epoch, and forget them."""
        taken, self._read_at = self._read_at, {}
        return list(taken.items())  # one atomic step: another thread may still add a time to it, which is lost
