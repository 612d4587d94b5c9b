"""`QueuedWrites`: writes that a failing store did not take, until it does.

Several event loops may use one at a time, in several threads: one of them sends, so that the writes keep their order.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

from .._contexts import task_in_empty_context
from .._forks import hold, watch
from ..backend.record import Record
from ..backend.serializer import RecordSerializer
from ..clock import NEVER, TTL, Clock, deadline_after
from ..codec import Codec
from ..errors import QueueFullError, SatchelError, StoreError
from ..names import Ref
from ..protocol import AsyncKeyValue

logger = logging.getLogger("satchel")


class QueuedWrites:
    """Last write of each key that waits, sent one by one in the order of these last writes.

    Args:
        inner: Takes the writes.
        name: The name of the wrapper in messages.
        most: Maximum number of queued keys.
        codec: Encodes the values that wait; JSON by default.
        clock: Function that returns seconds since the Unix epoch.
    """

    def __init__(
        self, inner: AsyncKeyValue, name: Callable[[], str], *, most: int, codec: Codec | None, clock: Clock
    ) -> None:
        self.waiting: dict[Ref, Record | None] = {}
        """What waits; None is a delete."""
        self._inner, self._name, self._most, self._clock = inner, name, most, clock
        self._values = RecordSerializer(codec, checksums="none", max_bytes=None)
        self._round: asyncio.Task[StoreError | None] | None = None
        self._refusal: SatchelError | None = None
        self._lock = threading.Lock()
        watch(self)

    def after_fork(self) -> None:
        """In a child of `fork`: leave what waits to the parent, which sends it."""
        hold(self._round)
        self._round = self._refusal = None
        self._lock = threading.Lock()
        self.waiting.clear()

    async def record(self, value: object, ttl: TTL | None, now: float) -> Record:
        """Return a value in the form in which it waits; one that no store takes is refused."""
        return await self._values.record(value, now, deadline_after(ttl, now))

    def add(self, ref: Ref, record: Record | None) -> None:
        """Let a write wait, after all that do; it replaces one of the same key.

        Raises:
            QueueFullError: There is no room.
        """
        with self._lock:
            if ref not in self.waiting and len(self.waiting) >= self._most:
                raise QueueFullError(f"{self._name()} has {self._most} queued writes, and takes no more of other keys")
            self.waiting.pop(ref, None)
            self.waiting[ref] = record

    def lives(self, record: Record | None) -> bool:
        """Return whether what waits is a put, and has not expired."""
        return record is not None and record.deadline > self._clock()

    async def value(self, record: Record | None, default: object) -> Any:
        """Return the value of a put, or the default for a delete and for one that has expired."""
        return await self._values.value(record) if record is not None and self.lives(record) else default

    def flush_soon(self) -> asyncio.Task[StoreError | None]:
        """Send what waits in the background; what fails goes on waiting."""
        with self._lock:
            task = self._under_way()
            if task is None:
                task = self._round = task_in_empty_context(self._send_all())
        return task

    async def flush(self) -> None:
        """Return when nothing waits and nothing was lost.

        Raises:
            StoreError: The store failed; the rest goes on waiting.
            SatchelError: The store refused a write for what it is, and that one is lost.
        """
        await self.settle()
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise refusal

    async def settle(self) -> None:
        """Return when nothing waits.

        Raises:
            StoreError: The store failed; the rest goes on waiting.
        """
        earlier = self._under_way()
        if earlier is not None:
            await _outcome(earlier)  # it may fail for a reason that is over now
        while self.waiting:
            failure = await _outcome(self.flush_soon())
            if failure is not None and self.waiting:  # else others have sent it all meanwhile
                raise failure.again() from failure

    async def finish(self) -> None:
        """Send what waits for the last time: what is not taken now is lost."""
        try:
            await self.flush()
        except StoreError as error:
            own = error.again()
            own.args = (f"{self._name()} is closed, and {len(self.waiting)} queued writes are lost: {error}",)
            raise own from error
        finally:
            if self.waiting:
                logger.error("%s is closed, and %d queued writes are lost", self._name(), len(self.waiting))
            self.waiting.clear()

    def _under_way(self) -> asyncio.Task[StoreError | None] | None:
        task = self._round
        return task if task is not None and not task.done() and task.get_loop().is_running() else None

    async def _send_all(self) -> StoreError | None:
        while (first := self._first()) is not None:
            ref, record = first
            try:
                await self._send(ref, record)
            except StoreError as error:
                logger.debug("%s keeps %d queued writes, after: %s", self._name(), len(self.waiting), error)
                return error
            except SatchelError as error:  # it can never be taken, and must not be in the way of all others
                logger.error("%s lost a queued write, which the store refused: %s", self._name(), error)  # noqa: TRY400  # a refusal, not a defect
                self._refusal = error
            with self._lock:
                if ref in self.waiting and self.waiting[ref] is record:  # else a later one has come
                    del self.waiting[ref]
        return None

    def _first(self) -> tuple[Ref, Record | None] | None:
        """Return the write that is to be sent next; where there is none, the round is over."""
        with self._lock:
            first = next(iter(self.waiting.items()), None)
            if first is None:
                self._round = None
            return first

    async def _send(self, ref: Ref, record: Record | None) -> None:
        left = 0.0 if record is None else record.deadline - self._clock()
        # A put that has expired meanwhile would still have overwritten the older entry.
        if record is None or left <= 0:
            await self._inner.delete(*ref)
            return
        await self._inner.put(*ref, await self._values.value(record), ttl=None if left == NEVER else left)


async def _outcome(task: asyncio.Task[StoreError | None]) -> StoreError | None:
    """Return what a round ended in, also one on another event loop; None where that loop ended before it."""
    if task.get_loop() is asyncio.get_running_loop():
        return await asyncio.shield(task)
    while not task.done() and task.get_loop().is_running():  # noqa: ASYNC110  # nothing tells this loop when it has ended
        await asyncio.sleep(0.001)
    return task.result() if task.done() and not task.cancelled() else None
