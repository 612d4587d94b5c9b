"""What frames of several wrappers share: a value is `bytes`, or JSON in bytes; names are framed by their lengths."""

from __future__ import annotations

import struct
from typing import Any

from ..codec import LARGE, RAW_BYTES, JsonCodec
from ..errors import IntegrityError
from ..names import Ref

JSON = JsonCodec.number

_json = JsonCodec()
_LENGTH = struct.Struct(">H")


def body_of(value: object) -> tuple[int, bytes]:
    """Return a value's kind, `RAW_BYTES` or `JSON`, and its bytes.

    Raises:
        SerializationError: It would not come back the same.
    """
    return (RAW_BYTES, value) if type(value) is bytes else (JSON, _json.encode(value))


def body_if_small(value: object) -> tuple[int, bytes] | None:
    """Return what `body_of` does for a value that is quickly encoded; None for one that belongs in a worker thread."""
    if type(value) is bytes:
        return (RAW_BYTES, value) if len(value) < LARGE else None
    body = _json.encode_if_small(value)
    return None if body is None else (JSON, body)


def value_of(kind: int, body: bytes) -> Any:
    """Return the value of which `body_of` gave kind and bytes."""
    if kind == RAW_BYTES:
        return body
    if kind != JSON:
        raise IntegrityError(f"a value is of kind {kind}, which this release does not know; upgrade it")
    try:
        return _json.decode(body)
    except Exception as error:  # a hostile value may also be nested without end
        raise IntegrityError(f"a framed value cannot be decoded: {type(error).__name__}") from None


def framed_names(ref: Ref) -> bytes:
    """Return the names of an entry with their lengths, so that no two entries give the same bytes."""
    collection, key = ref[0].encode(), ref[1].encode()
    return b"".join((_LENGTH.pack(len(collection)), collection, _LENGTH.pack(len(key)), key))
