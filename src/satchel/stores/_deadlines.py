"""`Deadlines`: which entry expires next."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from ..clock import NEVER
from ..names import Ref

_COMPACT_FROM = 2000


class Deadlines:
    """Gives the names of expired entries, earliest first. A name may come though its entry has a later deadline now.

    Args:
        current: Gives the deadline that the entry of a name has now, `NEVER` where there is none.
    """

    def __init__(self, current: Callable[[Ref], float]) -> None:
        self.first = NEVER
        self._current = current
        self._heap: list[tuple[float, Ref]] = []
        self._compact_at = _COMPACT_FROM

    def __repr__(self) -> str:
        return f"Deadlines(first={self.first})"

    def add(self, deadline: float, ref: Ref) -> None:
        """Add a name, and forget what is out of date when that may be half of all."""
        heapq.heappush(self._heap, (deadline, ref))
        if len(self._heap) > self._compact_at:
            self._heap = list({item for item in self._heap if self._current(item[1]) == item[0]})
            heapq.heapify(self._heap)
            self._compact_at = max(_COMPACT_FROM, 2 * len(self._heap))
        self.first = self._heap[0][0] if self._heap else NEVER

    def pop_due(self, now: float) -> Ref | None:
        """Take out the earliest name if its deadline has come."""
        if self.first > now:
            return None
        _, ref = heapq.heappop(self._heap)
        self.first = self._heap[0][0] if self._heap else NEVER
        return ref
