"""`Engine`: how a base store's verbs are carried out, from checked names to the outcome for the caller.

It holds what one open store needs: the lifecycle, the queue of reads and the queue of writes (put, delete, touch and
conditional writes share one, or their order would be lost), the codec, and what reclaims expired entries.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from .._batches import slices
from .._forks import hold
from .._shortage import shortage
from .._threads import Yielder
from ..clock import NEVER, TTL, as_datetime, deadline_after
from ..codec import LARGE, Codec
from ..entry import Entry
from ..errors import (
    IntegrityError,
    SatchelError,
    StoreClosedError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    batch_error,
    with_article,
)
from ..names import Ref
from .coalescer import Coalescer, CoalescerPerLoop, Operation, Request
from .hooks import Hooks
from .lifecycle import Lifecycle, SharedLifecycle
from .reclaiming import Reclaimer
from .record import Record
from .serializer import RecordSerializer
from .watching import Watching

# Of the others, a second one could be told that the first was not done.
_SAFE_TO_RESEND = frozenset({Operation.READ, Operation.READ_HEAD, Operation.PUT, Operation.TOUCH})


async def send(store: Hooks, requests: list[Request]) -> Sequence[Any]:
    """Carry out requests with distinct names, those of each operation together."""
    operation = requests[0].operation
    if len(requests) > 1 and [True for request in requests if request.operation is not operation]:
        return await _send_by_operation(store, requests)
    try:
        called = _hook_call(store, operation, requests)
        outcomes = await (called if store._timeout is None else store._time_limit.bound(called, store._timeout))
    except Exception as error:
        failure = translated(store, error, operation.value)
        if len(requests) == 1 or operation not in _SAFE_TO_RESEND or getattr(failure, "retryable", False):
            return [failure] * len(requests)
        # One bad item can fail a whole batch: halved until it is alone, it fails only its own caller.
        half = len(requests) // 2
        return [*await send(store, requests[:half]), *await send(store, requests[half:])]
    if not isinstance(outcomes, (list, tuple, Sequence)) or len(outcomes) != len(requests):
        given = f"{len(outcomes)} outcomes" if isinstance(outcomes, Sequence) else with_article(type(outcomes))
        flaw = f"{type(store).__name__}: the {operation.value} hook gave {given} for {len(requests)} items"
        return [StoreError(flaw)] * len(requests)
    return outcomes


async def _send_by_operation(store: Hooks, requests: list[Request]) -> Sequence[Any]:
    outcomes: list[Any] = [None] * len(requests)
    groups: dict[Operation, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.operation, []).append(index)
    for members in groups.values():
        for index, outcome in zip(members, await send(store, [requests[i] for i in members]), strict=True):
            outcomes[index] = outcome
    return outcomes


def _hook_call(store: Hooks, operation: Operation, requests: list[Request]) -> Awaitable[Sequence[Any]]:
    if operation is Operation.READ:
        return store._read([request.ref for request in requests])
    if operation is Operation.READ_HEAD:
        return store._read_heads([request.ref for request in requests])
    if operation is Operation.PUT:
        return store._write([(request.ref, request.argument) for request in requests])
    now = store.clock()
    if operation is Operation.DELETE:
        return store._delete([request.ref for request in requests], now)
    if operation is Operation.PUT_IF:
        return store._put_if([(request.ref, *request.argument) for request in requests], now)
    if operation is Operation.DELETE_IF:
        return store._delete_if([(request.ref, request.argument) for request in requests], now)
    return store._touch([(request.ref, request.argument) for request in requests], now)


def translated(store: Hooks, error: Exception, operation: str) -> SatchelError:
    """Return the satchel error for what a hook raised, with that as its cause."""
    if isinstance(error, SatchelError):
        return error
    failure: SatchelError | None = shortage(error)  # whatever the driver makes of it
    failure = failure or store._map_error(error)
    if failure is None:
        said = type(error).__name__  # what a driver says may hold a value or a secret
        if isinstance(error, TimeoutError):
            failure = StoreTimeoutError(f"{store!r} did not answer in time ({operation})")
        elif isinstance(error, OSError):
            failure = StoreUnavailableError(f"{store!r} cannot be reached ({operation}: {said})")
        else:
            failure = StoreError(f"{store!r} failed ({operation}: {said})")
    failure.__cause__ = error
    return failure


T = TypeVar("T")

_AT_ONCE = 4000
"""Number of requests of one batch that are queued together: many calls of a hook, and a few milliseconds of work."""


class Engine:
    """Implementation of a store's verbs over its hooks."""

    def __init__(self, store: Hooks, codec: Codec | None) -> None:
        self._store = store
        self.serializer = RecordSerializer(codec, checksums=store._checksums, max_bytes=store._max_value_bytes)
        lifecycle = SharedLifecycle if store._any_loop else Lifecycle
        self.lifecycle = lifecycle(
            store.__repr__, open=self._open, close=self._close, abandon=self._discard, disown=self._disown
        )
        self._make_queues()
        self.reclaimer = Reclaimer(
            store,
            spawn=lambda work: self._writes.spawn(work),  # noqa: PLW0108  # the queue is another one on the next loop
            cull=lambda: self.run_admin("cull", lambda: store._cull(store.clock())),
            ask=self._first_deadline,
        )
        self.watching = Watching(store, lambda error: self.failure(translated(store, error, "watch"), "watch"))

    async def read(self, operation: str, ref: Ref, reading: Operation = Operation.READ) -> Record | None:
        """Return the record of one live entry, or its head alone; None when it is absent."""
        loop = self.lifecycle.begin(operation)
        try:
            if not self.lifecycle.opened:
                await self._open_for(operation)
            outcome = await self._reads.submit_one(Request(reading, ref))
        finally:
            self.lifecycle.leave(loop)
        if type(outcome) is Record:  # quicker than looking whether it is an error
            return outcome if outcome.deadline == NEVER or outcome.deadline > self._store.clock() else None
        if isinstance(outcome, SatchelError):
            raise self.failure(outcome, operation, *ref)
        return outcome if outcome is not None and self._is_live(outcome) else None

    @property
    def writes_nothing(self) -> bool:
        """Whether no write is under way or waits, so that one more need not go by the queue."""
        return self._writes.idle

    async def value(self, operation: str, ref: Ref, record: Record) -> Any:
        """Return the value of a record that was found."""
        try:
            return (
                self.serializer.decode(record) if len(record.payload) < LARGE else await self.serializer.value(record)
            )
        except SatchelError as error:
            raise self.failure(error, operation, *ref) from (error.__cause__ or error)
        except (RuntimeError, MemoryError) as error:
            raise self._used_up(error, operation, ref) from error

    @staticmethod
    def value_of(_: str, __: Ref, ___: Record, value: Any) -> Any:
        """Return the value of a record that was found."""
        return value

    async def entry(self, operation: str, ref: Ref, record: Record) -> Entry:
        """Return what callers see of a record that was found."""
        return self.entry_of(operation, ref, record, await self.value(operation, ref, record))

    def entry_of(self, operation: str, ref: Ref, record: Record, value: Any) -> Entry:
        """Return what callers see of a record that was found, with its value."""
        expires = record.deadline != NEVER
        try:
            updated_at = as_datetime(record.updated_at)
            expires_at = as_datetime(record.deadline) if expires else None
        except IntegrityError as error:
            raise self.failure(error, operation, *ref) from None
        return Entry(
            value=value,
            version=record.version,
            updated_at=updated_at,
            expires_at=expires_at,
            ttl=record.deadline - self._store.clock() if expires else None,
            size=len(record.payload),
        )

    async def read_many(
        self,
        operation: str,
        collection: str,
        keys: list[str],
        finish: Callable[[str, Ref, Record, Any], T],
    ) -> dict[str, T]:
        """Read many entries of one collection, finished by `value_of` or `entry_of`; absent ones are left out."""
        value = self.value
        failed: dict[str, SatchelError] = {}
        found: dict[str, T] = {}
        turns = Yielder()
        loop = self.lifecycle.begin(operation)
        try:
            for part in slices(len(keys), _AT_ONCE):
                requests = [Request(Operation.READ, (collection, key)) for key in keys[part]]
                for request, outcome in zip(requests, await self._send(operation, requests), strict=True):
                    ref = request.ref
                    if isinstance(outcome, SatchelError):
                        failed[ref[1]] = self.failure(outcome, operation, *ref)
                    elif isinstance(outcome, Record) and self._is_live(outcome):
                        try:
                            found[ref[1]] = finish(operation, ref, outcome, await value(operation, ref, outcome))
                        except SatchelError as error:
                            failed[ref[1]] = error
                    if turns.over():
                        await turns.pause()
        finally:
            self.lifecycle.leave(loop)
        self._refuse(operation, collection, failed, len(keys))
        return found

    async def change(self, operation: str, request: Request) -> Any:
        """Carry out one change, and return its outcome."""
        (outcome,) = await self._submit(operation, [request])
        if isinstance(outcome, SatchelError):
            raise self.failure(outcome, operation, *request.ref)
        if request.operation is Operation.TOUCH and request.argument != NEVER:
            self.reclaimer.count(1, request.argument)
        elif self.reclaimer.owed:
            self.reclaimer.count(0)
        return outcome

    async def put(self, operation: str, ref: Ref, value: object, ttl: TTL | None, *condition: str | None) -> str | None:
        """Put a value, where the condition holds if there is one. Returns the new version, None if it was not put."""
        loop = self.lifecycle.begin(operation)  # from here on `aclose` waits, also for the encoding
        try:
            record = await self._record(operation, ref, value, ttl)
            if condition:
                request = Request(Operation.PUT_IF, ref, (record, *condition), len(record.payload))
            else:
                request = Request(Operation.PUT, ref, record, len(record.payload))
            if not self.lifecycle.opened:
                await self._open_for(operation)
            outcome = await self._writes.submit_one(request)
            if ttl is not None or self.reclaimer.owed:
                self.reclaimer.count(int(ttl is not None), record.deadline)
        finally:
            self.lifecycle.leave(loop)
        if isinstance(outcome, SatchelError):
            raise self.failure(outcome, operation, *ref)
        if outcome is None or outcome is True:
            return record.version
        return outcome if type(outcome) is str else None

    async def put_many(self, operation: str, collection: str, items: Mapping[str, object], ttl: TTL | None) -> None:
        """Put many values in one collection."""
        failed: dict[str, SatchelError] = {}
        turns = Yielder()
        loop = self.lifecycle.begin(operation)
        try:
            requests, first = [], NEVER
            for key, value in items.items():
                record = await self._record(operation, (collection, key), value, ttl)
                requests.append(Request(Operation.PUT, (collection, key), record, len(record.payload)))
                first = min(first, record.deadline)
                await turns.after_item()
            while requests:
                part = requests[:_AT_ONCE]
                del requests[:_AT_ONCE]  # a part at a time: to free all at once takes long, too
                await self._change_part(operation, part, failed, turns)
            self.reclaimer.count(0 if ttl is None else len(items), first)
        finally:
            self.lifecycle.leave(loop)
        self._refuse(operation, collection, failed, len(items))

    async def delete_many(self, operation: str, collection: str, keys: list[str]) -> int:
        """Remove many entries of one collection, and return how many were there."""
        done, failed = 0, dict[str, SatchelError]()
        turns = Yielder()
        loop = self.lifecycle.begin(operation)
        try:
            for part in slices(len(keys), _AT_ONCE):
                requests = [Request(Operation.DELETE, (collection, key)) for key in keys[part]]
                done += await self._change_part(operation, requests, failed, turns)
        finally:
            self.lifecycle.leave(loop)
        self._refuse(operation, collection, failed, len(keys))
        return done

    async def run_admin(self, operation: str, work: Callable[[], Awaitable[T]], *, settle: bool = False) -> T:
        """Carry out something that is not about single entries; with settle, after what was written by now."""
        loop = await self.lifecycle.enter(operation)
        try:
            self._store._need(operation)
            if settle:
                await self._writes.settled()
            return await work()
        except Exception as error:
            raise self.failure(translated(self._store, error, operation), operation) from error
        finally:
            self.lifecycle.leave(loop)

    async def open_for_watching(self, join: Callable[[], Awaitable[None]]) -> None:
        """Await the beginning of a watch, as a call to the open store; it lasts no longer than a request may."""
        await self.run_admin("watch", lambda: self._store._with_timeout(join()))

    async def listing(
        self, operation: str, start: Callable[[], AsyncIterator[Sequence[str]]], limit: int | None
    ) -> AsyncIterator[str]:
        """Iterate over the names in a hook's pages. Only fetching a page counts as a call under way."""
        pages: AsyncIterator[Sequence[str]] | None = None
        left = limit
        try:
            while left is None or left > 0:
                loop = await self.lifecycle.enter(operation)
                try:
                    self._store._need(operation)
                    pages = pages or start()
                    page = await self._store._with_timeout(anext(pages, None))
                except Exception as error:
                    raise self.failure(translated(self._store, error, operation), operation) from error
                finally:
                    self.lifecycle.leave(loop)
                if page is None:
                    return
                for name in page[:left]:
                    yield name
                left = None if left is None else left - len(page)
        finally:
            if isinstance(pages, AsyncGenerator):
                await pages.aclose()

    def failure(
        self, error: SatchelError, operation: str, collection: str | None = None, key: str | None = None
    ) -> SatchelError:
        """Return a separate error for a caller, which names the failed call."""
        own = error.again()
        if isinstance(own, StoreError):
            own.store, own.operation, own.collection, own.key = repr(self._store), operation, collection, key
        elif collection is not None:
            own.args = (f"{operation} of key {key!r} in collection {collection!r} of {self._store!r}: {error}",)
        return own

    async def _record(self, operation: str, ref: Ref, value: object, ttl: TTL | None) -> Record:
        now = self._store.clock()
        deadline = NEVER if ttl is None else deadline_after(ttl, now)
        try:
            return await self.serializer.record(value, now, deadline, self._store._embedded_ref(ref))
        except SatchelError as error:
            raise self.failure(error, operation, *ref) from error.__cause__
        except (RuntimeError, MemoryError) as error:
            raise self._used_up(error, operation, ref) from error

    def _used_up(self, error: Exception, operation: str, ref: Ref) -> Exception:
        """Return the error for a worker thread or memory that could not be had, or the error as it is."""
        failure = shortage(error)
        return error if failure is None else self.failure(failure, operation, *ref)

    async def _submit(self, operation: str, requests: list[Request]) -> Sequence[Any]:
        loop = self.lifecycle.begin(operation)
        try:
            return await self._send(operation, requests)
        finally:
            self.lifecycle.leave(loop)

    async def _send(self, operation: str, requests: list[Request]) -> Sequence[Any]:
        if not requests:
            return ()
        if not self.lifecycle.opened:
            await self._open_for(operation)
        queue = self._reads if requests[0].operation is Operation.READ else self._writes
        return await queue.submit(requests)

    async def _open_for(self, operation: str) -> None:
        await self.lifecycle.open()
        self._store._need(operation)  # opening may have shown that the backend lacks it

    def _is_live(self, record: Record) -> bool:
        return record.deadline == NEVER or record.deadline > self._store.clock()

    async def _change_part(
        self, operation: str, requests: list[Request], failed: dict[str, SatchelError], turns: Yielder
    ) -> int:
        """Send a part of a batch, note what failed, and return how many changes were done."""
        outcomes = await self._send(operation, requests)
        for request, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, SatchelError):
                failed[request.ref[1]] = self.failure(outcome, operation, *request.ref)
                await turns.after_item()
        if turns.over():
            await turns.pause()
        return sum([outcome is True for outcome in outcomes])

    def _refuse(self, operation: str, collection: str, failed: dict[str, SatchelError], count: int) -> None:
        if failed:
            raise batch_error(self._store, operation, collection, failed, count)

    def _make_queues(self) -> None:
        store = self._store
        max_reads = store._max_items if store._max_reads is None else store._max_reads
        makers = [
            partial(
                Coalescer,
                partial(send, store),
                max_inflight=store._max_inflight,
                max_items=max_items,
                max_bytes=store._max_bytes,
                shield=shield,
            )
            for max_items, shield in ((max_reads, False), (store._max_items, store._shield_writes))
        ]
        self._reads: Coalescer | CoalescerPerLoop
        self._writes: Coalescer | CoalescerPerLoop
        self._reads, self._writes = (CoalescerPerLoop(make) if store._any_loop else make() for make in makers)

    async def _first_deadline(self) -> float:
        try:
            return await self._store._first_deadline()
        except Exception as error:
            raise self.failure(translated(self._store, error, "cull"), "cull") from error

    async def _open(self) -> None:
        try:
            opening = self._store._open()
            await (opening if self._store._open_sets_own_timeouts else self._store._with_timeout(opening))
        except Exception as error:
            raise self.failure(translated(self._store, error, "open"), "open") from error
        self.reclaimer.start()

    async def _close(self) -> None:
        self.reclaimer.stop()
        said = f"{self._store!r} is closed"
        await self.watching.close(StoreClosedError(said, store=repr(self._store), operation="watch"))
        await self._writes.drained()
        await self._reads.drained()
        try:
            await self._store._close()
        except Exception as error:
            raise self.failure(translated(self._store, error, "aclose"), "aclose") from error

    def _discard(self) -> None:
        self.reclaimer.forget()
        self.watching.forget()
        self._make_queues()
        self._store._discard()

    def _disown(self, used: bool) -> str | None:
        if used:
            hold(self._reads, self._writes)
            self._make_queues()
            self.reclaimer.disown()
            self.watching.disown()
            self._store._disown()
        return self._store._lent
