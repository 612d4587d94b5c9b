"""The archive: a member for each entry, whose comment has everything of a record but its payload (`docs/format.md`).

The list of members at the end of an archive thus says which entries there are, when they expire and which versions they
have. A member itself is the encoded value, so that any program that unpacks archives gives JSON files.
"""

from __future__ import annotations

import binascii
import os
import zipfile
import zlib
from datetime import UTC, datetime
from typing import BinaryIO

from ...backend.record import Record, pack_in_two, unpack
from ...codec import JsonCodec
from ...errors import ConfigurationError, IntegrityError, SatchelError, StoreError, ValueTooLargeError
from ...names import SAFE, Escaping, Ref

MARK = b"satchel 1"
"""The comment of the archive: what wrote it, and the format."""

_JSON, _OTHER = ".json", ".bin"
_LONGEST = 255 - len(_JSON)
_DEVICES = ("com", "lpt")
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(name + digit for name in _DEVICES for digit in "0123456789¹²³")})
_ESCAPING = Escaping(SAFE, _LONGEST, True, _RESERVED)
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 1
_LARGEST_RATIO = 1032
"""Bytes that one byte of deflated data can become, at most."""
_SLACK = 1024
_FIRST_YEAR, _LAST_YEAR = 1980, 2107
_OWNER_ALONE = 0o600 << 16


def hidden(ref: Ref) -> Ref | None:
    """Return the names if the name of the member does not say them."""
    return ref if any(_ESCAPING.unescape(_ESCAPING.escape(name)) is None for name in ref) else None


def member(ref: Ref, record: Record) -> tuple[zipfile.ZipInfo, bytes]:
    """Return the member of an entry, and what is in it."""
    head, payload = pack_in_two(record.sealed(hidden(ref)))
    info = zipfile.ZipInfo(_name(ref, record), _moment(record.updated_at))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = _OWNER_ALONE
    info.create_system = 3  # Unix, whatever system this is
    info.file_size = len(payload)
    info.comment = binascii.b2a_base64(head, newline=False)
    return info, payload


class Archive:
    """Entries of an archive that is open. It belongs to one thread at a time.

    Args:
        path: The path of the archive.
        max_value_bytes: The largest value that is read.

    Raises:
        ConfigurationError: Another program wrote it, or a later release.
        IntegrityError: It is damaged.
        OSError: It cannot be read.
    """

    def __init__(self, path: str, max_value_bytes: int) -> None:
        self._path = path
        self._largest = max_value_bytes
        self.collections: dict[str, dict[str, Record]] = {}
        """The records without their payloads, by collection and key."""
        self._members: dict[Ref, zipfile.ZipInfo] = {}
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115, PTH123  # it is closed by `close`
        try:
            self._read_list()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def read(self, ref: Ref) -> Record | SatchelError | None:
        """Return the record of an entry, None if there is none, or the error of this entry alone."""
        info = self._members.get(ref)
        if info is None:
            return None
        if info.file_size > self._largest:
            return ValueTooLargeError(
                f"the value has {info.file_size} bytes, and max_value_bytes of this store is {self._largest}"
            )
        try:
            with self._zip.open(info) as content:
                payload = content.read(info.file_size)
                whole = not content.read(1)  # which also compares its checksum
        except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, zlib.error):
            return self._damaged("the value is damaged")
        if not whole or len(payload) != info.file_size:
            return self._damaged("the value is longer or shorter than the archive says")
        try:
            return unpack(binascii.a2b_base64(info.comment) + payload)
        except IntegrityError as error:
            return error

    def _read_list(self) -> None:
        self._size = os.fstat(self._file.fileno()).st_size
        try:
            self._zip = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
            raise self._damaged("it is no zip archive, its end is missing, or its list is damaged") from error
        if self._zip.comment != MARK:
            if self._zip.comment.startswith(MARK[:-1]):
                raise ConfigurationError(f"{self._path} has a format that this release does not read; upgrade satchel")
            raise ConfigurationError(f"{self._path} is a zip archive, but satchel did not write it")
        for info in self._zip.infolist():
            self._add(info)

    def _add(self, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
            raise self._damaged("a member is encrypted, or compressed in a way that satchel does not use")
        if not 0 <= info.header_offset < self._size:
            raise self._damaged("a member is not within the file")
        if info.file_size > info.compress_size * _LARGEST_RATIO + _SLACK:
            raise self._damaged("a member says that it unpacks to more than it can; it may be an attack")
        try:
            head = unpack(binascii.a2b_base64(info.comment, strict_mode=True), whole=False)
        except (IntegrityError, binascii.Error, ValueError):
            raise self._damaged("the header of an entry is damaged, or absent") from None
        ref = _ref_of(info.filename, head)
        if ref is None or _name(ref, head) != info.filename or ref in self._members:
            raise self._damaged("the name of a member is not that of its entry, or is there twice")
        self._members[ref] = info
        self.collections.setdefault(ref[0], {})[ref[1]] = head

    def _damaged(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self._path} is damaged: {what}")


def translate(error: OSError, path: str) -> SatchelError:
    """Return the satchel error for an archive that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{path} is not there; `write_zip` or `satchel export --zip` writes one")
    return StoreError(f"{path} cannot be read: {os.strerror(error.errno or 0)}")


def _name(ref: Ref, record: Record) -> str:
    suffix = _JSON if record.codec == JsonCodec.number else _OTHER
    return f"{_ESCAPING.escape(ref[0])}/{_ESCAPING.escape(ref[1])}{suffix}"


def _ref_of(name: str, head: Record) -> Ref | None:
    if head.names is not None:
        return head.names
    collection, _, file = name.partition("/")
    names = _ESCAPING.unescape(collection), _ESCAPING.unescape(file.rpartition(".")[0])
    return None if names[0] is None or names[1] is None else (names[0], names[1])


def _moment(updated_at: float) -> tuple[int, int, int, int, int, int]:
    """Return a time as members have it: in UTC, and within the years that they can have."""
    moment = datetime.fromtimestamp(updated_at, UTC)
    year = min(max(moment.year, _FIRST_YEAR), _LAST_YEAR)
    return (year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
