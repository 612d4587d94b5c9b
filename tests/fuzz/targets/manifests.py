"""Manifests and chunks of blobs, and records of uploads: what is damaged is reported, whatever it claims."""

import json
import struct
from collections.abc import Sequence
from contextlib import suppress

from satchel import BlobChangedError, IntegrityError, MemoryStore, SerializationError
from satchel.blobs import StoreBlobs
from satchel.blobs.records import Manifest
from satchel.testing import FakeClock
from tests.fuzz.harness import json_of, run

UPLOAD = "00112233445566778899aabbccddeeff"
BASE = {"format": 1, "version": UPLOAD, "size": 3, "sha256": "ab" * 32, "created": 1.5, "updated": 2.5}
TOKENS = [
    *(json.dumps(name).encode() + b":" for name in (*BASE, "chunk_size", "chunks_expire", "metadata", "content_type")),
    *(b"0", b"-1", b"1e308", b"9223372036854775807", b"null", b"[" * 50, b'"\\ud800"', b'"\xff"', b"{}", b","),
]


def packed(fields: dict[str, object], content: bytes = b"") -> bytes:
    text = json.dumps(fields).encode()
    return b"SBM1" + struct.pack(">I", len(text)) + text + content


def seeds() -> Sequence[bytes]:
    return [
        packed(BASE, b"abc"),
        packed(BASE | {"content_type": "text/plain", "metadata": {"by": "Ada"}}, b"abc"),
        packed(BASE | {"chunk_size": 2, "chunks_expire": True}),
        json.dumps({"format": 1, "key": "k", "at": 1.0, "chunks": 2}).encode(),
        json.dumps({"format": 1, "key": "k", "at": 1.0, "replaces": {"upload": UPLOAD, "chunks": 2}}).encode(),
        b"SBC1" + bytes.fromhex(UPLOAD) + bytes(4) + b"ab",
    ]


def with_length(data: bytes) -> bytes:
    """Return a manifest that says how long it is: else hardly any input gets past that."""
    end = data.rfind(b"}") + 1
    return b"SBM1" + struct.pack(">I", max(0, end - 8)) + data[8:]


def check(data: bytes) -> None:
    for value in (data, with_length(data)):
        try:
            manifest, content = Manifest.unpack(value)
        except IntegrityError:
            continue
        assert manifest.chunks >= 0
        assert len(content) == (manifest.size if manifest.chunk_size is None else 0)
        again = Manifest.unpack(manifest.pack(content))
        assert again == (manifest, content)
        run(read(value))
    run(sweep(data))


async def read(manifest: bytes) -> None:
    """Use a blob with a manifest, of which the first chunk is there."""
    store = MemoryStore()
    await store.put("blobs", "k", manifest)
    await store.put("blobs/chunks", f"{UPLOAD}/00000000", b"SBC1" + bytes.fromhex(UPLOAD) + bytes(4) + b"ab")
    blobs = StoreBlobs(store)
    for use in (blobs.info, blobs.get, blobs.exists, blobs.delete):
        try:
            await use("k")
        except (IntegrityError, BlobChangedError):
            continue


async def sweep(record: bytes) -> None:
    """Clean up where a record of an upload is damaged: at once, and when what the first sweep has recorded is due."""
    decoded = json_of(record)
    if isinstance(decoded, dict) and any(counts_many(part) for part in (decoded, decoded.get("replaces"))):
        return  # it is no damage, and takes its time
    for key in ("new/x", "old/x"):
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        with suppress(SerializationError):
            await store.put("blobs/uploads", key, record if decoded is None else decoded)
        blobs = StoreBlobs(store, clock=clock)
        for _ in range(2):
            with suppress(IntegrityError):
                await blobs.sweep()
            clock.advance(7200)


def counts_many(part: object) -> bool:
    """Return whether a record claims more chunks than can be deleted in a moment, and not more than there can be."""
    count = part.get("chunks") if isinstance(part, dict) else 0
    return isinstance(count, int) and 1000 < count <= 2**32
