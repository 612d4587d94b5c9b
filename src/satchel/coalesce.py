"""Coalescing: calls that arrive while a batch is under way form the next batch.

Requests wait in a lane for each name. A lane whose name has a request under way is not ready, so that nothing for a key
is sent before what was sent earlier for it has ended: each key's requests take effect one after the other. Of a
lane's waiting requests those that are alike and adjacent become one:

* of several puts the last is sent; the earlier ones were overwritten at once,
* of several deletes one is sent, and the first caller is told what was there,
* of several reads one is sent, and all get its outcome.

There is no timer: a call that finds a free slot is sent at once, in the caller's own task.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

from .names import Ref


class Operation(enum.Enum):
    """Names what a request does."""

    READ = "read"
    PUT = "put"
    DELETE = "delete"
    PUT_IF = "put_if"
    DELETE_IF = "delete_if"
    TOUCH = "touch"


_MERGING = frozenset({Operation.READ, Operation.PUT, Operation.DELETE})


class Request:
    """Is one thing to do for one name: what it is, its argument for the hook, and its size in bytes."""

    __slots__ = ("argument", "call", "index", "operation", "ref", "size")

    def __init__(self, operation: Operation, ref: Ref, argument: Any = None, size: int = 0) -> None:
        self.operation = operation
        self.ref = ref
        self.argument = argument
        self.size = size
        self.call: _Call | None = None
        self.index = 0

    @property
    def dropped(self) -> bool:
        """Whether the caller has gone."""
        return self.call is not None and self.call.future.done()


class _Call:
    """Collects the outcomes of the requests of one waiting caller."""

    __slots__ = ("future", "missing", "outcomes")

    def __init__(self, count: int) -> None:
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.outcomes: list[Any] = [None] * count
        self.missing = count

    def set(self, index: int, outcome: Any) -> None:
        self.outcomes[index] = outcome
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.outcomes)


class Coalescer:
    """Sends requests in batches.

    Args:
        send: Carries out requests with distinct names, and returns an outcome for each. It raises nothing.
        max_inflight: So many batches are under way at once.
        max_items: The most requests of a batch.
        max_bytes: A batch ends before it would pass this size, but holds at least one request.
        shield: Send in a task of its own, so that a cancelled caller does not cut off what it sent. Needed for writes
            whose engine could still carry out a cut-off write after a later one.
    """

    def __init__(
        self,
        send: Callable[[list[Request]], Awaitable[Sequence[Any]]],
        *,
        max_inflight: int,
        max_items: int,
        max_bytes: int,
        shield: bool,
    ) -> None:
        self._send = send
        self._max_inflight = max_inflight
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._shield = shield
        self._lanes: dict[Ref, list[Request]] = {}
        self._ready: deque[Ref] = deque()
        self._busy: set[Ref] = set()
        self._inflight = 0
        self._starting = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def submit(self, requests: list[Request]) -> Sequence[Any]:
        """Carry out requests with distinct names, and return their outcomes in order."""
        if self._inflight < self._max_inflight and not self._ready and self._fits(requests):
            self._inflight += 1
            self._busy.update([request.ref for request in requests])
            sending = self._send_at_once(requests)
            return await (asyncio.shield(self.spawn(sending)) if self._shield else sending)
        call = _Call(len(requests))
        for index, request in enumerate(requests):
            request.call, request.index = call, index
            self._enqueue(request)
        self._start_runners()
        return await call.future

    async def drained(self) -> None:
        """Wait until nothing is under way: a cancelled caller leaves its shielded write behind."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _fits(self, requests: list[Request]) -> bool:
        if len(requests) == 1:
            return requests[0].ref not in self._busy
        return (
            len(requests) <= self._max_items
            and sum([request.size for request in requests]) <= self._max_bytes
            and self._busy.isdisjoint([request.ref for request in requests])
        )

    async def _send_at_once(self, requests: list[Request]) -> Sequence[Any]:
        try:
            return await self._send(requests)
        finally:
            self._free([request.ref for request in requests])
            self._inflight -= 1
            self._start_runners()

    def _enqueue(self, request: Request) -> None:
        lane = self._lanes.get(request.ref)
        if lane is not None:
            lane.append(request)
            return
        self._lanes[request.ref] = [request]
        if request.ref not in self._busy:
            self._ready.append(request.ref)

    def _free(self, refs: list[Ref]) -> None:
        self._busy.difference_update(refs)
        if self._lanes:
            self._ready.extend([ref for ref in refs if ref in self._lanes])

    def _start_runners(self) -> None:
        while self._inflight < self._max_inflight and len(self._ready) > self._starting * self._max_items:
            self._inflight += 1
            self._starting += 1
            self.spawn(self._run())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start work that `drained` waits for."""
        # An empty context: a batch serves many callers, and must not carry the variables of one of them.
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self) -> None:
        self._starting -= 1
        try:
            while batch := self._take():
                await self._send_batch(batch)
                # The callers just woken put their next requests into the next batch, before it is formed.
                await asyncio.sleep(0)
        finally:
            self._inflight -= 1
            self._start_runners()

    async def _send_batch(self, batch: list[list[Request]]) -> None:
        try:
            outcomes = await self._send([_representative(run) for run in batch])
        except BaseException:
            # Only the end of the event loop cancels a batch; nobody may wait for it for ever.
            for run in batch:
                for request in run:
                    if request.call is not None:
                        request.call.future.cancel()
            raise
        finally:
            self._free([run[0].ref for run in batch])
        for run, outcome in zip(batch, outcomes, strict=True):
            for position, request in enumerate(run):
                deleted_before = position > 0 and outcome is True and request.operation is Operation.DELETE
                if request.call is not None:
                    request.call.set(request.index, False if deleted_before else outcome)

    def _take(self) -> list[list[Request]]:
        """Return the next batch: for each name the requests that one sent request answers."""
        batch: list[list[Request]] = []
        size = 0
        while self._ready and len(batch) < self._max_items:
            ref = self._ready[0]
            run, rest = _next_run(self._lanes[ref])
            if run:
                size += _representative(run).size
                if batch and size > self._max_bytes:
                    break
                self._busy.add(ref)
                batch.append(run)
            self._ready.popleft()
            if rest:
                self._lanes[ref] = rest
            else:
                del self._lanes[ref]
        return batch


def _next_run(lane: list[Request]) -> tuple[list[Request], list[Request]]:
    waiting = [request for request in lane if not request.dropped]
    if not waiting:
        return [], []
    end, operation = 1, waiting[0].operation
    if operation in _MERGING:
        while end < len(waiting) and waiting[end].operation is operation:
            end += 1
    return waiting[:end], waiting[end:]


def _representative(run: list[Request]) -> Request:
    return run[-1] if run[0].operation is Operation.PUT else run[0]
