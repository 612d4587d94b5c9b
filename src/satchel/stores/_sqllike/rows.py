"""What stores over SQL tables share: the name of a table, and the form that names and records have in its rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from ...backend.record import Record
from ...errors import ConfigurationError, IntegrityError, safe_repr
from ...names import Ref

MAX_STORED_NAME = 1000
"""The most bytes of a name that are stored as they are. A row of an index has room for 2,704 bytes in PostgreSQL and
3,072 in MySQL, and holds two names."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,53}")  # with `_deadline` within PostgreSQL's 63 bytes


def table_parts(name: object) -> list[str]:
    """Return the parts of the name of a table: one, or the schema's and its own.

    Raises:
        ConfigurationError: It is no such name.
    """
    parts = name.split(".") if isinstance(name, str) else []
    if not 1 <= len(parts) <= 2 or not all(_IDENTIFIER.fullmatch(part) for part in parts):
        raise ConfigurationError(
            "table_name must be table or schema.table, each of at most 54 ASCII letters, digits and _, "
            f"and not a digit first; got {safe_repr(name)}"
        )
    return parts


def stored(name: str) -> bytes:
    """Return the form of a name in the table.

    Only the form of a long one, its beginning and its SHA-256, has more than `MAX_STORED_NAME` bytes, so that no two
    names have the same.
    """
    whole = name.encode()
    if len(whole) <= MAX_STORED_NAME:
        return whole
    return whole[:MAX_STORED_NAME] + hashlib.sha256(whole).digest()


def stored_ref(ref: Ref) -> tuple[bytes, bytes]:
    """Return the form of a collection and a key in the table."""
    return stored(ref[0]), stored(ref[1])


def is_hashed(ref: Ref) -> bool:
    """Return whether the table has a collection or a key in a form that does not give it back."""
    return any(len(name) * 4 > MAX_STORED_NAME and len(name.encode()) > MAX_STORED_NAME for name in ref)


def prefix_range(prefix: str) -> tuple[bytes, bytes]:
    """Return where the stored names that can begin with a prefix start, and what all of them sort before."""
    start = prefix.encode()[:MAX_STORED_NAME]
    # No byte of UTF-8 is 0xff, so that the last one can always be one more.
    return start, start[:-1] + bytes([start[-1] + 1]) if start else b"\xff"


def stored_version(version: str | None) -> bytes | None:
    """Return a version as it is stored; a text that is none of ours becomes one that no entry has."""
    if version is None:
        return None
    try:
        wire = bytes.fromhex(version)
    except ValueError:
        return b""
    return wire if wire.hex() == version else b""


def row_of(ref: Ref, record: Record) -> tuple[object, ...]:
    """Return an entry as a row: the stored names, then what `record_of` takes."""
    names = (None, None) if record.names is None else (record.names[0].encode(), record.names[1].encode())
    checksum = record.checksum if record.checksum is not None else record.checksum_with(record.names)
    version = bytes.fromhex(record.version)
    head = (*stored_ref(ref), record.codec, version, record.updated_at, record.deadline, checksum)
    return (*head, *names, record.payload)


def record_of(row: Sequence[object]) -> Record | IntegrityError:
    """Return the record in a row of the columns behind collection and key."""
    codec, version, updated_at, deadline, checksum, full_collection, full_key, payload = row
    names = None
    if full_collection is not None or full_key is not None:
        try:
            names = full_collection.decode(), full_key.decode()  # type: ignore[attr-defined]  # else it is damaged
        except (UnicodeDecodeError, AttributeError):
            return IntegrityError("a stored entry is damaged: its names cannot be read")
    return Record(payload, codec, version.hex(), updated_at, deadline, names, checksum)  # type: ignore[arg-type,attr-defined]  # the table's columns have these types


def name_of(short: bytes, full: bytes | None) -> str:
    """Return a name from the table."""
    try:
        return (short if full is None else full).decode()
    except UnicodeDecodeError:
        raise IntegrityError("the name of a stored entry is damaged: it is not UTF-8") from None
