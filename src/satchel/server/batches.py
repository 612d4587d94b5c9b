"""Batches: many operations in one request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal

import anyio
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.responses import Response

from .._threads import offload
from ..clock import TTL, seconds
from ..codec import LARGE
from ..entry import Entry
from ..errors import BatchError, SatchelError, SerializationError, ValueTooLargeError
from ..names import Ref, check_ref
from ..protocol import SupportsEverything
from .answers import JSON, RequestRefusedError, error_fields, invalid
from .entries import encoded
from .exchange import Exchange
from .fields import refuse_conditions, until

MAX_BATCH: Final = 1_000
_FIRST_READ: Final = 8
"""Number of entries that are read to learn how large they are."""
_MOST_READ: Final = 250

Moment = Annotated[datetime, Meta(tz=True)]


class BatchOperation(Struct, forbid_unknown_fields=True, frozen=True):
    """One operation of a batch, as `docs/rest.md` describes it."""

    op: Literal["get", "info", "exists", "put", "delete", "touch"]
    collection: str
    key: str
    value: Any = UNSET
    data: bytes | UnsetType = msgspec.field(name="bytes", default=UNSET)
    ttl: float | UnsetType | None = UNSET
    expires_at: Moment | UnsetType = UNSET
    if_absent: bool = False
    if_version: str | None = None

    @property
    def is_change(self) -> bool:
        """Whether it may change the entry."""
        return self.op in ("put", "delete", "touch")

    @property
    def content(self) -> Any:
        """The value of a put."""
        return self.value if self.data is UNSET else self.data

    def deadline(self) -> TTL | None:
        """Return the time to live; None for no expiry."""
        if self.expires_at is not UNSET:
            return until(self.expires_at)
        return None if self.ttl is UNSET else self.ttl

    def fault(self) -> str:
        """Return which fields do not go together; nothing if all do."""
        given = {name for name in ("value", "data", "ttl", "expires_at") if getattr(self, name) is not UNSET}
        given |= {"if_absent"} if self.if_absent else set()
        given |= set() if self.if_version is None else {"if_version"}
        allowed = _ALLOWED.get(self.op, frozenset())
        if not given <= allowed:
            return f"{self.op} does not take {_shown(given - allowed)}"
        if self.op == "put" and len(given & {"value", "data"}) != 1:
            return "put takes either value or bytes"
        if {"ttl", "expires_at"} <= given or {"if_absent", "if_version"} <= given:
            return f"{self.op} takes only one of ttl and expires_at, and one condition"
        if self.op == "touch" and not given:
            return "touch takes ttl or expires_at"
        return ""


_ALLOWED: Final[dict[str, frozenset[str]]] = {
    "put": frozenset({"value", "data", "ttl", "expires_at", "if_absent", "if_version"}),
    "delete": frozenset({"if_version"}),
    "touch": frozenset({"ttl", "expires_at"}),
}


def _shown(names: set[str]) -> str:
    return ", ".join(sorted("bytes" if name == "data" else name for name in names))


class Batch(Struct, forbid_unknown_fields=True, frozen=True):
    """The body of a request with many operations."""

    operations: list[BatchOperation]


class EntryFields(Struct, omit_defaults=False):
    """One entry in an answer."""

    version: str
    updated_at: datetime
    expires_at: datetime | None
    ttl: float | None
    size: int
    value: Any = UNSET
    data: Any = msgspec.field(name="bytes", default=UNSET)


_decoder: Final = msgspec.json.Decoder(Batch)
_encode: Final = msgspec.json.Encoder().encode


async def batch(store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `POST` of a batch."""
    exchange.query()
    refuse_conditions(exchange)
    if exchange.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise RequestRefusedError(415, "unsupported_media_type", f"send a batch with Content-Type: {JSON}")
    body = await exchange.body()
    operations = _parsed(body) if len(body) < LARGE else await offload(_parsed, body)
    _check(operations, store, exchange)
    run = _Run(store, operations, exchange.limits.max_body)
    await run.finish()
    content = {"results": run.results}
    encoded = _encode(content) if run.size + len(body) < LARGE else await offload(_encode, content)
    return Response(encoded, 200, media_type=JSON)


