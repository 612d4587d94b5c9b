"""The file of an export: JSON lines, format 1, as `docs/format.md` describes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ..codec import UNDECODABLE, JsonCodec
from ..entry import Entry
from ..errors import ConfigurationError, SatchelError, SerializationError
from ..names import check_ref
from . import output

FORMAT = 1

_AT_ONCE = 500
_BATCH_BYTES = 4 << 20

Moment = Annotated[datetime, Meta(tz=True)]
Batch = dict[str, dict[str, Entry]]
"""Entries by collection and key."""


class ExportHeader(Struct, forbid_unknown_fields=True):
    """First line of an export."""

    format: int = msgspec.field(name="satchel-export")


class ExportedEntry(Struct, forbid_unknown_fields=True):
    """Line of an export that holds an entry."""

    collection: str
    key: str
    version: str
    updated_at: Moment
    expires_at: Moment | None = None
    value: Any = UNSET
    data: bytes | UnsetType = msgspec.field(name="bytes", default=UNSET)


class ExportEnd(Struct, forbid_unknown_fields=True):
    """Last line of an export: a file without it is incomplete."""

    entries: int


_header = msgspec.json.Decoder(ExportHeader)
_entry = msgspec.json.Decoder(ExportedEntry)
_end = msgspec.json.Decoder(ExportEnd)
_encode = msgspec.json.Encoder().encode


def first_line() -> bytes:
    """Return the line that begins an export."""
    return _encode(ExportHeader(FORMAT)) + b"\n"


def entry_line(collection: str, key: str, entry: Entry) -> bytes:
    """Return the line of an entry.

    Raises:
        SerializationError: The value cannot be represented in JSON.
    """
    return output.json_text(output.described(collection, key, entry)).encode() + b"\n"


def last_line(entries: int) -> bytes:
    """Return the line that ends an export, with its number of entries."""
    return _encode(ExportEnd(entries)) + b"\n"


def batches(file: BinaryIO, name: str, max_key_bytes: int) -> Iterator[Batch]:
    """Iterate over the entries of an export, in batches. This blocks: take each step in a worker thread.

    Args:
        file: The file, at its beginning.
        name: The name of the file in error messages.
        max_key_bytes: Maximum length of a key in the store.

    Raises:
        ConfigurationError: The file is not an export, is incomplete, or has an entry that cannot be stored.
    """
    reader = _Reader(name, max_key_bytes)
    batch: Batch = {}
    count = size = 0
    for number, line in enumerate(file, 1):
        found = reader.take(number, line)
        if found is None:
            continue
        collection, key, entry = found
        batch.setdefault(collection, {})[key] = entry
        count += 1
        size += len(line)
        if count >= _AT_ONCE or size >= _BATCH_BYTES:
            yield batch
            batch, count, size = {}, 0, 0
    reader.finish()
    yield batch


class _Reader:
    def __init__(self, name: str, max_key_bytes: int) -> None:
        self._name = name
        self._max_key_bytes = max_key_bytes
        self._entries = 0
        self._lines = 0
        self._ended = False
        self._check = JsonCodec().encode

    def take(self, number: int, line: bytes) -> tuple[str, str, Entry] | None:
        """Return the entry of a line, None for the first and the last line."""
        self._lines = number
        if self._ended:
            raise self._refusal("it comes after the last line of the export")
        if not line.endswith(b"\n"):
            raise self._refusal("the file ends in the middle of it: the export was interrupted; export again")
        if number == 1:
            self._take_header(line)
            return None
        if line.startswith(b'{"entries"'):
            self._take_end(line)
            return None
        self._entries += 1
        return self._taken(line)

    def finish(self) -> None:
        """Raise ConfigurationError if the file lacks its last line."""
        if not self._lines:
            raise ConfigurationError(f"{self._name} is empty: it is not an export")
        if not self._ended:
            raise ConfigurationError(
                f"{self._name} is incomplete: it ends after {self._entries} entries, without its last line; "
                "export again"
            )

    def _take_header(self, line: bytes) -> None:
        try:
            number = _header.decode(line).format
        except UNDECODABLE:
            raise self._refusal("this is not an export from satchel") from None
        if number != FORMAT:
            raise self._refusal(f"it has format {number}, but this release reads format {FORMAT}; upgrade satchel")

    def _take_end(self, line: bytes) -> None:
        try:
            entries = _end.decode(line).entries
        except UNDECODABLE:
            raise self._refusal("the last line is damaged") from None
        if entries != self._entries:
            raise self._refusal(f"the export has {self._entries} entries but should have {entries}: lines are missing")
        self._ended = True

    def _taken(self, line: bytes) -> tuple[str, str, Entry]:
        try:
            read = _entry.decode(line)
            updated_at = read.updated_at.astimezone(UTC)
            expires_at = None if read.expires_at is None else read.expires_at.astimezone(UTC)
        except UNDECODABLE:  # also a time that the calendar does not have in UTC; a message may show part of the value
            raise self._refusal("this is not an entry of an export") from None
        if (read.value is UNSET) is (read.data is UNSET):
            raise self._refusal("an entry must have either a value or bytes")
        try:
            collection, key = check_ref(read.collection, read.key, self._max_key_bytes)
            if read.data is UNSET:
                self._check(read.value)
        except SerializationError as error:
            raise self._refusal(f"the value cannot be stored: {error}") from None
        except SatchelError as error:
            raise self._refusal(str(error)) from None
        made = Entry(
            value=read.value if read.data is UNSET else read.data,
            version=read.version,
            updated_at=updated_at,
            expires_at=expires_at,
            ttl=None if expires_at is None else (expires_at - datetime.now(UTC)).total_seconds(),
            size=len(line),
        )
        return collection, key, made

    def _refusal(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self._name}, line {self._lines}: {what}")


def without_expired(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the entries that have not expired."""
    return {key: entry for key, entry in entries.items() if entry.ttl is None or entry.ttl > 0}
