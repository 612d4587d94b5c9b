"""`Engine`: how a base store's verbs are carried out, from checked names to the outcome for the caller.

It holds what one open store needs: the lifecycle, the queue of reads and the queue of writes (put, delete, touch and
conditional writes share one, or their order would be lost), the codec, and the amortized `cull`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
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
from .threads import Turns
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
        self._culling = False
        self._culled_at = store.clock()
        self._make_queues()

    async def find(self, operation: str, ref: Ref, convert: Callable[[Record], Awaitable[T]]) -> tuple[T] | None:
        """Read one living entry; None when it is absent."""
        (outcome,) = await self._submit(operation, [Request(Operation.READ, ref)])
        found = await self._converted(outcome, convert)
        if isinstance(found, SatchelError):
            raise self.failure(found, operation, *ref)
        return found

    async def find_many(
        self, operation: str, refs: list[Ref], convert: Callable[[Record], Awaitable[T]]
    ) -> dict[str, T]:
        """Read many entries of one collection; those that are absent are left out."""
        requests = [Request(Operation.READ, ref) for ref in refs]
        found: dict[str, T] = {}
        outcomes: list[Any] = []
        turns = Turns()
        for ref, outcome in zip(refs, await self._submit(operation, requests), strict=True):
            converted = await self._converted(outcome, convert)
            if isinstance(outcome, Record):
                await turns.after(len(outcome.payload))
            outcomes.append(converted)
            if isinstance(converted, tuple):
                found[ref[1]] = converted[0]
        self._refuse_failed(operation, requests, outcomes)
        return found

    async def change(self, operation: str, request: Request) -> Any:
        """Carry out one change, and return its outcome."""
        (outcome,) = await self._submit(operation, [request])
        if isinstance(outcome, SatchelError):
            raise self.failure(outcome, operation, *request.ref)
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
            (outcome,) = await self._send(operation, [request])
        finally:
            self.lifecycle.leave(loop)
        if isinstance(outcome, SatchelError):
            raise self.failure(outcome, operation, *ref)
        return None if outcome is False else record.version

    async def put_many(self, operation: str, items: list[tuple[Ref, object]], ttl: TTL | None) -> None:
        """Put many values in one collection."""
        loop = self.lifecycle.begin(operation)
        try:
            requests = []
            turns = Turns()
            for ref, value in items:
                record = await self._record(operation, ref, value, ttl)
                requests.append(Request(Operation.PUT, ref, record, len(record.payload)))
                await turns.after(len(record.payload))
            outcomes = await self._send(operation, requests)
        finally:
            self.lifecycle.leave(loop)
        self._refuse_failed(operation, requests, outcomes)

    async def delete_many(self, operation: str, refs: list[Ref]) -> int:
        """Remove many entries of one collection, and return how many were there."""
        requests = [Request(Operation.DELETE, ref) for ref in refs]
        outcomes = await self._submit(operation, requests)
        self._refuse_failed(operation, requests, outcomes)
        return sum(outcome is True for outcome in outcomes)

    async def administer(self, operation: str, work: Callable[[], Awaitable[T]], *, settle: bool = False) -> T:
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
                    page = await anext(pages, None)
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

    async def _record(self, operation: str, ref: Ref, value: object, ttl: TTL | None) -> Record:
        now = self._store.clock()
        deadline = deadline_after(ttl, now)
        try:
            return await self.values.record(value, now, deadline, self._store._hidden_names(ref))
        except SatchelError as error:
            raise self.failure(error, operation, *ref) from error.__cause__

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
            await self.lifecycle.open()
            self._store._need(operation)  # opening may have shown that the backend lacks it
        if requests[0].operation is Operation.READ:
            return await self._reads.submit(requests)
        outcomes = await self._writes.submit(requests)
        if not self._store._culls_itself:
            self._cull_if_due(requests)
        return outcomes

    async def _converted(
        self, outcome: Any, convert: Callable[[Record], Awaitable[T]]
    ) -> tuple[T] | SatchelError | None:
        if isinstance(outcome, SatchelError):
            return outcome
        if outcome is None or outcome.deadline <= self._store.clock():
            return None
        try:
            return (await convert(outcome),)
        except SatchelError as error:
            return error

    def _refuse_failed(self, operation: str, requests: list[Request], outcomes: Sequence[Any]) -> None:
        errors = {
            request.ref: outcome
            for request, outcome in zip(requests, outcomes, strict=True)
            if isinstance(outcome, SatchelError)
        }
        if not errors:
            return
        failed = {ref[1]: self.failure(error, operation, *ref) for ref, error in errors.items()}
        first = next(iter(failed.values()))
        raise BatchError(
            f"{operation}: {len(failed)} of {len(requests)} keys failed, one with {type(first).__name__}: {first}",
            failed=failed,
            store=repr(self._store),
            operation=operation,
            collection=next(iter(errors))[0],
        ) from first

    def _make_queues(self) -> None:
        store = self._store
        self._reads, self._writes = (
            Coalescer(
                partial(send, store),
                max_inflight=store._max_inflight,
                max_items=store._max_items,
                max_bytes=store._max_bytes,
                shield=shield,
            )
            for shield in (False, store._shield_writes)
        )

    def _cull_if_due(self, requests: list[Request]) -> None:
        """Count writes with a deadline; now and then they pay for a `cull` in the background."""
        store = self._store
        self._expiring += sum([_sets_deadline(request) for request in requests])
        if not self._expiring or self._culling:
            return
        due = self._expiring >= _CULL_AFTER_WRITES or store.clock() - self._culled_at >= _CULL_AFTER_SECONDS
        if due and Capability.CULL in store.capabilities:
            self._culling = True
            self._writes.spawn(self._cull()).add_done_callback(self._culled)

    async def _cull(self) -> None:
        try:
            await self.administer("cull", lambda: self._store._cull(self._store.clock()))
        except StoreClosedError:
            pass  # the next one to open it culls
        except SatchelError as error:
            logger.warning("%r could not reclaim expired entries: %s", self._store, error)

    def _culled(self, _task: object) -> None:
        self._culling, self._expiring, self._culled_at = False, 0, self._store.clock()

    async def _open(self) -> None:
        try:
            await self._store._open()
        except Exception as error:
            raise self.failure(translated(self._store, error, "open"), "open") from error

    async def _close(self) -> None:
        await self._writes.drained()
        await self._reads.drained()
        try:
            await self._store._close()
        except Exception as error:
            raise self.failure(translated(self._store, error, "aclose"), "aclose") from error

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
