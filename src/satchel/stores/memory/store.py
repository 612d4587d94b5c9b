"""`MemoryStore`: entries in this process, bounded if wanted (`memory://`)."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar, overload

import msgspec

from ..._checks import check_bound
from ..._contexts import run_in_empty_context
from ..._forks import hold
from ..._threads import Yielder
from ...backend.base import BaseStore, Condition
from ...backend.record import Record
from ...backend.watching import Feed
from ...clock import NEVER, TTL, Clock, deadline_after, system_clock
from ...codec import LARGE, RAW_BYTES, Codec, JsonCodec, MessagePackCodec
from ...errors import SatchelError
from ...names import Ref, check_items, check_ref
from .entries import NO_VERSION_YET, SWEEP, Entries, Parts, lock

D = TypeVar("D")

_acquire, _release = lock.acquire, lock.release  # in get and put: `with` costs nearly twice as much
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_WATCHED_WAIT = 0.25
"""Seconds after which entries that have expired are removed, at the latest, while somebody watches."""


class MemoryStore(BaseStore):
    """Store that keeps entries in this process's memory.

    They are encoded: the object you put and the object you read share nothing.

    Expired entries are freed by later writes and by a timer of the event loop, a few at a time. When a bound is
    exceeded, expired entries are evicted first, then the least recently used.

    Args:
        max_entries_per_collection: Maximum number of entries in each collection; None for no limit.
        max_bytes: Maximum bytes of encoded values in total; None for no limit.
        seed: Initial values: `{collection: {key: value}}`.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: A bound is not a positive int.
        InvalidKeyError, SerializationError: Something in the seed would be refused by `put`.
    """

    _checksums = "none"
    _native_expiry = True
    _shield_writes = False
    _any_loop = True

    def __init__(
        self,
        *,
        max_entries_per_collection: int | None = None,
        max_bytes: int | None = None,
        seed: Mapping[str, Mapping[str, object]] | None = None,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        check_bound("max_entries_per_collection", max_entries_per_collection)
        check_bound("max_bytes", max_bytes)
        self._max_entries = max_entries_per_collection
        self._max_total = self._max_value_bytes = max_bytes
        super().__init__(codec=codec, clock=clock)
        kept = self._serializer.codec
        self._encode, self._decode, self._number = kept.encode_if_small, kept.decode, kept.number
        self._quick = kept.number if type(kept) in (JsonCodec, MessagePackCodec) else None
        self._entries = Entries(self._max_entries, self._max_total)
        self._data, self._bounded = self._entries.collections, self._entries.bounded
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0
        self._timer_loop: asyncio.AbstractEventLoop | None = None
        for collection, items in check_items({} if seed is None else seed):
            for key, value in check_items(items):
                self._entries.set(collection, key, self._serializer.any_record(value, clock(), NEVER))

    def __repr__(self) -> str:
        bounds = {"max_entries_per_collection": self._max_entries, "max_bytes": self._max_total}
        return f"MemoryStore({', '.join(f'{name}={bound}' for name, bound in bounds.items() if bound is not None)})"

    # get and put go past the base's queues: nothing here ever waits, once the store is open.

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent."""
        if not self._lifecycle.ready:
            return await super().get(collection, key, default)
        try:
            record = self._data[collection][key]
        except (KeyError, TypeError):
            collection, key = check_ref(collection, key, self.max_key_bytes)
            found = self._data.get(collection, {}).get(key)
            if found is None:
                return default
            record = found
        if record.deadline != NEVER and record.deadline <= self.clock():
            return default
        if self._bounded:
            _acquire()
            try:
                self._entries.mark_used(collection, key)
            finally:
                _release()
        if record.codec == self._quick and len(record.payload) < LARGE:
            return self._decode(record.payload)
        try:
            return await self._serializer.value(record)
        except SatchelError as error:
            raise self._call_failed(error, "get", collection, key) from error.__cause__

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing any existing entry and its deadline."""
        if not self._lifecycle.ready:
            await super().put(collection, key, value, ttl=ttl)
            return
        if type(collection) is not str or type(key) is not str or key not in self._data.get(collection, ()):
            # The names of existing entries were checked when they were put.
            collection, key = check_ref(collection, key, self.max_key_bytes)
        now = self.clock()
        deadline = NEVER if ttl is None else deadline_after(ttl, now)
        try:
            codec, payload = (RAW_BYTES, value) if type(value) is bytes else (self._number, self._encode(value))
        except SatchelError as error:
            raise self._call_failed(error, "put", collection, key) from error.__cause__
        if payload is None or (self._max_total is not None and len(payload) > self._max_total):
            await super().put(collection, key, value, ttl=ttl)
        else:
            record = Record(payload, codec, NO_VERSION_YET, now, deadline)
            _acquire()
            try:
                self._entries.set(collection, key, record)
            finally:
                _release()
            if ttl is not None:
                self._keep_sweeping()

    async def _read(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        with lock:
            records = [self._entries.named(*ref) for ref in refs]
            if self._bounded:
                for ref, record in zip(refs, records, strict=True):
                    if record is not None:
                        self._entries.mark_used(*ref)
        return records

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[None]:
        with lock:
            for ref, record in records:
                self._entries.set(*ref, record)
        self._keep_sweeping()
        return [None] * len(records)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[bool]:
        with lock:
            return [(record := self._entries.remove(*ref)) is not None and record.deadline > now for ref in refs]

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[bool]:
        holds, put = self._entries.holds, self._entries.set
        with lock:
            done = [holds(ref, condition, now) and put(*ref, record) for ref, record, condition in items]
        self._keep_sweeping()
        return done

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[bool]:
        holds, remove = self._entries.holds, self._entries.remove
        with lock:
            return [holds(ref, version, now) and remove(*ref) is not None for ref, version in items]

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[bool]:
        with lock:
            done = [
                (record := self._entries.live(*ref, now)) is not None
                and self._entries.set(*ref, msgspec.structs.replace(record, deadline=deadline))
                for ref, deadline in items
            ]
        self._keep_sweeping()
        return done

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        for page in self._entries.listings.pages(self._entries.of(collection)):
            now = self.clock()
            yield [key for key in page if key.startswith(prefix) and self._entries.live(collection, key, now)]
            await asyncio.sleep(0)

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        for page in self._entries.listings.pages(self._data):
            now = self.clock()
            with lock:
                live = [collection for collection in page if self._entries.any_live(collection, now)]
            yield live
            await asyncio.sleep(0)

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        with lock:
            was_live = self._entries.any_live(collection, now)
            parts = self._entries.take(collection)
        await _free(parts)
        return was_live

    async def _destroy(self, now: float) -> bool:
        with lock:
            was_live = any(self._entries.any_live(collection, now) for collection in self._data)
            parts = self._entries.clear()
        await _free(*parts)
        return was_live

    async def _cull(self, now: float) -> int:
        culled = 0
        while swept := self._swept(now):
            culled += swept
            await asyncio.sleep(0)
        return culled

    async def _watch(self, feed: Feed) -> None:
        with lock:
            self._entries.report_to(*self._entries.feeds, feed)
        try:
            feed.ready()
            while True:  # noqa: ASYNC110  # nobody says that something has expired; it is reported when it is removed
                await asyncio.sleep(0 if self._swept(self.clock()) else _WATCHED_WAIT)
        finally:
            with lock:
                self._entries.report_to(*(other for other in self._entries.feeds if other is not feed))

    def _swept(self, now: float) -> int:
        with lock:
            return self._entries.sweep(now, SWEEP)

    async def _open(self) -> None:
        self._keep_sweeping()

    async def _close(self) -> None:
        if self._timer is not None and self._timer_loop is asyncio.get_running_loop():
            self._timer.cancel()  # one of another loop finds the store gone or empty
        self._timer = self._timer_loop = None
        with lock:
            self._entries.report_to()
            parts = self._entries.clear()
        await _free(*parts)

    def _disown(self) -> None:
        hold(self._timer, self._entries.feeds)
        self._entries.report_to()
        self._timer = self._timer_loop = None

    def _keep_sweeping(self) -> None:
        """See to it that a timer waits for the first deadline."""
        if self._entries.deadlines.first != NEVER and (self._timer_loop is None or not self._timer_loop.is_running()):
            self._set_timer()

    def _set_timer(self, *, again: bool = False) -> None:
        wait = self._entries.deadlines.first - self.clock()
        wait = 0.0 if wait <= 0 and again else min(max(wait, _SHORTEST_WAIT), _LONGEST_WAIT)
        # An empty context: the timer would keep alive what the caller's variables hold.
        loop = self._timer_loop = asyncio.get_running_loop()
        self._turn += 1
        self._timer = run_in_empty_context(loop.call_later, wait, _sweep_later, weakref.ref(self), self._turn)

    def _sweep_on_timer(self, turn: int) -> None:
        if turn != self._turn:
            return  # the timer of another loop has taken over
        with lock:
            self._entries.sweep(self.clock(), SWEEP)
        if self._entries.deadlines.first == NEVER:
            self._timer = self._timer_loop = None
        else:
            self._set_timer(again=True)


async def _free(*parts: Parts) -> None:
    """Free many objects, a few at a time."""
    turns = Yielder()
    for part in parts:
        take = part.popitem if isinstance(part, dict) else part.pop
        while part:
            for _ in range(min(SWEEP, len(part))):
                take()
            await turns.after_item()


def _sweep_later(reference: weakref.ref[MemoryStore], turn: int) -> None:
    store = reference()
    if store is not None:
        store._sweep_on_timer(turn)
