"""`WriteQueue`: writes of a `TieredStore` that have been acknowledged and have yet to reach cold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import islice

from ..._batches import slices
from ..._contexts import run_in_empty_context, task_in_empty_context
from ..._forks import hold
from ..._threads import Yielder
from ...backend.record import Record
from ...errors import QueueFullError, SatchelError, StoreError
from ...names import Ref
from .pending import ALL

_BATCH = 500
_TRY_AGAIN = 1.0

logger = logging.getLogger("satchel")


class Write:
    """One write that waits, and the error that its last try ended in."""

    __slots__ = ("error", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.error: SatchelError | None = None


class WriteQueue:
    """Queue of writes to cold, sent in the background, per key in order; a later write replaces one that still waits.

    A failed write stays, and is sent again a second later, or by `flush`. One that cold refuses for what it is can
    never succeed: it is dropped, and `flush` raises its error.

    Args:
        name: The name of the store in messages.
        size: Maximum number of queued keys.
        send: Carries out a write.
        give_up: Is awaited for a write that cold refused; it calls `remove`.
    """

    def __init__(
        self,
        name: Callable[[], str],
        size: int,
        send: Callable[[Ref, Record], Awaitable[None]],
        give_up: Callable[[Ref, Write], Awaitable[None]],
    ) -> None:
        self.waiting: dict[Ref, Write] = {}
        self._name = name
        self._size = size
        self._send = send
        self._give_up = give_up
        self._refusals = 0
        self._refused: dict[Ref, SatchelError] = {}
        """The last one: more would fill the memory where nobody calls `flush`."""
        self._busy: dict[Ref, asyncio.Future[None]] = {}
        self._round: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None

    def add(self, writes: dict[Ref, Write]) -> None:
        """Let writes wait, all or none.

        Raises:
            QueueFullError: There is no room for them.
        """
        if (
            len(self.waiting) + len(writes) > self._size
            and len(self.waiting) + len(writes.keys() - self.waiting.keys()) > self._size
        ):
            raise QueueFullError(
                f"{self._name()} has {len(self.waiting)} writes that have not reached the cold store, and takes "
                f"at most {self._size}: await flush(), or put less"
            )
        self.waiting.update(writes)
        if self._retry is None and self.waiting:
            self._start()

    def remove(self, ref: Ref, write: Write) -> None:
        """Let a write wait no more, unless a later one has replaced it."""
        if self.waiting.get(ref) is write:
            del self.waiting[ref]

    async def settle(self, refs: Iterable[Ref]) -> None:
        """Return when the writes of some entries that wait now have reached cold."""
        all_refs, errors = list(refs), list[SatchelError]()
        for part in slices(len(all_refs)):
            ends = await asyncio.gather(*[self._send_one(ref) for ref in all_refs[part] if ref in self.waiting])
            errors += [end for end in ends if end is not None]
        if errors:
            raise errors[0].again()

    @asynccontextmanager
    async def exclusive(self, refs: Iterable[Ref]) -> AsyncIterator[None]:
        """Let no write of some entries, or of a whole collection, be sent, after those that wait now."""
        own: dict[Ref, asyncio.Future[None]] = {}
        try:
            places = sorted(refs)  # in one order, so that two never wait for each other
            await self.settle(self._waiting_in(places))
            turns = Yielder()
            for place in places:
                await turns.after_item()
                while place in self._busy:
                    await asyncio.wait([self._busy[place]])
                own[place] = self._busy[place] = asyncio.get_running_loop().create_future()
                if place[1] == ALL:  # no other place covers more than itself
                    under_way = [end for ref, end in self._busy.items() if ref != place and covers(place, ref)]
                    if under_way:
                        await asyncio.wait(under_way)
            yield
        finally:
            for place in own:
                self._end(place)

    def _waiting_in(self, places: list[Ref]) -> list[Ref]:
        """Return the entries that writes wait for, of some entries or whole collections."""
        if any(place[1] == ALL for place in places):
            return [ref for ref in self.waiting if any(covers(place, ref) for place in places)]
        return [ref for ref in places if ref in self.waiting]

    async def flush(self) -> None:
        """Send everything, and return when all of it has reached cold.

        Raises:
            StoreError: Something has not.
        """
        if self._is_running() and self._round is not None:
            await asyncio.wait([self._round])
        if self.waiting:
            await asyncio.wait([self._start()])
        failed = self._refused | {ref: write.error for ref, write in self.waiting.items() if write.error is not None}
        count = len(failed) - len(self._refused) + self._refusals
        self._refused, self._refusals = {}, 0
        if failed:
            (collection, key), error = next(iter(failed.items()))
            raise StoreError(
                f"{self._name()}: {count} writes have not reached the cold store, one of them of key {key!r} in "
                f"collection {collection!r}: {error}",
                store=self._name(),
                operation="flush",
                collection=collection,
                key=key,
                retryable=all(isinstance(each, StoreError) and each.retryable for each in failed.values()),
            ) from error

    async def close(self) -> None:
        """Send everything; what cannot be sent is lost, which the error says."""
        try:
            await self.flush()
        finally:
            if self.waiting:  # a cancellation does not report it
                logger.error("%s is closed, and %d queued writes may be lost", self._name(), len(self.waiting))
            self._stop_timer()
            self.waiting.clear()

    def abandon(self) -> None:
        """Go on on the event loop that runs now: the one before has been closed."""
        self._busy, self._round, self._retry = {}, None, None
        if self.waiting:
            self._start()

    def disown(self) -> None:
        """In a child of `fork`: leave what waits to the parent, which sends it."""
        hold(self._busy, self._round, self._retry)
        self._busy, self._round, self._retry = {}, None, None
        self._refused, self._refusals = {}, 0
        self.waiting.clear()

    def _start(self) -> asyncio.Task[None]:
        self._stop_timer()
        if self._round is None or self._round.done():
            self._round = task_in_empty_context(self._send_all())
        return self._round

    def _is_running(self) -> bool:
        return self._round is not None and not self._round.done()

    def _stop_timer(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def _send_all(self) -> None:
        while self.waiting:
            batch = list(islice(self.waiting, _BATCH))
            errors = [error for error in await asyncio.gather(*map(self._send_one, batch)) if error is not None]
            if errors:
                logger.warning("%s could not send %d queued writes: %s", self._name(), len(errors), errors[0])
            if any(ref in self.waiting and self.waiting[ref].error is not None for ref in batch):
                set_timer = asyncio.get_running_loop().call_later
                self._retry = run_in_empty_context(set_timer, _TRY_AGAIN, self._start)
                return

    async def _send_one(self, ref: Ref) -> SatchelError | None:
        """Send the write of an entry that waits, if there is one still, and return the error that it ended in."""
        while (busy := self._hindrance(ref)) is not None:
            await asyncio.wait([busy])
        write = self.waiting.get(ref)
        if write is None:
            return None
        self._busy[ref] = asyncio.get_running_loop().create_future()
        try:
            await self._send(ref, write.record)
        except Exception as error:
            write.error = error if isinstance(error, SatchelError) else _unexpected(error)
            if not isinstance(write.error, StoreError):
                self._refusals += 1
                self._refused = {ref: write.error}
                await self._give_up(ref, write)
            return write.error
        finally:
            self._end(ref)
        self.remove(ref, write)
        return None

    def _hindrance(self, ref: Ref) -> asyncio.Future[None] | None:
        places = (ref, (ref[0], ALL), (ALL, ALL))
        return next((self._busy[place] for place in places if place in self._busy), None)

    def _end(self, place: Ref) -> None:
        end = self._busy.pop(place, None)
        if end is not None and not end.done():
            end.set_result(None)


def _unexpected(error: Exception) -> StoreError:
    failure = StoreError(f"the cold store raised {type(error).__name__}, which no store is to raise")
    failure.__cause__ = error
    return failure


def covers(place: Ref, ref: Ref) -> bool:
    """Return whether a place is an entry, or its collection, or all."""
    return place == ref or (place[1] == ALL and place[0] in (ALL, ref[0]))
