"""What blobs look like in a store: manifests, chunks, and records of writes under way and of what was replaced."""

from __future__ import annotations

import secrets
import struct
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from ..codec import UNDECODABLE
from ..entry import Entry
from ..errors import IntegrityError, InvalidKeyError
from ..names import check_name

FORMAT = 1
_MANIFEST_MAGIC = b"SBM1"
_CHUNK_MAGIC = b"SBC1"
_LENGTH = struct.Struct(">I")
_JSON_START = len(_MANIFEST_MAGIC) + _LENGTH.size
CHUNK_HEADER = struct.Struct(">4s16sI")
_MOST_CHUNKS = 2**32
"""Their numbers have 32 bits."""
_Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
_ChunkCount = Annotated[int, Meta(ge=0, le=_MOST_CHUNKS)]

NEW, OLD = "new/", "old/"
"""How the keys begin of records of writes under way, and of uploads that were replaced or never appeared."""


def new_id() -> str:
    """Return 32 random hexadecimal digits, which name an upload or a version."""
    return secrets.token_hex(16)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known about a blob, as it is stored. A field with its default is left out.

    Attributes:
        format: The format, 1.
        version: Names this content; the chunks are stored under it.
        size: Bytes of the content.
        sha256: SHA-256 of the content in hexadecimal.
        created: When a blob was first put under the key, in seconds since the Unix epoch.
        updated: When this content was put.
        chunk_size: Bytes of each chunk but the last; None where the content is in the manifest.
        chunks_expire: Whether the chunks have a time to live of their own, an hour longer than that of the manifest.
        content_type: The media type.
        metadata: What the application keeps.
    """

    format: int
    version: _Id
    size: Annotated[int, Meta(ge=0)]
    sha256: str
    created: float
    updated: float
    chunk_size: Annotated[int, Meta(ge=1)] | None = None
    chunks_expire: bool = False
    content_type: str | None = None
    metadata: dict[str, str] = {}

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return 0 if self.chunk_size is None else -(-self.size // self.chunk_size)

    @property
    def upload(self) -> UploadRef | None:
        """The chunks; None where there are none."""
        return UploadRef(upload=self.version, chunks=self.chunks) if self.chunk_size is not None else None

    def pack(self, content: bytes) -> bytes:
        """Return the value to store.

        Args:
            content: The content, if it is in the manifest, else nothing.
        """
        packed = _encoder.encode(self)
        return b"".join([_MANIFEST_MAGIC, _LENGTH.pack(len(packed)), packed, content])

    @classmethod
    def unpack(cls, value: object) -> tuple[Self, bytes]:
        """Return the manifest and the content within it from a stored value.

        Raises:
            IntegrityError: It is not a manifest, or one of a later release, or cut short.
        """
        if isinstance(value, bytes) and value.startswith(_MANIFEST_MAGIC) and len(value) >= _JSON_START:
            end = _JSON_START + _LENGTH.unpack_from(value, len(_MANIFEST_MAGIC))[0]
            try:
                manifest = msgspec.json.decode(value[_JSON_START:end], type=cls)
            except UNDECODABLE:  # a message could hold a value
                pass
            else:
                expected = manifest.size if manifest.chunk_size is None else 0
                if manifest.format == FORMAT and len(value) == end + expected and manifest.chunks <= _MOST_CHUNKS:
                    return manifest, value[end:]
        raise IntegrityError("an entry among the blobs is damaged, or not one that this release of satchel wrote")


_encoder = msgspec.json.Encoder()


class UploadRef(msgspec.Struct, frozen=True, kw_only=True):
    """Reference to the chunks of an upload.

    Attributes:
        upload: What their keys begin with.
        chunks: A number that is above that of the last one.
    """

    upload: _Id
    chunks: _ChunkCount

    def key(self, number: int) -> str:
        """Return the key of a chunk."""
        return chunk_key(self.upload, number)


class Intent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Record of a write under way, from before its first trace until after its last.

    Attributes:
        format: The format, 1.
        key: The key of the blob.
        at: When it was last renewed, in seconds since the Unix epoch.
        chunks: A number that is above that of every chunk written so far.
        replaces: The chunks that the write replaces or removes.
        dead: Whether a sweep has taken it over.
    """

    format: int
    key: str
    at: float
    chunks: _ChunkCount = 0
    replaces: UploadRef | None = None
    dead: bool = False


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """Record of an upload whose chunks are to be deleted once its blob is gone.

    Attributes:
        format: The format, 1.
        key: The key of the blob.
        at: An hour before a sweep looks at it, in seconds since the Unix epoch.
        chunks: A number that is above that of the last chunk.
    """

    format: int
    key: str
    at: float
    chunks: _ChunkCount


def dumped(record: Intent | Retired) -> Any:
    """Return the value to store for a record."""
    return msgspec.to_builtins(record)


def record_of(key: str, entry: Entry, max_key_bytes: int) -> Intent | Retired:
    """Return the record that an entry of the collection of uploads holds.

    Args:
        key: The key of the entry.
        entry: The entry.
        max_key_bytes: What the store takes for the key of a blob.

    Raises:
        IntegrityError: No release of satchel up to this one wrote it.
    """
    kind: type[Intent | Retired] | None = Intent if key.startswith(NEW) else Retired if key.startswith(OLD) else None
    if kind is not None and isinstance(entry.value, dict) and entry.value.get("format") == FORMAT:
        try:
            record = msgspec.convert(entry.value, kind)
            check_name(record.key, "key", max_key_bytes)
        except (msgspec.ValidationError, InvalidKeyError):
            pass  # the message could hold a value
        else:
            return record
    raise IntegrityError("an entry among the uploads of blobs is not one that this release of satchel wrote")


def chunk_key(upload: str, number: int) -> str:
    """Return the key of a chunk."""
    return f"{upload}/{number:08x}"


def pack_chunk(upload: str, number: int, data: bytes) -> bytes:
    """Return the value to store for a chunk. It names its place, so that a chunk in a wrong one is noticed."""
    return CHUNK_HEADER.pack(_CHUNK_MAGIC, bytes.fromhex(upload), number) + data


def unpack_chunk(upload: str, number: int, size: int, value: object, start: int, end: int) -> bytes:
    """Return a part of a chunk from its stored value.

    Args:
        upload: The upload that it has to be of.
        number: The number that it has to have.
        size: The length that it has to have.
        value: The stored value.
        start: The first byte to return.
        end: The byte before which to end.

    Raises:
        IntegrityError: It is another chunk, or has another length.
    """
    header = CHUNK_HEADER.pack(_CHUNK_MAGIC, bytes.fromhex(upload), number)
    if not isinstance(value, bytes) or not value.startswith(header) or len(value) != len(header) + size:
        raise IntegrityError("a chunk of a blob is damaged, or in the place of another")
    return value[len(header) + start : len(header) + end]
