"""The rows of a `DiskStore`'s entries: made from records, and read back with their checksums."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from ...backend.record import Record, checksum_of
from ...clock import NEVER
from ...errors import IntegrityError
from ...names import Ref

HUGE = 1024 * 1024
"""Size above which a value uses SQLite's incremental I/O, which releases the interpreter while bytes are copied."""
PAYLOAD = f"""CASE WHEN large IS NULL THEN payload
    WHEN size <= {HUGE} THEN (SELECT payload FROM satchel_payloads WHERE id = large) END"""  # noqa: S608  # a number
"""Column with the value of an entry, unless that is huge."""

_DAMAGED = "a stored entry is damaged: its checksums do not match"
_OVERHEAD = 100
_DOUBLE = struct.Struct(">d")


def record_of(ref: Ref, row: tuple[Any, ...] | None) -> Record | IntegrityError | None:
    """Return the record in a row, or an error for a damaged one."""
    if row is None:
        return None
    deadline, deadline_checksum, codec, version, updated_at, checksum, payload, _ = row
    try:
        if deadline is None:
            deadline, expected = NEVER, _NEVER[1]
        else:
            expected = zlib.crc32(_DOUBLE.pack(deadline))
        if (
            expected == deadline_checksum
            and type(payload) is type(version) is bytes
            and type(codec) is int
            and checksum_of(payload, codec, version, updated_at, ref) == checksum
        ):
            return Record(payload, codec, version.hex(), updated_at, deadline)
    except (TypeError, ValueError, struct.error):
        pass  # a column of the wrong type is as damaged as one with a wrong checksum
    return IntegrityError(_DAMAGED)


def head_of(row: tuple[Any, ...] | None) -> Record | IntegrityError | None:
    """Return the record in a row without its value, or an error for a damaged deadline."""
    if row is None:
        return None
    deadline, deadline_checksum, codec, version, updated_at, _ = row
    try:
        if deadline_columns(NEVER if deadline is None else deadline)[1] == deadline_checksum:
            return Record(b"", codec, version.hex(), updated_at, NEVER if deadline is None else deadline)
    except (AttributeError, TypeError, ValueError, struct.error):
        pass  # as above
    return IntegrityError(_DAMAGED)


def row_of(ref: Ref, record: Record, used: int, large: int | None) -> tuple[Any, ...]:
    """Return the row of a record.

    Args:
        ref: The name.
        record: The record.
        used: When it was last used, in nanoseconds since the Unix epoch.
        large: The id of its value in the other table; None if the value is in the row.
    """
    version = bytes.fromhex(record.version)
    checksum = checksum_of(record.payload, record.codec, version, record.updated_at, ref)
    payload = record.payload if large is None else None
    kept = (record.codec, version, record.updated_at, checksum, used, size_of(ref, record), large, payload)
    return (*ref, *deadline_columns(record.deadline), *kept)


def lies_apart(row: tuple[Any, ...] | None) -> bool:
    """Return whether the value is not in the row because it is too large."""
    return row is not None and row[-2] is None and row[-1] is not None


def size_of(ref: Ref, record: Record) -> int:
    """Return the size of an entry as `max_size` counts it, in bytes."""
    return len(record.payload) + len(ref[0].encode()) + len(ref[1].encode()) + _OVERHEAD


def deadline_columns(deadline: float) -> tuple[float | None, int]:
    """Return a deadline and its checksum."""
    return _NEVER if deadline == NEVER else (deadline, zlib.crc32(_DOUBLE.pack(deadline)))


_NEVER = (None, zlib.crc32(_DOUBLE.pack(NEVER)))


def name_of(column: bytes) -> str:
    """Return a name as text.

    Raises:
        IntegrityError: It is damaged.
    """
    try:
        return column.decode()
    except UnicodeDecodeError:
        raise IntegrityError("the name of a stored entry is damaged: it is not UTF-8") from None
