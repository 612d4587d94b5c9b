"""How entries are kept in a bucket: `$KV.{bucket}.{collection}.{key}`, the value as the message, the rest in a header.

Each name is one token of the subject. Letters, digits and `-_/` stay; every other UTF-8 byte becomes `=` and two
hexadecimal digits, so that NATS's own tools accept the keys. A name that would be too long is hashed, and the header
then has both names.
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache

from ...backend.record import Record, pack, pack_in_two, unpack
from ...codec import LARGE
from ...errors import ConfigurationError, IntegrityError, safe_repr
from ...names import SAFE, Escaping, Ref

HEADER = "Satchel"
"""The header of a message with everything of a record but its payload: the envelope, in base64."""
ROOM = 16 * 1024
"""Bytes of a message that are left to its headers: two names of 4,096 bytes, in base64, fit."""

_ESCAPING = Escaping((SAFE - {"."}) | {"/"})
_ALL = "=="  # an escape has two digits behind it
_HASHED = "=-"
_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Layout:
    """Mapping of names to the subjects of messages, and back.

    Args:
        bucket: The name of the bucket.

    Raises:
        ConfigurationError: The name is not one that NATS takes.
    """

    def __init__(self, bucket: object) -> None:
        if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
            raise ConfigurationError(
                f"bucket must be 1 to 200 letters, digits, - and _, as NATS takes them; got {safe_repr(bucket)}"
            )
        self.bucket = bucket
        self.stream = f"KV_{bucket}"
        self.root = f"$KV.{bucket}."
        self.every = f"{self.root}*.*"

    def subject(self, ref: Ref) -> str:
        """Return the subject of an entry."""
        return f"{self.root}{_escape(ref[0])}.{_escape(ref[1])}"

    def of_collection(self, collection: str) -> str:
        """Return the subject that matches all entries of a collection."""
        return f"{self.root}{_escape(collection)}.*"

    def of_destroyed(self, collection: str | None) -> str:
        """Return the subject of the mark of a destroyed collection, or of the whole store; no entry has it."""
        return f"{self.root}{_ALL if collection is None else _escape(collection)}"

    def hidden(self, ref: Ref) -> Ref | None:
        """Return the names if the subject does not say them."""
        return ref if _HASHED in _escape(ref[0]) or _HASHED in _escape(ref[1]) else None

    def is_of_destroyed(self, subject: str) -> bool:
        """Return whether a subject is one of `of_destroyed`."""
        return "." not in subject.removeprefix(self.root)

    def destroyed(self, subject: str, record: Record | None) -> str | None:
        """Return the collection that a mark says was destroyed; None for all, or if it cannot be told."""
        token = subject.removeprefix(self.root)
        if token == _ALL:
            return None
        return _unescape(token) or (None if record is None or record.names is None else record.names[0])

    def ref_of(self, subject: str, record: Record | None) -> Ref | None:
        """Return the names of an entry, or of its mark; None if they are not known, or not those of the subject."""
        if record is not None and record.names is not None:
            return record.names if self.subject(record.names) == subject else None
        collection, _, key = subject.removeprefix(self.root).partition(".")
        names = _unescape(collection), _unescape(key)
        return None if names[0] is None or names[1] is None else (names[0], names[1])


def encode(record: Record) -> tuple[str, bytes]:
    """Return a record as the header and the data of a message."""
    if len(record.payload) >= LARGE:
        head, payload = pack_in_two(record)
    else:
        wire = pack(record)
        head, payload = wire[: len(wire) - len(record.payload)], record.payload
    return binascii.b2a_base64(head, newline=False).decode(), payload


def decode(header: str | None, payload: bytes, *, whole: bool = True) -> Record:
    """Return the record in a message, verified if it is small.

    Args:
        header: The message's `Satchel` header.
        payload: Its data; nothing if only headers were asked for.
        whole: The payload is there.

    Raises:
        IntegrityError: It is not an entry of satchel's, or is damaged.
    """
    if header is None:
        raise IntegrityError(
            "a stored entry is damaged or not satchel's: it has no Satchel header; something else wrote it"
        )
    try:
        head = binascii.a2b_base64(header, strict_mode=True)
    except (binascii.Error, ValueError):
        raise IntegrityError("a stored entry is damaged: its Satchel header is not base64") from None
    return unpack(head + payload if payload else head, whole=whole)


@lru_cache(1024)
def _escape(name: str) -> str:
    return _ESCAPING.escape(name).replace("%", "=")


def _unescape(token: str) -> str | None:
    return None if "%" in token else _ESCAPING.unescape(token.replace("=", "%"))
