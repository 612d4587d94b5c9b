"""What content looks like in a store: one frame of bytes for each part, under its digest.

A frame is the magic `SCV1`, one letter for its form, and a body:

* `j` JSON; `b` bytes as they are; `p` a signed pickle; `h` an HDF5 file: the value itself;
* `n` a node: the length of a head as 4 bytes, the head as JSON, and 32 bytes for the digest of each part.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

import msgspec

from ..codec import UNDECODABLE
from ..errors import DigestError, IntegrityError
from .walk import Digest

MAGIC: Final = b"SCV1"
JSON, RAW, PICKLE, HDF5, NODE = b"j", b"b", b"p", b"h", b"n"
DIGEST_SIZE = 32
_LENGTH = struct.Struct(">I")
_START = len(MAGIC) + 1
_UPGRADE = "an entry among the content is damaged, or not one that this release of satchel wrote"


class Shape(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Head of a node: how its parts were put together. A field with its default is left out.

    Attributes:
        type: `list`, `tuple`, `dict`, `named_tuple` or `object`.
        keys: The keys of a dict, if all are `str`, else the parts are keys and values by turns; the names of the
            attributes of an object.
        cls: The class of a named tuple or an object, as `module:qualname`.
        join: The name of the registered function that makes the value of this.
    """

    type: str
    keys: tuple[str, ...] | None = None
    cls: str | None = None
    join: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Shape)


@dataclass(frozen=True, slots=True)
class LeafRecord:
    """Frame that holds a value."""

    form: bytes
    body: bytes

    children: ClassVar[tuple[Digest, ...]] = ()

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.body)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """Frame that holds the digests of parts."""

    shape: Shape
    children: tuple[Digest, ...]
    size: int


StoredRecord: TypeAlias = LeafRecord | NodeRecord
"""What a frame holds."""


def pack_leaf(form: bytes, body: bytes) -> bytes:
    """Return the frame of a value."""
    return MAGIC + form + body


def pack_node(shape: Shape, children: Sequence[Digest]) -> bytes:
    """Return the frame of a node."""
    head = _encoder.encode(shape)
    return b"".join((MAGIC, NODE, _LENGTH.pack(len(head)), head, bytes.fromhex("".join(children))))


def as_digest(key: str, what: str) -> Digest:
    """Return a key in a store as the digest that it has to be.

    Args:
        key: The key.
        what: What has the key, for the message.

    Raises:
        IntegrityError: It is none.
    """
    try:
        return Digest(key)
    except DigestError:
        raise IntegrityError(f"{what} has a key that is not a digest; delete it from the store") from None


def unpack(frame: object) -> StoredRecord:
    """Return what a stored frame holds.

    Raises:
        IntegrityError: It is not a frame, or one of a later release, or cut short.
    """
    checked = _checked(frame)
    form = checked[len(MAGIC) : _START]
    return _unpack_node(checked) if form == NODE else LeafRecord(form, checked[_START:])


def _checked(frame: object) -> bytes:
    if type(frame) is not bytes or not frame.startswith(MAGIC) or len(frame) < _START:
        raise IntegrityError(_UPGRADE)
    return frame


def _unpack_node(frame: bytes) -> NodeRecord:
    body = _START + _LENGTH.size
    end = body + (_LENGTH.unpack_from(frame, _START)[0] if len(frame) >= body else 0)
    digests = frame[end:]
    if body <= end <= len(frame) and not len(digests) % DIGEST_SIZE:
        try:
            shape = _decoder.decode(frame[body:end])
        except UNDECODABLE:  # a message could hold a value
            pass
        else:
            if _is_made(shape, len(digests) // DIGEST_SIZE):
                raw = [digests[start : start + DIGEST_SIZE] for start in range(0, len(digests), DIGEST_SIZE)]
                return NodeRecord(shape, tuple(map(Digest.of_bytes, raw)), len(frame))
    raise IntegrityError(_UPGRADE)


def _is_made(shape: Shape, parts: int) -> bool:
    """Return whether a shape is one that a save makes of a number of parts."""
    is_named = shape.keys is not None and len(shape.keys) == parts
    if shape.type in ("named_tuple", "object"):
        return shape.cls is not None and shape.join is None and (is_named if shape.type == "object" else not shape.keys)
    if shape.cls is not None:
        return False
    if shape.type == "dict":
        return is_named or (shape.keys is None and not parts % 2)
    return shape.type in ("list", "tuple") and shape.keys is None
