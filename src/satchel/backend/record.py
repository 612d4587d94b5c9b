"""`Record`, an encoded value with its header, and the form it has on the wire of byte backends.

Format 1, all numbers big-endian (`docs/format.md` has it with examples, `tests/golden` keeps it from changing):

```text
offset size
0      2    magic: 0x89 "S"
2      1    format: 1
3      1    codec: 0 bytes, 1 JSON, 2 MessagePack, 3 signed pickle, 128-255 custom
4      1    flags: bit 0 set when the names follow the header
5      1    reserved, 0
6      16   version
22     8    updated_at: IEEE 754 double, seconds since the Unix epoch
30     8    deadline: the same; positive infinity for never
38     4    CRC-32 of the deadline
42     4    CRC-32 of bytes 0 to 29 and of everything from byte 46
46     ..   names (if flagged): 2-byte length and UTF-8 of the collection, then of the key
..     ..   payload
```

A touch replaces bytes 30 to 41 alone.
"""

from __future__ import annotations

import itertools
import os
import struct
import zlib
from collections.abc import Sequence
from typing import Literal, NoReturn

import msgspec

from .._forks import at_fork
from ..clock import NEVER
from ..codec import LARGE
from ..errors import IntegrityError, SatchelError
from ..names import MAX_NAME_BYTES, Ref

FORMAT = 1
HEADER_SIZE = 46
DEADLINE_OFFSET = 30

_MAGIC = b"\x89S"
_HAS_NAMES = 1
_FIXED = struct.Struct(">2sBBBB16sd")
_DEADLINE = struct.Struct(">d")
_CRC = struct.Struct(">I")
_CRCS = struct.Struct(">II")
_HEADER = struct.Struct(">2sBBBB16sddII")
_LENGTH = struct.Struct(">H")