def _parsed(body: bytes) -> list[BatchOperation]:
    try:
        operations = _decoder.decode(body).operations
    except RecursionError:
        raise invalid("the batch is nested too deeply") from None
    except (ValueError, msgspec.MsgspecError) as error:  # in some releases neither is derived from the other
        raise invalid(f"the batch is malformed: {error}") from None
    if len(operations) > MAX_BATCH:
        raise invalid(f"a batch has at most {MAX_BATCH} operations, got {len(operations)}; send several")
    return operations


def _check(operations: Sequence[BatchOperation], store: SupportsEverything, exchange: Exchange) -> None:
    """Raise if anything is wrong with a batch as a whole."""
    seen: set[Ref] = set()
    with_id = "satchel-request-id" in exchange.headers
    for index, operation in enumerate(operations):
        try:
            if fault := operation.fault():
                raise invalid(fault)
            ref = check_ref(operation.collection, operation.key, store.max_key_bytes)
            exchange.access.check_collection(operation.collection)
            if operation.is_change:
                exchange.access.check_change()
            elif with_id:
                raise invalid("a batch with Satchel-Request-Id consists of changes; read in another one")
            if isinstance(operation.ttl, float | int):
                seconds(operation.ttl)
            if ref in seen:
                raise invalid("a batch names each entry once; send another batch")
            seen.add(ref)
        except (RequestRefusedError, SatchelError) as error:
            status, fields = error_fields(error)
            code, message = str(fields.pop("error")), f"operation {index}: {fields.pop('message')}"
            fields.pop("retryable")
            raise RequestRefusedError(status, code, message, None, **fields, index=index) from None


