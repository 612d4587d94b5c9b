"""`Entries`: the records of a memory store, within its bounds. Only this module changes them."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from ..._forks import at_fork
from ...backend.base import ABSENT, Condition
from ...backend.record import Record, new_version
from ...backend.watching import Feed
from ...clock import NEVER
from ...names import Ref

Parts = dict[Any, Any] | list[Any]
"""A dict or list of many items."""

_COMPACT_FROM = 1600
_AT_ONCE = 4  # few enough to take microseconds, and enough to keep ahead of what is added


class Deadlines:
    """Names of expired entries, earliest first. A name may come though its entry has a later deadline now.

    Args:
        current: Function that returns the current deadline of an entry, `NEVER` if it has none.
    """

    def __init__(self, current: Callable[[Ref], float]) -> None:
        self.first = NEVER
        self._current = current
        self._heap: list[tuple[float, Ref]] = []
        self._unchecked: list[tuple[float, Ref]] = []
        self._kept: set[tuple[float, Ref]] = set()
        self._compact_at = _COMPACT_FROM

    def __repr__(self) -> str:
        return f"Deadlines(first={self.first})"

    def add(self, deadline: float, ref: Ref) -> None:
        """Add a name, and check some others when half of all may be out of date, to forget those that are."""
        heapq.heappush(self._heap, (deadline, ref))
        if self._unchecked:
            self._check_some()
        elif len(self._heap) > self._compact_at:
            self._heap, self._unchecked, self._kept = [], self._heap, set()
        self._find_first()

    def pop_due(self, now: float) -> Ref | None:
        """Take out the earliest name if its deadline has come."""
        if self.first > now:
            return None
        is_checked = bool(self._heap) and self._heap[0][0] == self.first
        _, ref = heapq.heappop(self._heap if is_checked else self._unchecked)
        self._find_first()
        return ref

    def parts(self) -> Iterator[Parts]:
        """Yield the lists that hold the names."""
        yield self._heap
        yield self._unchecked

    def _check_some(self) -> None:
        for item in self._unchecked[: -_AT_ONCE - 1 : -1]:
            if self._current(item[1]) == item[0] and item not in self._kept:
                self._kept.add(item)
                heapq.heappush(self._heap, item)
        del self._unchecked[-_AT_ONCE:]  # the end: what is left is still a heap
        if not self._unchecked:
            self._kept = set()
            self._compact_at = max(_COMPACT_FROM, 2 * len(self._heap))

    def _find_first(self) -> None:
        self.first = self._heap[0][0] if self._heap else NEVER
        if self._unchecked and self._unchecked[0][0] < self.first:
            self.first = self._unchecked[0][0]


_PAGE = 1000


class Listings:
    """Listings under way, so that a change of a dict can let them go on undisturbed.

    A listing takes constant memory as long as no name comes or goes; the first that does makes it take along the rest.
    """

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._under_way: list[_Listing] = []

    def __repr__(self) -> str:
        return f"Listings({len(self._under_way)} under way)"

    def pages(self, names: dict[str, Any]) -> Iterator[list[str]]:
        """Yield the names in pages."""
        with self._lock:
            listing = _Listing(names)
            self._under_way.append(listing)
        try:
            while page := self._page(listing):
                yield page
        finally:
            self._under_way.remove(listing)

    def _page(self, listing: _Listing) -> list[str]:
        with self._lock:
            return list(itertools.islice(listing.rest, _PAGE))

    def detach(self, names: dict[str, Any]) -> None:
        """Prepare for names that come, go or change their order."""
        for listing in list(self._under_way):
            if listing.names is names:
                listing.rest = iter(list(listing.rest))
                listing.names = None


class _Listing:
    """Position of one listing."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names: dict[str, Any] | None = names
        self.rest = iter(names)


SWEEP = 500
"""Number of expired entries removed at once."""
NO_VERSION_YET = ""
"""Placeholder in a record for a version that is made when it is first read."""


lock = threading.RLock()
"""Is held for each change, since several threads may use one store; one for all, so that a fork can wait for it."""
at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