Checksums = Literal["record", "wire", "none"]
"""Where the checksum of a backend's records is made: in the record, by `pack`, or nowhere."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """Encoded value with its header as plain numbers. Backends see this; callers see `Entry`.

    Attributes:
        payload: The encoded value.
        codec: The number of the codec that encoded it.
        version: 32 hexadecimal digits that identify the write.
        updated_at: Seconds since the Unix epoch.
        deadline: Seconds since the Unix epoch, `NEVER` without one.
        names: The collection and key, if the backend cannot restore them.
        checksum: CRC-32 of all but the deadline; None where it was not made, or has been checked.
    """

    payload: bytes
    codec: int
    version: str
    updated_at: float
    deadline: float = NEVER
    names: Ref | None = None
    checksum: int | None = None

    def sealed(self, names: Ref | None = None) -> Record:
        """Return this record with names, if given, and with its checksum."""
        return msgspec.structs.replace(self, names=names, checksum=self.checksum_with(names))

    def checksum_with(self, names: Ref | None) -> int:
        """Return the checksum that this record has with names."""
        fixed = _fixed_part(self, names)
        return zlib.crc32(self.payload, zlib.crc32(fixed if names is None else fixed + _names_part(names)))

    def verify(self) -> None:
        """Check the payload and the fixed part against the checksum, if there is one.

        Raises:
            IntegrityError: They do not match.
        """
        if self.checksum is None:
            return
        try:
            checksum = self.checksum_with(self.names)
        except (struct.error, ValueError):
            _damaged("its header has a value that none can have")
        if checksum != self.checksum:
            _damaged("its checksum does not match")


def pack(record: Record) -> bytes:
    """Return a record in its form on the wire, sealed if it is not yet."""
    names = b"" if record.names is None else _names_part(record.names)
    fixed, deadline = _fixed_part(record, record.names), _DEADLINE.pack(record.deadline)
    checksum = record.checksum
    if checksum is None:
        checksum = zlib.crc32(record.payload, zlib.crc32(names, zlib.crc32(fixed)))
    return b"".join((fixed, deadline, _CRCS.pack(zlib.crc32(deadline), checksum), names, record.payload))


def pack_in_two(record: Record) -> tuple[bytes, bytes]:
    """Return what `pack` does as header and payload: no copy is made of a large one."""
    sealed = record if record.checksum is not None else record.sealed(record.names)
    return pack(msgspec.structs.replace(sealed, payload=b"")), record.payload


def pack_deadline(deadline: float) -> bytes:
    """Return the 12 bytes that a touch puts at `DEADLINE_OFFSET`."""
    packed = _DEADLINE.pack(deadline)
    return packed + _CRC.pack(zlib.crc32(packed))


def unpack(wire: bytes, *, whole: bool = True) -> Record:
    """Return the record in bytes from a backend, verified if it is small; the base verifies large ones in a thread.

    Args:
        wire: What the backend has, or the beginning of it.
        whole: It is all. Of a beginning, the header is right and the payload is not.

    Raises:
        IntegrityError: The bytes are not an entry of satchel's, or are damaged.
    """
    if len(wire) < HEADER_SIZE:
        _damaged(f"{len(wire)} bytes are too few for an entry")
    head = _HEADER.unpack_from(wire)
    magic, number, codec, flags, reserved, version, updated_at, deadline, deadline_checksum, checksum = head
    if magic != _MAGIC:
        _damaged("it does not start as an entry of satchel's does; something else wrote it")
    if number != FORMAT or flags & ~_HAS_NAMES or reserved:
        _damaged(
            f"it has format {number} with flags {flags}, this release reads format {FORMAT} with flags 0 and 1; "
            "if a newer release wrote it, upgrade this one"
        )
    if zlib.crc32(wire[DEADLINE_OFFSET : DEADLINE_OFFSET + 8]) != deadline_checksum:
        _damaged("the checksum of its deadline does not match")
    names, start = _read_names(wire) if flags else (None, HEADER_SIZE)
    body = wire[HEADER_SIZE:]
    if whole and len(wire) < LARGE:
        if zlib.crc32(body, zlib.crc32(wire[:DEADLINE_OFFSET])) != checksum:
            _damaged("its checksum does not match")
        checksum = None
    payload = body if names is None else wire[start:]
    return Record(payload, codec, version.hex(), updated_at, deadline, names, checksum)


def unpack_pieces(pieces: Sequence[bytes]) -> Record:
    """Return the record in a long wire that came in pieces, not verified; call it in a worker thread.

    To join large `bytes` leaves the interpreter to other threads, to cut the header off them does not.

    Args:
        pieces: In their order; the first one holds the header and the names.

    Raises:
        IntegrityError: The bytes are not an entry of satchel's, or the header is damaged.
    """
    record = unpack(pieces[0], whole=False)
    return msgspec.structs.replace(record, payload=b"".join((record.payload, *pieces[1:])))


def unpack_outcome(wire: bytes | None, *, whole: bool = True) -> Record | SatchelError | None:
    """Return what `_read` gives for one item: the record, None for nothing there, an error for a damaged one."""
    try:
        return None if wire is None else unpack(wire, whole=whole)
    except IntegrityError as error:
        return error


def checksum_of(payload: bytes, codec: int, version: bytes, updated_at: float, names: Ref) -> int:
    """Return the checksum of a record with names, from its parts: what `sealed` makes, without making a record.

    Raises:
        ValueError, struct.error: A part has a value that none can have.
    """
    fixed = _FIXED.pack(_MAGIC, FORMAT, codec, _HAS_NAMES, 0, version, updated_at)
    return zlib.crc32(payload, zlib.crc32(_names_part(names), zlib.crc32(fixed)))


def _fixed_part(record: Record, names: Ref | None) -> bytes:
    flags = 0 if names is None else _HAS_NAMES
    return _FIXED.pack(_MAGIC, FORMAT, record.codec, flags, 0, bytes.fromhex(record.version), record.updated_at)


def _names_part(names: Ref) -> bytes:
    collection, key = names[0].encode(), names[1].encode()
    return b"".join((_LENGTH.pack(len(collection)), collection, _LENGTH.pack(len(key)), key))


def _read_names(wire: bytes) -> tuple[Ref, int]:
    position, names = HEADER_SIZE, []
    try:
        for _ in range(2):
            (length,) = _LENGTH.unpack_from(wire, position)
            if not 0 < length <= MAX_NAME_BYTES:
                _damaged("its names are none that an entry can have")
            position += _LENGTH.size + length
            names.append(wire[position - length : position].decode())
    except (struct.error, UnicodeDecodeError):
        _damaged("its names cannot be read")
    if position > len(wire):
        _damaged("it ends within its names")
    return (names[0], names[1]), position


def _damaged(what: str) -> NoReturn:
    raise IntegrityError(f"a stored entry is damaged or not satchel's: {what}")


class _Versions:
    """Source of versions that no other process makes: 8 random bytes for each process, then a counter."""

    def __init__(self) -> None:
        self.renew()
        at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self._process = os.urandom(8).hex()
        self._next = itertools.count().__next__

    def __call__(self) -> str:
        return "%s%016x" % (self._process, self._next())  # noqa: UP031  # faster than an f-string here


new_version = _Versions()
"""Returns a version that no other write has."""
