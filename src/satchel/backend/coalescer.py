"""Coalescing: calls that arrive while a batch is under way form the next batch.

Requests wait in one queue for each key. The queue of a key that has a request under way is not ready, so that nothing
for a key is sent before what was sent earlier for it has ended: each key's requests take effect one after the other.
Adjacent requests of the same kind in a key's queue are merged:

* of several puts the last is sent; the earlier ones were overwritten at once,
* of several deletes one is sent, and only the first caller learns that the entry existed,
* of several reads, or several looks at the head alone, one is sent, and all get its outcome.

There is no timer: a call that finds a free slot is sent at once, in the caller's own task unless it has to be shielded.

A request that the backend left unprocessed goes to the front of its key's queue again after a pause, while the others
of its batch have their answers. Until then its key counts as under way.
"""

from __future__ import annotations

import asyncio
import enum
import random
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from .._contexts import task_in_empty_context
from ..errors import StoreError, StoreUnavailableError
from ..names import Ref
from .hooks import UNPROCESSED


class Operation(enum.Enum):
    """Names what a request does."""

    READ = "read"
    READ_HEAD = "read_head"
    PUT = "put"
    DELETE = "delete"
    PUT_IF = "put_if"
    DELETE_IF = "delete_if"
    TOUCH = "touch"


_MERGING = frozenset({Operation.READ, Operation.READ_HEAD, Operation.PUT, Operation.DELETE})


class Request(msgspec.Struct, eq=False):
    """One operation on one name.

    Attributes:
        operation: What is to be done.
        ref: The name.
        argument: What the hook gets for it.
        size: How many bytes of payload it has.
        future: What its caller waits for; None for a caller whose own task sends it.
        pending: The batch that the same caller waits for; None for a caller with this one request.
        index: Its place in that batch.
        resends: How often the backend has left it unprocessed.
    """

    operation: Operation
    ref: Ref
    argument: Any = None
    size: int = 0
    future: asyncio.Future[Any] | None = None
    pending: PendingBatch | None = None
    index: int = 0
    resends: int = 0

    @property
    def dropped(self) -> bool:
        """Whether the caller has gone."""
        return self.future is not None and self.future.done()

    def answer(self, outcome: Any) -> None:
        """Give the caller the outcome."""
        if self.pending is not None:
            self.pending.set(self.index, outcome)
        elif self.future is not None and not self.future.done():
            self.future.set_result(outcome)


class PendingBatch:
    """Outcomes of all requests of one waiting caller.

    Args:
        requests: What the caller asks for.
    """

    __slots__ = ("future", "missing", "outcomes")

    def __init__(self, requests: Sequence[Request]) -> None:
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.missing = len(requests)
        self.outcomes: list[Any] = [None] * self.missing
        for index, request in enumerate(requests):
            request.future, request.pending, request.index = self.future, self, index

    def set(self, index: int, outcome: Any) -> None:
        """Take the outcome of one request."""
        self.outcomes[index] = outcome
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.outcomes)


def take_mergeable(queue: list[Request]) -> list[Request]:
    """Take the requests off a key's queue that one sent request answers; none when all their callers have gone."""
    merged: list[Request] = []
    taken = 0
    for request in queue:
        if not request.dropped:
            if merged and not _merges(merged[0], request):
                break
            merged.append(request)
        taken += 1
    del queue[:taken]
    return merged


def _merges(first: Request, request: Request) -> bool:
    # A request that was left unprocessed has its own number of attempts.
    alike = request.operation is first.operation and request.resends == first.resends
    return alike and request.operation in _MERGING


def representative(merged: list[Request]) -> Request:
    """Return the request that is sent for all of them; of puts that is the last, and the others are all alike."""
    return merged[-1]


_RESENDS: Final = 6
_FIRST_PAUSE = 0.05


class _Batch:
    """Requests that one slot has under way: for each key, the merged ones that one sent request answers."""

    __slots__ = ("ended", "groups")

    def __init__(self, groups: list[list[Request]]) -> None:
        self.groups = groups
        self.ended = False

    def refs(self) -> list[Ref]:
        return [merged[0].ref for merged in self.groups]

    def deliver(self, outcomes: Sequence[Any]) -> None:
        for merged, outcome in zip(self.groups, outcomes, strict=True):
            merged[0].answer(outcome)
            for request in merged[1:] if len(merged) > 1 else ():
                deleted_before = outcome is True and request.operation is Operation.DELETE
                request.answer(False if deleted_before else outcome)
        self.groups = []

    def cancel(self) -> None:
        for merged in self.groups:
            for request in merged:
                if request.future is not None:
                    request.future.cancel()


