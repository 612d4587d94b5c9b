"""When the entries of a bounded `DiskStore` were read, until that is written down."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ...names import Ref

_MOST = 1000


class ReadTimes:
    """When entries were last read, noted in any thread and taken in another."""

    def __init__(self) -> None:
        self._read_at: dict[Ref, int] = {}

    def __len__(self) -> int:
        return len(self._read_at)

    @property
    def full(self) -> bool:
        """Whether it is time to write this down, although nothing else is written."""
        return len(self._read_at) > _MOST

    def note(self, refs: Iterable[Ref]) -> None:
        """Remember that entries were read just now."""
        self._read_at.update(dict.fromkeys(refs, time.time_ns()))

    def take(self) -> list[tuple[Ref, int]]:
        """Return the names and nanoseconds since the Unix epoch, and forget them."""
        taken, self._read_at = self._read_at, {}
        return list(taken.items())  # in one step: another thread may still note something in it, which is lost
