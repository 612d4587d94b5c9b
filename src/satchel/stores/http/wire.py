"""The operations of a batch and their results, as `docs/rest.md` has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from ...backend.hooks import UNPROCESSED, ChangeResult, PutIfResult, ReadResult, Unprocessed
from ...backend.record import Record
from ...clock import NEVER, as_datetime
from ...codec import RAW_BYTES, JsonCodec
from ...errors import IntegrityError, SatchelError
from ...names import Ref
from .errors import refusal

_UNSET = msgspec.UNSET
_HERE = Record(b"", RAW_BYTES, "", 0.0)
"""Head of an entry of which only the existence was asked for."""
_AROUND = 256
"""Bytes of an operation in JSON beside its names and its value, at most."""


class BatchItem(msgspec.Struct, omit_defaults=True):
    """One operation of a batch."""

    op: Literal["get", "exists", "put", "delete", "touch"]
    collection: str
    key: str
    value: msgspec.Raw | msgspec.UnsetType = _UNSET
    raw: bytes | msgspec.UnsetType = msgspec.field(name="bytes", default=_UNSET)
    expires_at: datetime | msgspec.UnsetType = _UNSET
    ttl: msgspec.UnsetType | None = _UNSET
    if_absent: bool = False
    if_version: str | msgspec.UnsetType = _UNSET


class EntryPart(msgspec.Struct):
    """Entry in the result of a read."""

    version: str
    updated_at: datetime
    expires_at: datetime | None = None
    value: msgspec.Raw | msgspec.UnsetType = _UNSET
    raw: bytes | msgspec.UnsetType = msgspec.field(name="bytes", default=_UNSET)


class Result(msgspec.Struct):
    """Result of one operation; which fields are there depends on the operation."""

    entry: EntryPart | None = None
    done: bool = False
    version: str | None = None
    error: str = ""
    message: str = ""
    retryable: bool = False
    retry_after: float = 0.0


class Results(msgspec.Struct):
    """Answer to a batch."""

    results: list[Result]


class ServerLimits(msgspec.Struct):
    """What a server takes at most: bytes of a body, operations of a batch, names of a page."""

    max_body: int
    max_batch: int
    max_page: int


class About(msgspec.Struct):
    """What a server can do."""

    capabilities: list[str]
    max_key_bytes: int
    max_value_bytes: int | None
    limits: ServerLimits


class Counts(msgspec.Struct):
    """Answer that is a number: of the entries there are, or of those that `cull` removed."""

    count: int = 0
    culled: int = 0


class Page(msgspec.Struct):
    """Page of a listing."""

    keys: list[str]
    next: str | None


class Changed(msgspec.Struct):
    """Change that the server reports; the key is None where it cannot tell which one it was."""

    key: str | None


class End(msgspec.Struct):
    """Last line of a streamed listing: the number of names, or an error."""

    end: int | None = None
    error: str = ""
    message: str = ""
    retryable: bool = False
    retry_after: float = 0.0


decode_results = msgspec.json.Decoder(Results).decode
decode_about = msgspec.json.Decoder(About).decode
decode_counts = msgspec.json.Decoder(Counts).decode
decode_changed = msgspec.json.Decoder(Changed).decode
decode_page = msgspec.json.Decoder(Page).decode
decode_lines = msgspec.json.Decoder(str | End).decode_lines
_encode = msgspec.json.Encoder().encode


def put(ref: Ref, record: Record, *, if_absent: bool = False, if_version: str | None = None) -> BatchItem:
    """Return the operation that stores a record, where a condition holds if there is one."""
    raw = record.codec == RAW_BYTES
    return BatchItem(
        "put",
        *ref,
        value=_UNSET if raw else msgspec.Raw(record.payload),
        raw=record.payload if raw else _UNSET,
        expires_at=_UNSET if record.deadline == NEVER else as_datetime(record.deadline),
        if_absent=if_absent,
        if_version=_UNSET if if_version is None else if_version,
    )


def touch(ref: Ref, deadline: float) -> BatchItem:
    """Return the operation that gives an entry a deadline."""
    if deadline == NEVER:
        return BatchItem("touch", *ref, ttl=None)
    return BatchItem("touch", *ref, expires_at=as_datetime(deadline))


def size_of(operation: BatchItem) -> int:
    """Return a bound on the bytes of an operation in JSON, where a character has at most six."""
    size = _AROUND + 6 * (len(operation.collection) + len(operation.key))
    if operation.raw is not _UNSET:
        return size + len(operation.raw) // 3 * 4 + 4
    return size + (0 if operation.value is _UNSET else len(memoryview(operation.value)))


def encode(operations: Sequence[BatchItem]) -> bytes:
    """Return the body of a batch."""
    return _encode({"operations": operations})


def fitting(sizes: Sequence[int], limits: ServerLimits) -> int:
    """Return how many of some operations a server takes in one request; the first one may be larger than it takes."""
    total = _AROUND
    for count, size in enumerate(sizes):
        total += size
        if count == limits.max_batch or (count and total > limits.max_body):
            return count
    return len(sizes)


def record_of(result: Result) -> ReadResult:
    """Return the outcome of a read."""
    if result.error:
        return failure_of(result)
    entry = result.entry
    if entry is None:
        return None
    deadline = NEVER if entry.expires_at is None else entry.expires_at.timestamp()
    if entry.raw is not _UNSET:
        return Record(entry.raw, RAW_BYTES, entry.version, entry.updated_at.timestamp(), deadline)
    if entry.value is _UNSET:
        return IntegrityError("the answer of the server has an entry without a value")
    return Record(bytes(entry.value), JsonCodec.number, entry.version, entry.updated_at.timestamp(), deadline)


def head_of(result: Result) -> ReadResult:
    """Return the outcome of a look whether there is an entry."""
    return failure_of(result) if result.error else _HERE if result.done else None


def done_of(result: Result) -> ChangeResult:
    """Return the outcome of a change."""
    return failure_of(result) if result.error else result.done


def version_of(result: Result) -> PutIfResult:
    """Return the outcome of a put: the new version of a conditional one."""
    return failure_of(result) if result.error else result.version or result.done


def failure_of(result: Result) -> SatchelError | Literal[Unprocessed.UNPROCESSED]:
    """Return the outcome of an operation that failed."""
    if result.error == "overloaded":
        return UNPROCESSED
    return refusal(result.error, result.message, retryable=result.retryable, retry_after=result.retry_after)