class Coalescer:
    """Queue that sends waiting requests in batches.

    Args:
        send: Carries out requests with distinct names, and returns an outcome for each. It raises nothing.
        max_inflight: Maximum number of batches under way at once.
        max_items: Maximum number of requests of a batch.
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
        self._queues: dict[Ref, list[Request]] = {}
        self._ready: deque[Ref] = deque()
        self._busy: set[Ref] = set()
        self._inflight = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._settling: list[tuple[set[Ref], asyncio.Future[None]]] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is under way and nothing waits."""
        return not self._inflight and not self._queues

    async def submit(self, requests: list[Request]) -> Sequence[Any]:
        """Carry out requests with distinct names, and return their outcomes in order."""
        if not self._shield and self._may_go_at_once(requests):
            return await self._send_at_once(requests)
        pending = PendingBatch(requests)
        for request in requests:
            self._enqueue(request)
        self._start_batches()
        return await pending.future

    def submit_one(self, request: Request) -> Awaitable[Any]:
        """Carry out one request; what this returns is to be awaited at once, and gives its outcome."""
        may_go = self._inflight < self._max_inflight and not self._ready and request.ref not in self._busy
        if may_go and not self._shield:
            return self._send_one_at_once(request)
        request.future = future = asyncio.get_running_loop().create_future()
        if may_go:
            self._busy.add(request.ref)
            self._start(_Batch([[request]]))
        else:
            self._enqueue(request)  # what holds it up, in the slots or for its key, sends it at its end
        return future

    async def settled(self) -> None:
        """Wait until what has been sent by now has ended: a cancelled caller leaves its shielded write behind."""
        if self._busy:
            end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settling.append((set(self._busy), end))
            await end

    async def drained(self) -> None:
        """Wait until nothing is under way and nothing follows."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start work that `drained` waits for."""
        task = task_in_empty_context(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _may_go_at_once(self, requests: list[Request]) -> bool:
        if self._inflight >= self._max_inflight or self._ready:
            return False
        return (
            len(requests) <= self._max_items
            and sum([request.size for request in requests]) <= self._max_bytes
            and self._busy.isdisjoint([request.ref for request in requests])
        )

    async def _send_one_at_once(self, request: Request) -> Any:
        (outcome,) = await self._send_at_once([request])
        return outcome

    async def _send_at_once(self, requests: list[Request]) -> Sequence[Any]:
        refs = [request.ref for request in requests]
        self._inflight += 1
        self._busy.update(refs)
        try:
            outcomes = await self._send(requests)
            again = _unprocessed(outcomes) if UNPROCESSED in outcomes else []
            if again:
                pending = PendingBatch([requests[at] for at in again])
                self._send_later([[requests[at]] for at in again])
                refs = [ref for ref, outcome in zip(refs, outcomes, strict=True) if outcome is not UNPROCESSED]
        finally:
            self._inflight -= 1
            self._free(refs)
            if self._ready:
                self._start_batches()
        return _filled(outcomes, again, await pending.future) if again else outcomes

    def _enqueue(self, request: Request) -> None:
        queue = self._queues.get(request.ref)
        if queue is not None:
            queue.append(request)
            return
        self._queues[request.ref] = [request]
        if request.ref not in self._busy:
            self._ready.append(request.ref)

    def _free(self, refs: list[Ref]) -> None:
        self._busy.difference_update(refs)
        if self._queues:
            self._ready.extend([ref for ref in refs if ref in self._queues])
        if self._settling:
            self._settle(refs)

    def _settle(self, refs: list[Ref]) -> None:
        for waiting, end in self._settling:
            waiting.difference_update(refs)
            if not waiting and not end.done():
                end.set_result(None)
        self._settling = [(waiting, end) for waiting, end in self._settling if not end.done()]

    def _start_batches(self) -> None:
        while self._ready and self._inflight < self._max_inflight:
            batch = _Batch(self._take())
            if batch.groups:
                self._start(batch)

    def _start(self, batch: _Batch) -> None:
        self._inflight += 1
        task = task_in_empty_context(self._send_batches(batch))  # it must not carry the variables of one of its callers
        self._tasks.add(task)
        # A task that is cancelled before its first step runs no `finally`.
        task.add_done_callback(partial(self._end, batch))

    async def _send_batches(self, batch: _Batch) -> None:
        try:
            while batch.groups:
                alone = len(batch.groups) == 1
                await self._send_batch(batch)
                if alone and not self._ready:
                    return  # so that a caller who is alone again finds the slot free
                # The callers just woken put their next requests into the next batch, before it is formed.
                await asyncio.sleep(0)
                batch.groups = self._take()
        finally:
            self._end(batch)

    async def _send_batch(self, batch: _Batch) -> None:
        try:
            outcomes = await self._send([representative(merged) for merged in batch.groups])
        except Exception as error:
            failure = StoreError(f"a batch ended in an error that no hook is to raise: {type(error).__name__}")
            failure.__cause__ = error
            outcomes = [failure] * len(batch.groups)
        again = _unprocessed(outcomes)
        if again:
            self._send_later([batch.groups[at] for at in again])
            answered = [at for at, outcome in enumerate(outcomes) if outcome is not UNPROCESSED]
            batch.groups, outcomes = [batch.groups[at] for at in answered], [outcomes[at] for at in answered]
        self._free(batch.refs())
        batch.deliver(outcomes)

    def _send_later(self, groups: list[list[Request]]) -> None:
        """Send unprocessed requests again, after a pause; until then their keys stay busy."""
        by_resends: dict[int, list[list[Request]]] = {}
        for merged in groups:
            by_resends.setdefault(merged[0].resends, []).append(merged)
        for resends, alike in by_resends.items():
            held = _Batch(alike)
            self.spawn(self._put_back(held, resends)).add_done_callback(partial(self._let_go, held))

    async def _put_back(self, held: _Batch, resends: int) -> None:
        if resends == _RESENDS:
            busy = "the backend kept leaving this item unprocessed; it is overloaded, try again later"
            self._free(held.refs())
            held.deliver([StoreUnavailableError(busy)] * len(held.groups))
            return
        pause = _FIRST_PAUSE * 2**resends
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # spreads load, hides nothing
        for merged in held.groups:
            for request in merged:
                request.resends += 1
            self._queues.setdefault(merged[0].ref, [])[:0] = merged
        refs, held.groups = held.refs(), []
        self._free(refs)

    def _let_go(self, held: _Batch, _task: object) -> None:
        """Start what can go now. Only what was cancelled, as at the end of the event loop, is still held."""
        self._free(held.refs())
        held.cancel()
        self._start_batches()

    def _end(self, batch: _Batch, task: asyncio.Task[None] | None = None) -> None:
        """Give the slot back, once. Only a batch that was cancelled, as at the end of the event loop, is not empty."""
        if task is not None:
            self._tasks.discard(task)
        if batch.ended:
            return
        batch.ended = True
        self._inflight -= 1
        self._free(batch.refs())
        batch.cancel()
        self._start_batches()

    def _take(self) -> list[list[Request]]:
        """Return the next batch: for each key the merged requests that one sent request answers."""
        groups: list[list[Request]] = []
        size = 0
        while self._ready and len(groups) < self._max_items:
            ref = self._ready.popleft()
            queue = self._queues.pop(ref)
            merged = queue if len(queue) == 1 and not queue[0].dropped else take_mergeable(queue)
            if merged:
                size += representative(merged).size
                if groups and size > self._max_bytes:
                    self._queues[ref] = merged if merged is queue else merged + queue
                    self._ready.appendleft(ref)
                    break
                self._busy.add(ref)
                groups.append(merged)
            if queue and merged is not queue:
                self._queues[ref] = queue  # until what goes now has ended
        return groups


class CoalescerPerLoop:
    """Queue for each event loop, of a store that several loops use.

    Args:
        make: Makes the queue of one loop.
    """

    def __init__(self, make: Callable[[], Coalescer]) -> None:
        self._make = make
        self._of_thread = threading.local()

    @property
    def idle(self) -> bool:
        """Whether on this loop nothing is under way and nothing waits."""
        return self._here().idle

    def _here(self) -> Coalescer:
        loop = asyncio.get_running_loop()
        found: tuple[asyncio.AbstractEventLoop, Coalescer] | None = getattr(self._of_thread, "last", None)
        if found is None or found[0] is not loop:
            found = self._of_thread.last = (loop, self._make())
        return found[1]

    async def submit(self, requests: list[Request]) -> Sequence[Any]:
        """Carry out requests with distinct names, and return their outcomes in order."""
        return await self._here().submit(requests)

    def submit_one(self, request: Request) -> Awaitable[Any]:
        """Carry out one request; what this returns is to be awaited at once, and gives its outcome."""
        return self._here().submit_one(request)

    async def settled(self) -> None:
        """Wait until what has been sent by now on this loop has ended."""
        await self._here().settled()

    async def drained(self) -> None:
        """Wait until nothing is under way on this loop and nothing follows."""
        await self._here().drained()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start work that `drained` waits for."""
        return self._here().spawn(work)


def _unprocessed(outcomes: Sequence[Any]) -> list[int]:
    return [at for at, outcome in enumerate(outcomes) if outcome is UNPROCESSED]


def _filled(outcomes: Sequence[Any], gaps: list[int], late: Sequence[Any]) -> Sequence[Any]:
    filled = list(outcomes)
    for at, outcome in zip(gaps, late, strict=True):
        filled[at] = outcome
    return filled