@dataclass
class _Run:
    """A batch that is being carried out.

    Attributes:
        store: The store.
        operations: The operations.
        room: Bytes of values that the answer may have.
        results: The results, in the order of the operations.
        size: Bytes of values that the answer has.
    """

    store: SupportsEverything
    operations: Sequence[BatchOperation]
    room: int
    results: list[object] = field(init=False)
    size: int = 0

    async def finish(self) -> None:
        """Carry out all operations."""
        self.results = [None] * len(self.operations)
        work = self._work()
        if len(work) == 1:
            await work[0]()
            return
        async with anyio.create_task_group() as group:
            for step in work:
                group.start_soon(step)

    def _work(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Return what is to be done: one step for all reads, one for the plain writes that go together."""
        reads: dict[str, list[int]] = defaultdict(list)
        writes: dict[tuple[str, float | None], list[int]] = defaultdict(list)
        work: list[Callable[[], Coroutine[Any, Any, None]]] = []
        for index, operation in enumerate(self.operations):
            if operation.op in ("get", "info"):
                reads[operation.collection].append(index)
            elif _is_plain(operation):
                writes[operation.collection, operation.ttl or None].append(index)
            else:
                work.append(partial(self._one, index))
        if reads:
            work.append(partial(self._read, reads))
        work += [partial(self._write, *group, indexes) for group, indexes in writes.items()]
        return work

    async def _read(self, reads: Mapping[str, list[int]]) -> None:
        """Read entries, few at a time, until the answer is full."""
        read = 0
        for collection, indexes in reads.items():
            start = 0
            while start < len(indexes):
                if self.size >= self.room:
                    for index in indexes[start:]:
                        self._fail(index, _full())
                    break
                average = max(1, self.size // read) if read else self.room // _FIRST_READ
                some = indexes[start : start + min(_MOST_READ, max(1, (self.room - self.size) // average))]
                start += len(some)
                read += len(some)
                await self._read_some(collection, some)

    async def _read_some(self, collection: str, indexes: list[int]) -> None:
        keys = [self.operations[index].key for index in indexes]
        found, failed = await _found(self.store, collection, keys)
        for index, key in zip(indexes, keys, strict=True):
            if key in failed:
                self._fail(index, failed[key])
            else:
                try:
                    self.results[index] = {"entry": await self._described(index, found.get(key))}
                except SerializationError as error:
                    self._fail(index, error)

    async def _described(self, index: int, entry: Entry | None) -> EntryFields | None:
        if entry is None:
            return None
        described = EntryFields(entry.version, entry.updated_at, entry.expires_at, entry.ttl, entry.size)
        if self.operations[index].op == "get":
            self.size += entry.size
            kind, body = await encoded(entry.value)
            if kind == JSON:
                described.value = msgspec.Raw(body)
            else:
                described.data = entry.value
        return described

    async def _write(self, collection: str, ttl: float | None, indexes: list[int]) -> None:
        """Put what has no condition."""
        items = {self.operations[index].key: self.operations[index].content for index in indexes}
        failed: Mapping[str, Exception] = {}
        try:
            await self.store.put_many(collection, items, ttl=ttl)
        except (SerializationError, ValueTooLargeError):  # nothing was written; each is told about its own value
            async with anyio.create_task_group() as group:
                for index in indexes:
                    group.start_soon(self._one, index)
            return
        except BatchError as error:
            failed = error.failed
        except SatchelError as error:
            failed = dict.fromkeys(items, error)
        for index in indexes:
            key = self.operations[index].key
            if key in failed:
                self._fail(index, failed[key])
            else:
                self.results[index] = _DONE

    async def _one(self, index: int) -> None:
        operation = self.operations[index]
        try:
            self.results[index] = await _carried_out(self.store, operation)
        except Exception as error:
            self._fail(index, error)

    def _fail(self, index: int, error: Exception) -> None:
        status, fields = error_fields(error)
        self.results[index] = {**fields, "status": status}


_DONE: Final[dict[str, object]] = {"done": True}


def _is_plain(operation: BatchOperation) -> bool:
    has_condition = operation.if_absent or operation.if_version is not None
    return operation.op == "put" and not has_condition and operation.expires_at is UNSET


async def _found(
    store: SupportsEverything, collection: str, keys: list[str]
) -> tuple[Mapping[str, Entry], Mapping[str, Exception]]:
    """Return the entries that could be read, and the errors of the keys that could not."""
    failed: dict[str, Exception] = {}
    try:
        return await store.get_entries(collection, keys), failed
    except BatchError as error:
        failed.update(error.failed)
    except SatchelError as error:
        failed.update(dict.fromkeys(keys, error))
    rest = [key for key in keys if key not in failed]
    try:
        return await store.get_entries(collection, rest), failed
    except SatchelError as error:
        return {}, failed | dict.fromkeys(rest, error)


async def _carried_out(store: SupportsEverything, operation: BatchOperation) -> dict[str, object]:
    collection, key, version = operation.collection, operation.key, operation.if_version
    ttl = operation.deadline()
    if operation.op == "exists":
        return {"done": await store.exists(collection, key)}
    if operation.op == "touch":
        return {"done": await store.touch(collection, key, ttl=ttl)}
    if operation.op == "delete":
        if version is None:
            return {"done": await store.delete(collection, key)}
        return {"done": await store.compare_and_delete(collection, key, version=version)}
    if operation.if_absent:
        return {"version": await store.put_if_absent(collection, key, operation.content, ttl=ttl)}
    if version is not None:
        new = await store.compare_and_put(collection, key, operation.content, version=version, ttl=ttl)
        return {"version": new}
    await store.put(collection, key, operation.content, ttl=ttl)
    return _DONE


def _full() -> RequestRefusedError:
    return RequestRefusedError(503, "answer_full", "the answer is full; ask for this entry in another batch")