class Entries:
    """Records by collection and key; expired entries are evicted first, then the least recently used.

    Args:
        max_entries: Maximum number in each collection; None for no limit.
        max_bytes: Maximum bytes of payload in total; None for no limit.
    """

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        self.collections: dict[str, dict[str, Record]] = {}
        self.listings = Listings(lock)
        self.deadlines = Deadlines(self._deadline)
        self.bounded = max_entries is not None or max_bytes is not None
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._new: Callable[[], dict[str, Record]] = dict if max_entries is None else OrderedDict
        self._recency: OrderedDict[Ref, None] = OrderedDict()
        self._bytes = 0
        self._feeds: tuple[Feed, ...] = ()
        self._is_plain = not self.bounded
        """Whether a record only has to be put in: there is no bound to keep, and nobody watches."""

    def __repr__(self) -> str:
        return f"Entries({len(self.collections)} collections)"

    def report_to(self, *feeds: Feed) -> None:
        """Report every change from now on to these feeds alone."""
        with lock:
            self._feeds = feeds
            self._is_plain = not feeds and not self.bounded

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The feeds that changes are reported to."""
        return self._feeds

    def clear(self) -> list[Parts]:
        """Remove all records in one step, and return what held them, since freeing many takes long."""
        self.listings.detach(self.collections)
        for entries in self.collections.values():
            self.listings.detach(entries)
        parts: list[Parts] = [*self.collections.values(), *self.deadlines.parts(), self._recency]
        self.collections.clear()
        self.deadlines = Deadlines(self._deadline)
        self._recency = OrderedDict()
        self._bytes = 0
        for feed in self._feeds:
            feed.lost()
        return parts

    def take(self, collection: str) -> Parts:
        """Remove the records of a collection in one step, and return what held them."""
        entries = self.collections.get(collection)
        if entries is None:
            return {}
        self.listings.detach(entries)
        self.listings.detach(self.collections)
        del self.collections[collection]
        if not self._is_plain:
            for key, record in entries.items():
                self._forget(collection, key, record)
        return entries

    def of(self, collection: str) -> dict[str, Record]:
        """Return the records of a collection."""
        return self.collections.get(collection, {})

    def live(self, collection: str, key: str, now: float) -> Record | None:
        """Return a record that has not expired."""
        record = self.of(collection).get(key)
        return record if record is not None and record.deadline > now else None

    def any_live(self, collection: str, now: float) -> bool:
        """Return whether a collection has a record that has not expired."""
        return any(record.deadline > now for record in self.of(collection).values())

    def named(self, collection: str, key: str) -> Record | None:
        """Return a record with its version, which is not made before somebody looks."""
        entries = self.of(collection)
        record = entries.get(key)
        if record is not None and record.version == NO_VERSION_YET:
            record = entries[key] = msgspec.structs.replace(record, version=new_version())
        return record

    def holds(self, ref: Ref, condition: Condition, now: float) -> bool:
        """Return whether the condition of a conditional write holds."""
        record = self.named(*ref)
        if record is None or record.deadline <= now:
            return condition is ABSENT
        return record.version == condition

    def set(self, collection: str, key: str, record: Record) -> bool:
        """Put a record in; True, always."""
        entries = self.collections.get(collection)
        if entries is None:
            self.listings.detach(self.collections)
            entries = self.collections[collection] = self._new()
        if key not in entries:
            self.listings.detach(entries)
        if self._max_bytes is not None:
            replaced = entries.get(key)
            self._bytes += len(record.payload) - (0 if replaced is None else len(replaced.payload))
            self._recency[collection, key] = None
        entries[key] = record
        if record.deadline != NEVER:
            self.deadlines.add(record.deadline, (collection, key))
        if self.deadlines.first <= record.updated_at:
            self.sweep(record.updated_at, SWEEP)
        if self._is_plain:
            return True
        if self.bounded:
            self.mark_used(collection, key)
            self._make_room(collection, entries, record.updated_at)
        for feed in self._feeds:
            feed.changed(collection, key)
        return True

    def remove(self, collection: str, key: str) -> Record | None:
        """Take a record out, and return it if it was there."""
        entries = self.collections.get(collection)
        if entries is None or key not in entries:
            return None
        self.listings.detach(entries)
        record = entries.pop(key)
        if not entries:
            self.listings.detach(self.collections)
            del self.collections[collection]
        self._forget(collection, key, record)
        return record

    def _forget(self, collection: str, key: str, record: Record) -> None:
        """Update what is known of a record that was taken out."""
        if self._max_bytes is not None:
            self._bytes -= len(record.payload)
            del self._recency[collection, key]
        for feed in self._feeds:
            feed.changed(collection, key)

    def mark_used(self, collection: str, key: str) -> None:
        """Note the use of a record, if it is still there; needed only where there is a bound."""
        try:
            if self._max_entries is not None:
                entries = self.collections[collection]
                self.listings.detach(entries)
                entries.move_to_end(key)  # type: ignore[attr-defined]  # it is an OrderedDict then
            if self._max_bytes is not None:
                self._recency.move_to_end((collection, key))
        except KeyError:
            return  # it has gone meanwhile

    def sweep(self, now: float, limit: int) -> int:
        """Remove a limited number of expired records, the earliest first, and return how many."""
        swept = 0
        while swept < limit and (ref := self.deadlines.pop_due(now)) is not None:
            if self._deadline(ref) <= now:
                self.remove(*ref)
                swept += 1
        return swept

    def _make_room(self, collection: str, entries: dict[str, Record], now: float) -> None:
        while self._max_entries is not None and len(entries) > self._max_entries:
            if not self.sweep(now, 1):
                self.remove(collection, next(iter(entries)))
        while self._max_bytes is not None and self._bytes > self._max_bytes:
            if not self.sweep(now, 1):
                self.remove(*next(iter(self._recency)))

    def _deadline(self, ref: Ref) -> float:
        record = self.of(ref[0]).get(ref[1])
        return NEVER if record is None else record.deadline
