"""The readable file of an entry, `{key}.json`: how a record is written in it, and how it is read after a person's edit.

FileTreeStore and GitStore have it in common.

Format 1, indented JSON in UTF-8 (`docs/stores/filetree.md` has it in full, `tests/golden/filetree` keeps it):

```text
{
  "satchel": 1,                  the format
  "expires_at": null,            ISO 8601, or null for never
  "collection": "users",
  "key": "ada",
  "version": "...",              32 hexadecimal digits
  "updated_at": "...",           when the value was put
  "saved_at": "...",             when this file was written; the file's modification time is set to exactly this
  "checksum": "...",             CRC-32 as in the envelope, 8 hexadecimal digits
  "value": ...
}
```

A file whose modification time is not `saved_at` was edited by hand. Then `satchel`, `expires_at` and `value` alone
count: the version is derived from the file's bytes and its modification time, which also is when it was updated.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime

import msgspec

from ..backend.record import Record
from ..clock import NEVER
from ..codec import JsonCodec
from ..errors import IntegrityError, SerializationError
from ..names import Ref

FORMAT = 1
_SECOND = 10**9
"""Nanoseconds in a second."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXT = rb'("(?:[^"\\]|\\.)*")\s*,\s*'
_HEAD = re.compile(
    rb'\s*\{\s*"satchel"\s*:\s*1\s*,\s*"expires_at"\s*:\s*(null|"[^"\\]*")\s*,\s*'
    rb'(?:"collection"\s*:\s*' + _TEXT + rb'"key"\s*:\s*' + _TEXT + rb")?"
)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)?")
_VERSION = re.compile("[0-9a-f]{32}")
_CHECKSUM = re.compile("[0-9a-f]{8}")

_codec = JsonCodec()


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    satchel: int
    value: msgspec.Raw
    expires_at: str | None = None
    collection: str | None = None
    key: str | None = None
    version: str | None = None
    updated_at: str | None = None
    saved_at: str | None = None
    checksum: str | None = None


class _Written(msgspec.Struct):
    satchel: int
    expires_at: str | None
    collection: str
    key: str
    version: str
    updated_at: str
    saved_at: str
    checksum: str
    value: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Document).decode


class Head(msgspec.Struct, frozen=True, gc=False):
    """Beginning of an entry's file: names, version and times.

    Attributes:
        deadline: Seconds since the Unix epoch, `NEVER` without one.
        names: The collection and key, if the file contains them.
        marked: Whether the file is marked as an entry; otherwise it may belong to another program.
        readable: Whether it can be read at all.
        version: The version of the entry, where the beginning tells it: a JSON file that a person edited has one that
            is made of the whole file.
    """

    deadline: float
    names: Ref | None = None
    marked: bool = True
    readable: bool = True
    version: str | None = None


UNREADABLE = Head(NEVER, marked=False, readable=False)
"""The head of a file that cannot be read as an entry."""


def write_document(ref: Ref, record: Record, saved_at: int) -> bytes:
    """Return the file of a sealed record with a JSON payload; `saved_at` is in nanoseconds since the Unix epoch."""
    document = _Written(
        satchel=FORMAT,
        expires_at=None if record.deadline == NEVER else _from_seconds(record.deadline),
        collection=ref[0],
        key=ref[1],
        version=record.version,
        updated_at=_from_seconds(record.updated_at),
        saved_at=_from_nanoseconds(saved_at),
        checksum=f"{record.checksum:08x}",
        value=msgspec.Raw(record.payload),
    )
    return msgspec.json.format(_encode(document), indent=2) + b"\n"


def read_document(ref: Ref, data: bytes, modified_at: int) -> Record:
    """Return the record in a file.

    Args:
        ref: The names that lead to this file.
        data: Its content.
        modified_at: The file's modification time in nanoseconds since the Unix epoch.

    Raises:
        IntegrityError: It is not an entry, or a damaged one.
    """
    document = _parse(data)
    deadline = _deadline(document)
    if (document.collection, document.key) == ref and document.saved_at == _from_nanoseconds(modified_at):
        record = _as_written(ref, document, deadline)
        if record is not None:
            return record
    origin = hashlib.blake2b(data, digest_size=16, salt=modified_at.to_bytes(16, "big", signed=True))
    return Record(_payload(document), JsonCodec.number, origin.hexdigest(), modified_at / _SECOND, deadline).sealed(ref)


