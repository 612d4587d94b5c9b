"""`MemoryStore`: entries in this process, bounded if wanted (`memory://`)."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import weakref
from asyncio import get_running_loop
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

import msgspec

from ..base import ABSENT, BaseStore, Condition
from ..clock import NEVER, TTL, Clock, deadline_after, system_clock
from ..codec import LARGE, RAW_BYTES, Codec
from ..envelope import Record
from ..errors import ConfigurationError, SatchelError
from ..names import Ref, check_items, check_name

D = TypeVar("D")

_PAGE = 1000
_SWEEP = 500
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 60.0


class MemoryStore(BaseStore):
    """Keeps entries in this process's memory, encoded, so that what is put and what is got share nothing.

    Expired entries are freed by later writes and by a timer of the event loop, a few at a time. When a bound is
    passed, expired entries go first, then the least recently used: the one longest not got and not put.

    Args:
        max_entries_per_collection: Keep at most so many entries in each collection; None for no bound.
        max_bytes: Keep at most so many bytes of encoded values in all; None for no bound.
        seed: Values to begin with: `{collection: {key: value}}`.
        codec: Encodes values; JSON by default.
        clock: Gives the present as seconds since the Unix epoch.

    Raises:
        ConfigurationError: A bound is not a positive int.
        InvalidKeyError, SerializationError: Something in the seed would be refused by `put`.
    """

    _sealed = False
    _culls_itself = True
    _shield_writes = False

    def __init__(
        self,
        *,
        max_entries_per_collection: int | None = None,
        max_bytes: int | None = None,
        seed: Mapping[str, Mapping[str, object]] | None = None,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._max_entries = _bound("max_entries_per_collection", max_entries_per_collection)
        self._max_total = self._max_value_bytes = _bound("max_bytes", max_bytes)
        super().__init__(codec=codec, clock=clock)
        self._lifecycle = self._engine.lifecycle
        self._values = self._engine.values
        self._decode = self._values.codec.decode
        self._bounded = max_entries_per_collection is not None or max_bytes is not None
        self._new_entries: Callable[[], dict[str, Record]] = dict if max_entries_per_collection is None else OrderedDict
        self._listings: weakref.WeakSet[_Listing] = weakref.WeakSet()
        self._timer: asyncio.TimerHandle | None = None
        self._clear()
        for collection, items in (seed or {}).items():
            name = check_name(collection, "collection")
            for key, value in check_items(items):
                self._set((name, key), self._values.any_record(value, clock(), NEVER))

    def __repr__(self) -> str:
        bounds = {"max_entries_per_collection": self._max_entries, "max_bytes": self._max_total}
        return f"MemoryStore({', '.join(f'{name}={bound}' for name, bound in bounds.items() if bound is not None)})"

    # get and put go past the base's queues: nothing here ever waits.

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent."""
        if self._lifecycle.ready_on is not get_running_loop():
            await self._begin("get")
        try:
            record = self._data[collection][key]
        except (KeyError, TypeError):
            self._ref(collection, key)
            return default
        if record.deadline != NEVER and record.deadline <= self.clock():
            return default
        if self._bounded:
            self._mark_used((collection, key))
        if record.codec == RAW_BYTES:
            return record.payload
        if len(record.payload) >= LARGE:
            return await self._values.value(record)
        return self._decode(record.payload)

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing what was there, its deadline included."""
        if self._lifecycle.ready_on is not get_running_loop():
            await self._begin("put")
        ref = self._ref(collection, key)
        now = self.clock()
        try:
            record = self._values.small_record(value, now, deadline_after(ttl, now))
        except SatchelError as error:
            raise self._engine.failure(error, "put", *ref) from error.__cause__
        if record is None:
            await super().put(collection, key, value, ttl=ttl)
        else:
            self._set(ref, record)

    async def _begin(self, operation: str) -> None:
        self._lifecycle.leave(await self._lifecycle.enter(operation))

    async def _read(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        records = [self._data.get(collection, {}).get(key) for collection, key in refs]
        if self._bounded:
            for ref, record in zip(refs, records, strict=True):
                if record is not None:
                    self._mark_used(ref)
        return records

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[None]:
        for ref, record in records:
            self._set(ref, record)
        return [None] * len(records)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[bool]:
        return [(record := self._remove(ref)) is not None and record.deadline > now for ref in refs]

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[bool]:
        return [self._holds(ref, condition, now) and self._set(ref, record) for ref, record, condition in items]

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[bool]:
        return [self._holds(ref, version, now) and self._remove(ref) is not None for ref, version in items]

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[bool]:
        return [
            (record := self._living(ref, now)) is not None
            and self._set(ref, msgspec.structs.replace(record, deadline=deadline))
            for ref, deadline in items
        ]

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        listing = _Listing(collection, self._data.get(collection, ()))
        self._listings.add(listing)
        while page := listing.page():
            yield [key for key in page if key.startswith(prefix) and self._living((collection, key), now)]
            await asyncio.sleep(0)

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        for collection in list(self._data):
            entries = self._data.get(collection, {})
            if any(record.deadline > now for record in entries.values()):
                yield [collection]

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        entries = self._data.get(collection, {})
        lived = any(record.deadline > now for record in entries.values())
        for key in list(entries):
            self._remove((collection, key))
        return lived

    async def _destroy(self, now: float) -> bool:
        lived = any(record.deadline > now for entries in self._data.values() for record in entries.values())
        self._clear()
        return lived

    async def _cull(self, now: float) -> int:
        return self._sweep(now)

    async def _open(self) -> None:
        if self._deadlines.first != NEVER:
            self._set_timer()

    async def _close(self) -> None:
        self._abandon()
        self._clear()

    def _abandon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The data: what is below alone changes it.

    def _clear(self) -> None:
        for listing in list(self._listings):
            listing.detach()
        self._data: dict[str, dict[str, Record]] = {}
        self._recency: OrderedDict[Ref, None] = OrderedDict()
        self._deadlines = _Deadlines()
        self._bytes = 0

    def _living(self, ref: Ref, now: float) -> Record | None:
        record = self._data.get(ref[0], {}).get(ref[1])
        return record if record is not None and record.deadline > now else None

    def _holds(self, ref: Ref, condition: Condition, now: float) -> bool:
        record = self._living(ref, now)
        return record is None if condition is ABSENT else record is not None and record.version == condition

    def _set(self, ref: Ref, record: Record) -> bool:
        collection, key = ref
        entries = self._data.get(collection)
        if entries is None:
            entries = self._data[collection] = self._new_entries()
        if self._listings and key not in entries:
            self._detach_listings(collection)
        if self._max_total is not None:
            replaced = entries.get(key)
            self._bytes += len(record.payload) - (0 if replaced is None else len(replaced.payload))
            self._recency[ref] = None
        entries[key] = record
        if record.deadline != NEVER:
            self._deadlines.add(record.deadline, ref, self._deadline)
            if self._timer is None:
                self._set_timer()
        if self._deadlines.first <= record.updated_at:
            self._sweep(record.updated_at, _SWEEP)
        if self._bounded:
            self._mark_used(ref)
            self._make_room(collection, record.updated_at)
        return True

    def _remove(self, ref: Ref) -> Record | None:
        collection, key = ref
        entries = self._data.get(collection)
        if entries is None or key not in entries:
            return None
        if self._listings:
            self._detach_listings(collection)
        record = entries.pop(key)
        if self._max_total is not None:
            self._bytes -= len(record.payload)
            del self._recency[ref]
        if not entries:
            del self._data[collection]
        return record

    def _deadline(self, ref: Ref) -> float:
        record = self._data.get(ref[0], {}).get(ref[1])
        return NEVER if record is None else record.deadline

    def _mark_used(self, ref: Ref) -> None:
        if self._listings:
            self._detach_listings(ref[0])
        if self._max_entries is not None:
            self._data[ref[0]].move_to_end(ref[1])  # type: ignore[attr-defined]  # it is an OrderedDict then
        if self._max_total is not None:
            self._recency.move_to_end(ref)

    def _make_room(self, collection: str, now: float) -> None:
        entries = self._data[collection]
        while self._max_entries is not None and len(entries) > self._max_entries:
            if not self._sweep(now, 1):
                self._remove((collection, next(iter(entries))))
        while self._max_total is not None and self._bytes > self._max_total:
            if not self._sweep(now, 1):
                self._remove(next(iter(self._recency)))

    def _sweep(self, now: float, limit: float = NEVER) -> int:
        """Remove up to so many expired entries; what is left is removed by the timer, soon."""
        swept = 0
        while swept < limit and (ref := self._deadlines.pop_due(now)) is not None:
            if self._deadline(ref) <= now:
                self._remove(ref)
                swept += 1
        return swept

    def _set_timer(self) -> None:
        wait = self._deadlines.first - self.clock()
        wait = 0.0 if wait <= 0 and self._timer is not None else min(max(wait, _SHORTEST_WAIT), _LONGEST_WAIT)
        self._timer = get_running_loop().call_later(wait, _sweep_later, weakref.ref(self))

    def _sweep_on_timer(self) -> None:
        self._sweep(self.clock(), _SWEEP)
        if self._deadlines.first == NEVER:
            self._timer = None
        else:
            self._set_timer()

    def _detach_listings(self, collection: str) -> None:
        for listing in [listing for listing in self._listings if listing.collection == collection]:
            listing.detach()
            self._listings.discard(listing)


class _Deadlines:
    """Gives the names of expired entries, earliest first. A name may come though its entry has a later deadline now."""

    def __init__(self) -> None:
        self.first = NEVER
        self._heap: list[tuple[float, int, Ref]] = []
        self._order = itertools.count()
        self._compact_at = 2 * _PAGE

    def add(self, deadline: float, ref: Ref, current: Callable[[Ref], float]) -> None:
        """Add a name; forget those whose entry has another deadline now, when they may be half of all."""
        heapq.heappush(self._heap, (deadline, next(self._order), ref))
        if len(self._heap) > self._compact_at:
            self._heap = [item for item in self._heap if current(item[2]) == item[0]]
            heapq.heapify(self._heap)
            self._compact_at = 2 * max(_PAGE, len(self._heap))
        self.first = self._heap[0][0]

    def pop_due(self, now: float) -> Ref | None:
        """Take out the earliest name if its deadline has come."""
        if self.first > now:
            return None
        _, _, ref = heapq.heappop(self._heap)
        self.first = self._heap[0][0] if self._heap else NEVER
        return ref


class _Listing:
    """Reads a collection's keys in pages, in constant memory as long as no key comes or goes meanwhile."""

    def __init__(self, collection: str, keys: Iterable[str]) -> None:
        self.collection = collection
        self._keys = iter(keys)

    def page(self) -> list[str]:
        """Return the next keys, none at the end."""
        return list(itertools.islice(self._keys, _PAGE))

    def detach(self) -> None:
        """Take the rest of the keys along, before the collection changes."""
        self._keys = iter(list(self._keys))


def _sweep_later(reference: weakref.ref[MemoryStore]) -> None:
    store = reference()
    if store is not None:
        store._sweep_on_timer()


def _bound(name: str, bound: object) -> Any:
    if bound is not None and (type(bound) is not int or bound < 1):
        raise ConfigurationError(f"{name} must be an int of at least 1, or None for no bound; got {bound!r}")
    return bound
