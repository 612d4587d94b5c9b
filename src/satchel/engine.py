"""`Engine`: how a base store's verbs are carried out, from checked names to the outcome for the caller.

It holds what one open store needs: the lifecycle, the queue of reads and the queue of writes (put, delete, touch and
conditional writes share one, or their order would be lost), the codec, and the amortized `cull`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .capability import Capability
from .clock import NEVER, TTL, as_datetime, deadline_after
from .coalesce import Coalescer, Operation, Request
from .codec import Codec
from .entry import Entry
from .envelope import Record
from .errors import BatchError, SatchelError, StoreClosedError, StoreError
from .lifecycle import Lifecycle
from .names import Ref
from .sending import send, translated
from .values import Values

if TYPE_CHECKING:
    from .base import BaseStore

T = TypeVar("T")

_CULL_AFTER_WRITES = 1000
_CULL_AFTER_SECONDS = 60.0

logger = logging.getLogger("satchel")


class Engine:
    """Carries out the verbs of one store over its hooks."""

    def __init__(self, store: BaseStore, codec: Codec | None) -> None:
        self._store = store
        self.values = Values(codec, sealed=store._sealed, max_bytes=store._max_value_bytes)
        self.lifecycle = Lifecycle(store.__repr__, open=self._open, close=self._close, abandon=self._abandon)
        self._expiring = 0
        self._culled_at = store.clock()
        self._make_queues()

    async def find(self, operation: str, ref: Ref, convert: Callable[[Record], Awaitable[T]]) -> tuple[T] | None:
        """Read one living entry; None when it is absent."""
        (outcome,) = await self._submit(operation, self._reads, [Request(Operation.READ, ref)])
        try:
            return await self._converted(outcome, convert)
        except SatchelError as error:
            raise self.failure(error, operation, *ref) from (error.__cause__ or error)

    async def find_many(
        self, operation: str, refs: list[Ref], convert: Callable[[Record], Awaitable[T]]
    ) -> dict[str, T]:
        """Read many entries of one collection; those that are absent are left out."""
        requests = [Request(Operation.READ, ref) for ref in refs]
        found: dict[str, T] = {}
        failed: dict[Ref, SatchelError] = {}
        for ref, outcome in zip(refs, await self._submit(operation, self._reads, requests), strict=True):
            try:
                value = await self._converted(outcome, convert)
            except SatchelError as error:
                failed[ref] = error
            else:
                if value is not None:
                    found[ref[1]] = value[0]
        self._refuse_failed(operation, failed, len(refs))
        return found

    async def change(self, operation: str, request: Request) -> Any:
        """Carry out one change, and return its outcome."""
        (outcome,) = await self._submit(operation, self._writes, [request])
        if isinstance(outcome, SatchelError):
            raise self.failure(outcome, operation, *request.ref) from (outcome.__cause__ or outcome)
        return outcome

    async def change_many(self, operation: str, requests: list[Request]) -> Sequence[Any]:
        """Carry out many changes in one collection, and return their outcomes."""
        outcomes = await self._submit(operation, self._writes, requests)
        self._refuse_failed(
            operation,
            {
                request.ref: outcome
                for request, outcome in zip(requests, outcomes, strict=True)
                if isinstance(outcome, SatchelError)
            },
            len(requests),
        )
        return outcomes

    async def administer(self, operation: str, work: Callable[[], Awaitable[T]]) -> T:
        """Carry out something that is not about single entries."""
        await self.lifecycle.enter(operation)
        try:
            return await work()
        except Exception as error:
            raise self.failure(translated(self._store, error, operation), operation) from error
        finally:
            self.lifecycle.leave()

    async def listing(
        self, operation: str, start: Callable[[], AsyncIterator[Sequence[str]]], limit: int | None
    ) -> AsyncIterator[str]:
        """Iterate over the names in a hook's pages. Only fetching a page counts as a call under way."""
        pages: AsyncIterator[Sequence[str]] | None = None
        left = limit
        while left is None or left > 0:
            await self.lifecycle.enter(operation)
            try:
                pages = pages or start()
                page = await anext(pages, None)
            except Exception as error:
                raise self.failure(translated(self._store, error, operation), operation) from error
            finally:
                self.lifecycle.leave()
            if page is None:
                return
            for name in page[:left]:
                yield name
            left = None if left is None else left - len(page)

    async def put_request(self, operation: str, ref: Ref, value: object, ttl: TTL | None) -> Request:
        """Return the request that puts a value: everything about it is checked here, before any I/O."""
        now = self._store.clock()
        deadline = deadline_after(ttl, now)
        try:
            record = await self.values.record(value, now, deadline, self._store._hidden_names(ref))
        except SatchelError as error:
            raise self.failure(error, operation, *ref) from error.__cause__
        return Request(Operation.PUT, ref, record, len(record.payload))

    async def presence(self, record: Record) -> bool:
        """Stand in for the value where only its being there counts."""
        return True

    async def entry(self, record: Record) -> Entry:
        """Return what callers see of a record."""
        expires = record.deadline != NEVER
        return Entry(
            value=await self.values.value(record),
            version=record.version,
            updated_at=as_datetime(record.updated_at),
            expires_at=as_datetime(record.deadline) if expires else None,
            ttl=record.deadline - self._store.clock() if expires else None,
            size=len(record.payload),
        )

    def failure(
        self, error: SatchelError, operation: str, collection: str | None = None, key: str | None = None
    ) -> SatchelError:
        """Return an error of the caller's own that says which call failed."""
        own = error.again()
        if isinstance(own, StoreError):
            own.store, own.operation, own.collection, own.key = repr(self._store), operation, collection, key
        elif collection is not None:
            own.args = (f"{operation} of key {key!r} in collection {collection!r} of {self._store!r}: {error}",)
        return own

    async def _submit(self, operation: str, queue: Coalescer, requests: list[Request]) -> Sequence[Any]:
        if not requests:
            self.lifecycle.check(operation)
            return ()
        await self.lifecycle.enter(operation)
        try:
            return await queue.submit(requests)
        finally:
            if queue is self._writes:
                self._cull_if_due(requests)
            self.lifecycle.leave()

    async def _converted(self, outcome: Any, convert: Callable[[Record], Awaitable[T]]) -> tuple[T] | None:
        if isinstance(outcome, SatchelError):
            raise outcome
        if outcome is None or outcome.deadline <= self._store.clock():
            return None
        return (await convert(outcome),)

    def _refuse_failed(self, operation: str, errors: dict[Ref, SatchelError], count: int) -> None:
        if not errors:
            return
        failed = {ref[1]: self.failure(error, operation, *ref) for ref, error in errors.items()}
        first = next(iter(failed.values()))
        raise BatchError(
            f"{operation}: {len(failed)} of {count} keys failed, the first with {type(first).__name__}: {first}",
            failed=failed,
            store=repr(self._store),
            operation=operation,
            collection=next(iter(errors))[0],
        ) from first

    def _make_queues(self) -> None:
        store = self._store

        async def carry_out(requests: list[Request]) -> Sequence[Any]:
            return await send(store, requests)

        self._reads, self._writes = (
            Coalescer(
                carry_out,
                max_inflight=store._max_inflight,
                max_items=store._max_items,
                max_bytes=store._max_bytes,
                shield=shield,
            )
            for shield in (False, store._shield_writes)
        )

    def _cull_if_due(self, requests: list[Request]) -> None:
        """Count writes with a ttl; now and then they pay for a `cull` in the background."""
        store, now = self._store, self._store.clock()
        self._expiring += sum(_sets_deadline(request) for request in requests)
        due = self._expiring >= _CULL_AFTER_WRITES or now - self._culled_at >= _CULL_AFTER_SECONDS
        if self._expiring and due and not store._culls_itself and Capability.CULL in store.capabilities:
            self._expiring, self._culled_at = 0, now
            self._writes.spawn(self._cull_quietly())

    async def _cull_quietly(self) -> None:
        try:
            await self.administer("cull", lambda: self._store._cull(self._store.clock()))
        except StoreClosedError:
            pass  # the next one to open it culls
        except SatchelError as error:
            logger.warning("%r could not reclaim expired entries: %s", self._store, error)

    async def _open(self) -> None:
        try:
            await self._store._open()
        except Exception as error:
            raise self.failure(translated(self._store, error, "open"), "open") from error

    async def _close(self) -> None:
        await self._writes.drained()
        await self._reads.drained()
        await self._store._close()

    def _abandon(self) -> None:
        self._make_queues()
        self._store._abandon()


def _sets_deadline(request: Request) -> bool:
    match request.operation:
        case Operation.PUT:
            return bool(request.argument.deadline != NEVER)
        case Operation.PUT_IF:
            return bool(request.argument[0].deadline != NEVER)
        case Operation.TOUCH:
            return bool(request.argument != NEVER)
    return False