def read_committed_document(ref: Ref, data: bytes) -> Record:
    """Return the record in a file of which no modification time is kept; the checksum tells an edit by hand.

    After an edit the version is derived from the file's bytes, and `updated_at` is as the file says.

    Args:
        ref: The names that lead to this file.
        data: Its content.

    Raises:
        IntegrityError: It is not an entry.
    """
    document = _parse(data)
    deadline = _deadline(document)
    if (document.collection, document.key) == ref:
        record = _as_written(ref, document, deadline)
        if record is not None and record.checksum == record.checksum_with(ref):
            return msgspec.structs.replace(record, checksum=None)
    try:
        updated_at = _seconds(document.updated_at)
    except ValueError:
        updated_at = 0.0
    origin = hashlib.blake2b(data, digest_size=16)
    return Record(_payload(document), JsonCodec.number, origin.hexdigest(), updated_at, deadline)


def read_head(data: bytes) -> Head | None:
    """Return the head in the beginning of a file; None if that takes the whole file."""
    found = _HEAD.match(data)
    if found is None:
        return None
    expires_at, collection, key = found.groups()
    try:
        names = None if key is None else (msgspec.json.decode(collection, type=str), msgspec.json.decode(key, type=str))
        names = names if names is not None and all(names) else None
        return Head(NEVER if expires_at == b"null" else _seconds(expires_at[1:-1].decode()), names)
    except (ValueError, msgspec.MsgspecError):
        return None


def head_of_document(data: bytes) -> Head:
    """Return the head of a whole file, whatever the order of its fields."""
    try:
        document = _parse(data)
        names = (document.collection, document.key) if document.collection and document.key else None
        return Head(_deadline(document), names)
    except IntegrityError:
        return UNREADABLE


def nanoseconds(moment: float) -> int:
    """Return seconds as whole nanoseconds."""
    fraction, whole = math.modf(moment)
    return int(whole) * _SECOND + round(fraction * _SECOND)


def _parse(data: bytes) -> _Document:
    try:
        document = _decode(data.removeprefix(_BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(str(error) if isinstance(error, msgspec.MsgspecError) else "it is not JSON") from None
    if document.satchel != FORMAT:
        raise _unreadable(f"it has format {document.satchel}, this release reads format {FORMAT}")
    return document


def _payload(document: _Document) -> bytes:
    """Return the value of a file that was edited by hand, encoded."""
    try:
        return _codec.encode(_codec.decode(document.value))
    except (msgspec.MsgspecError, UnicodeDecodeError, SerializationError, RecursionError) as error:
        said = f": {error}" if isinstance(error, SerializationError) else ""
        raise _unreadable(f"its value is not one that put accepts{said}") from None


def _deadline(document: _Document) -> float:
    if document.expires_at is None:
        return NEVER
    try:
        return _seconds(document.expires_at)
    except ValueError:
        raise _unreadable("its expires_at is not an ISO 8601 time such as 2030-01-31T12:00:00Z, or null") from None


def _as_written(ref: Ref, document: _Document, deadline: float) -> Record | None:
    """Return the record as the store wrote it; None when its header has something that the store does not write."""
    version, checksum = str(document.version), str(document.checksum)
    if not (_VERSION.fullmatch(version) and _CHECKSUM.fullmatch(checksum)):
        return None
    try:
        updated_at = _seconds(document.updated_at)
    except ValueError:
        return None
    payload = msgspec.json.format(bytes(document.value), indent=-1)
    return Record(payload, JsonCodec.number, version, updated_at, deadline, ref, int(checksum, 16))


def _from_nanoseconds(moment: int) -> str:
    return _written(moment // _SECOND, f"{moment % _SECOND:09d}")


def _from_seconds(moment: float) -> str:
    """Write a time with the digits that restore exactly this float."""
    digits = repr(moment)
    return _written(int(moment), "0" if "e" in digits else digits.partition(".")[2])


def _written(whole: int, digits: str) -> str:
    return f"{datetime.fromtimestamp(whole, UTC).isoformat()[:19]}.{digits}Z"


def _seconds(text: str | None) -> float:
    whole, digits = _split(str(text))
    return float(f"{whole}.{digits}")


def _split(text: str) -> tuple[int, str]:
    """Return the whole seconds since the Unix epoch and the digits of the fraction. A time without a zone is UTC."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    date_and_time, digits, zone = found.groups()
    moment = datetime.fromisoformat(date_and_time + ("" if zone in {None, "Z"} else zone))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()), digits or "0"


def _unreadable(why: str) -> IntegrityError:
    return IntegrityError(f"its file cannot be read as an entry, correct or delete it: {why}")
