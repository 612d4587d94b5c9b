"""The records that a `DiskStore` remembers, so that reading one again needs no thread.

A record is valid as long as nobody else has committed, which is checked before each use, and this store has not changed
it: a record is forgotten before its change is handed to the thread, and remembered again when the change is durable.
Everything here but `removed` belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from ...backend.record import Record
from ...clock import NEVER, Clock
from ...codec import LARGE
from ...names import Ref
from .commits import ForeignCommits
from .thread import SQLiteThread

_OVERHEAD = 500
"""Bytes that a remembered record takes beyond its names and its value."""


class RecordCache:
    """Records that this store has read or written, for as long as no other connection changes the database.

    Args:
        max_bytes: Maximum bytes to remember, 0 for nothing. The least recently used are forgotten first.
        clock: Returns the present as seconds since the Unix epoch.

    Attributes:
        removed: Names of entries that the thread itself chose and removed, put here before the commit.
    """

    def __init__(self, max_bytes: int, clock: Clock) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        # A dict takes longer to find its first key the more of them have left.
        self._records: OrderedDict[Ref, Record] = OrderedDict()
        self._bytes = 0
        self._changes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing: SQLiteThread | None = None
        self._foreign: ForeignCommits | None = None
        self.removed: deque[Ref] = deque()

    def start(self, writing: SQLiteThread, foreign: ForeignCommits) -> None:
        """Start remembering records of an open database.

        Args:
            writing: The connection that the store writes with.
            foreign: Detects commits by other connections.
        """
        if self._max_bytes:
            self._loop = asyncio.get_running_loop()
            self._writing, self._foreign = writing, foreign

    def stop(self) -> None:
        """Forget everything, and stop remembering."""
        self._loop = self._writing = self._foreign = None
        self.forget_all()

    def find(self, ref: Ref) -> Record | None:
        """Return the record of a live entry, if it is remembered and nobody else has changed the database."""
        if self.removed:
            self.forget_removed()
        record = self._records.get(ref)
        if record is None or asyncio.get_running_loop() is not self._loop:
            return None
        if (record.deadline != NEVER and record.deadline <= self._clock()) or not self._is_current():
            return None
        self._records.move_to_end(ref)
        return record

    def find_all(self, refs: Sequence[Ref]) -> list[Record] | None:
        """Return the records of many entries, expired ones too, if all are remembered."""
        if self.removed:
            self.forget_removed()
        found = [record for ref in refs if (record := self._records.get(ref)) is not None]
        return found if len(found) == len(refs) and self._is_current() else None

    def begin_read(self) -> int | None:
        """Return a marker for `fill` of a read that begins now; None if its outcome is not to be kept."""
        if self._writing is None or self._foreign is None or self._writing.busy:
            return None
        if not self._foreign.began:
            self._is_current()
        return self._changes

    def fill(self, begun: int | None, refs: Sequence[Ref], outcomes: Iterable[object]) -> None:
        """Remember records that were read, unless anything has changed meanwhile."""
        if begun is not None and begun == self._changes:
            self._remember(zip(refs, outcomes, strict=True))

    def begin_change(self, refs: Iterable[Ref]) -> int:
        """Forget records that are about to change, and return a marker for `keep`."""
        self._changes += 1
        if self.removed:
            self.forget_removed()
        if self._records:
            for ref in refs:
                self._forget(ref)
        return self._changes

    def keep(self, begun: int, records: Iterable[tuple[Ref, Record]]) -> None:
        """Remember records that were written durably, unless anything else has changed meanwhile."""
        if self._foreign is not None and self._foreign.began and begun == self._changes:
            self._remember(records)

    def forget_all(self) -> None:
        """Forget everything, including reads and writes in progress."""
        self._changes += 1
        self._records.clear()
        self._bytes = 0

    def forget_removed(self) -> None:
        """Forget the entries that the thread has removed."""
        while self.removed:
            self._forget(self.removed.popleft())

    def _is_current(self) -> bool:
        unchanged = None if self._foreign is None else self._foreign.none_since()
        if unchanged is False:
            self.forget_all()
        return unchanged is True

    def _remember(self, outcomes: Iterable[tuple[Ref, object]]) -> None:
        records, most = self._records, self._max_bytes
        for ref, record in outcomes:
            if type(record) is not Record or len(record.payload) >= LARGE:
                continue
            size = _size(ref, record)
            if size > most:
                continue
            if ref in records:
                self._forget(ref)
            records[ref] = record
            self._bytes += size
            while self._bytes > most:
                self._bytes -= _size(*records.popitem(last=False))

    def _forget(self, ref: Ref) -> None:
        record = self._records.pop(ref, None)
        if record is not None:
            self._bytes -= _size(ref, record)


def _size(ref: Ref, record: Record) -> int:
    return len(record.payload) + len(ref[0]) + len(ref[1]) + _OVERHEAD
