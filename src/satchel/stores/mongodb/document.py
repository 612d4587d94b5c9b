"""The document of an entry in MongoDB, and the names in its `_id`.

Format 1 (`docs/stores/mongodb.md` explains it, `tests/golden/mongodb` keeps it):

```text
{
  _id: "users/ada",            collection and key; "%" and "/" in the collection are written "%25" and "%2f"
  satchel: 1,                  the format
  version: "...",              32 hexadecimal digits
  updated_at: 1700000000.25,   seconds since the Unix epoch
  deadline: Infinity,          the same; Infinity for never
  expire_at: ISODate("..."),   the deadline for the TTL index, rounded up to milliseconds; absent for never
  codec: 1,                    as in the envelope: 0 bytes, 1 JSON, ..
  checksum: 4177623885,        CRC-32 as in the envelope
  value: {name: "Ada"}         a JSON value as BSON, where it survives that exactly; or else
  payload: BinData(0, "..")    the encoded value
}
```

An `_id` is text because MongoDB orders text by its UTF-8 bytes, so that a prefix is a range. The first `/` ends the
collection, so that no two pairs of names have one `_id`.
"""

from __future__ import annotations

import math
import re
from typing import Any

import bson
import msgspec
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidDocument
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument

from ...backend.record import Record
from ...clock import NEVER
from ...codec import JsonCodec
from ...errors import IntegrityError
from ...names import Ref

Query = dict[str, Any]

FORMAT = 1
OURS: Query = {"satchel": {"$gte": 1}}
"""Filter that matches every entry, and no document of other programs."""
LARGEST_DOCUMENT = 16 * 1024 * 1024
"""MongoDB's limit in bytes."""
LARGEST_VALUE = LARGEST_DOCUMENT - 32 * 1024
"""The largest payload that fits beside the longest names and the header."""

_MOST_NESTED = 90  # MongoDB takes 100 levels; the document and what the server wraps around it are some of them
# A date that Python has no datetime for must not make the document unreadable.
_READING = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_MS)
_VERSION = re.compile("[0-9a-f]{32}")
NO_VALUE = {"value": 0, "payload": 0}
"""The projection that leaves out an entry's value."""


def document_id(ref: Ref) -> str:
    """Return the `_id` of an entry."""
    return f"{_escape(ref[0])}/{ref[1]}"


def names_in(name: str) -> Ref:
    """Return the collection and key in an `_id`."""
    collection, _, key = name.partition("/")
    return collection.replace("%2f", "/").replace("%25", "%"), key


def range_of(collection: str, prefix: str = "") -> dict[str, str]:
    """Return the condition on `_id` that matches exactly the keys with a prefix."""
    first = document_id((collection, prefix))
    return {"$gte": first, "$lt": _after_all_with(first)}


def range_behind(collection: str) -> dict[str, str]:
    """Return the condition on `_id` that matches everything sorted after a collection's entries."""
    return {"$gte": range_of(collection)["$lt"]}


def write_document(name: str, record: Record) -> RawBSONDocument:
    """Return the document of a sealed record, encoded."""
    head: dict[str, Any] = {
        "_id": name,
        "satchel": FORMAT,
        "version": record.version,
        "updated_at": record.updated_at,
        **deadline_fields(record.deadline),
        "codec": record.codec,
        "checksum": record.checksum,
    }
    native = _native(head, record.payload) if record.codec == JsonCodec.number else None
    return RawBSONDocument(native or bson.encode({**head, "payload": record.payload}))


def deadline_fields(deadline: float) -> dict[str, Any]:
    """Return the fields that a deadline is written in."""
    return {"deadline": deadline} if deadline == NEVER else {"deadline": deadline, "expire_at": date_of(deadline)}


def date_of(moment: float) -> DatetimeMS:
    """Return seconds since the Unix epoch as a date of MongoDB's, rounded up."""
    return DatetimeMS(math.ceil(moment * 1000))


def read_document(raw: bytes) -> tuple[Any, Record | IntegrityError]:
    """Return the `_id` of a document, and the record in it; an error when it is none."""
    return _named(bson.decode(raw, _READING))


def read_head(raw: bytes) -> tuple[Any, Record | IntegrityError]:
    """Return the same of a document that was read without its value: the record has an empty one."""
    return _named(bson.decode(raw, _READING) | {"payload": b""})


def is_version(text: str) -> bool:
    """Return whether a version can be one of an entry."""
    return _VERSION.fullmatch(text) is not None


def not_ours() -> IntegrityError:
    """Return the error for a document that another program put where an entry belongs."""
    return IntegrityError(
        "the document with this _id is not an entry of satchel's; "
        "give the store a coll_name of its own, or remove the document"
    )


def _named(document: dict[str, Any]) -> tuple[Any, Record | IntegrityError]:
    try:
        return document["_id"], _record(document)
    except IntegrityError as error:
        return document["_id"], error


def _record(document: dict[str, Any]) -> Record:
    number = document.get("satchel")
    if not isinstance(number, (int, float)):
        raise not_ours()
    if number != FORMAT:
        raise IntegrityError(
            f"the document has format {number:g}, this release reads format {FORMAT}; if a newer release wrote it, "
            "upgrade this one"
        )
    header = [document.get(field) for field in ("version", "updated_at", "deadline", "codec", "checksum")]
    match header:
        case [str(version), float(updated_at), int() | float() as deadline, int(codec), int(checksum)] if is_version(
            version
        ) and not math.isnan(deadline):
            return Record(_payload(document), codec, version, updated_at, float(deadline), None, checksum)
    raise IntegrityError("the document was changed: a field of its header is missing, or has a wrong type")


def _payload(document: dict[str, Any]) -> bytes:
    payload = document.get("payload")
    if type(payload) is bytes:
        return payload
    try:
        return _encode(document["value"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise IntegrityError("the document was changed: its value is not one that satchel wrote") from None


def _native(head: dict[str, Any], payload: bytes) -> bytes | None:
    """Return the document with its value as BSON; None where the value would not come back the same."""
    value = _decode(payload)
    # Most values have fewer brackets than what counts as deep, so that nobody has to look.
    if payload.count(b"[") + payload.count(b"{") > _MOST_NESTED and _is_deep(value):
        return None
    if _encode(value) != payload:  # a lenient codec can write a key twice
        return None
    try:
        # A key with a NUL has no BSON; MongoDB and its drivers read more into one with a dot or dollar sign.
        document = bson.encode({**head, "value": value}, check_keys=True)
    except (InvalidDocument, OverflowError):
        return None
    return document if len(document) <= LARGEST_DOCUMENT else None


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MOST_NESTED):
        inner = (item.values() if type(item) is dict else item for item in level if type(item) in (dict, list))
        level = [item for items in inner for item in items]
    return any(type(item) in (dict, list) for item in level)


def _plain(value: object) -> int:
    if type(value) is Int64:
        return int(value)
    raise TypeError(f"satchel writes no {type(value).__name__}")


def _escape(collection: str) -> str:
    return collection.replace("%", "%25").replace("/", "%2f") if "%" in collection or "/" in collection else collection


def _after_all_with(prefix: str) -> str:
    """Return the least text that sorts behind every text with a prefix, which has a `/`."""
    stem = prefix.rstrip("\U0010ffff")
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)  # what is between is no text


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_decode = msgspec.json.Decoder().decode
