"""`Deadlines`: when entries expire that a wrapper has seen, as far as there is room to remember it."""

from __future__ import annotations

from collections import OrderedDict

from ..clock import NEVER
from ..names import Ref


class Deadlines:
    """Remembers the deadlines of so many entries; of more, those that were seen last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._deadlines: OrderedDict[Ref, float] = OrderedDict()

    def remember(self, ref: Ref, deadline: float) -> None:
        """Remember an entry's deadline, or forget it when there is none any more."""
        self._deadlines.pop(ref, None)
        if deadline != NEVER:
            self._deadlines[ref] = deadline
            if len(self._deadlines) > self._most:
                self._deadlines.popitem(last=False)

    def forget(self, ref: Ref) -> None:
        """Forget an entry."""
        self._deadlines.pop(ref, None)

    def forget_all(self, collection: str | None = None) -> None:
        """Forget all entries, or those of one collection."""
        kept = {ref: at for ref, at in self._deadlines.items() if collection is not None and ref[0] != collection}
        self._deadlines = OrderedDict(kept)

    def take_if_past(self, ref: Ref, now: float) -> bool:
        """Say whether an entry is known to have expired by now, and then forget it."""
        if self._deadlines.get(ref, NEVER) > now:
            return False
        del self._deadlines[ref]
        return True
