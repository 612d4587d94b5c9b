"""Frames of encrypted and signed values, and signed pickles: one that was not made with the key is never opened."""

from collections.abc import Sequence
from functools import cache

from satchel import IntegrityError, MemoryStore, SerializationError
from satchel.backend.record import Record
from satchel.backend.serializer import RecordSerializer
from satchel.codec import AutoCodec, SignedPickleCodec
from satchel.wrappers import EncryptionWrapper, SigningWrapper
from tests.fuzz.harness import run

REF = ("c", "k")
KEY = bytes(range(32))
WRAPPERS = (EncryptionWrapper, SigningWrapper)
CODECS = (SignedPickleCodec(signing_key=KEY), AutoCodec(signing_key=KEY))
VALUES = (b"bytes", {"name": "Ada"}, None)


@cache
def genuine() -> frozenset[bytes]:
    """Return frames that were made with the key."""
    return frozenset([run(put(kind, value)) for kind in WRAPPERS for value in VALUES])


@cache
def genuine_pickles() -> frozenset[bytes]:
    return frozenset(codec.encode(value) for codec in CODECS for value in (1, (1, 2), {3}))


def seeds() -> Sequence[bytes]:
    return [*sorted(genuine()), *sorted(genuine_pickles())]


async def put(kind: type, value: object) -> bytes:
    inner = MemoryStore()
    await kind(inner, key=KEY).put(*REF, value)
    return await inner.get(*REF)


def check(data: bytes) -> None:
    run(read(data))
    for codec in CODECS:
        serializer = RecordSerializer(codec, checksums="none", max_bytes=None)
        record = Record(data, codec.number, bytes(16).hex(), 0.0)
        try:
            serializer.decode(record)
        except (IntegrityError, SerializationError):
            continue
        assert data in genuine_pickles() or data[:1] in b"bj", "a pickle was opened that nobody had signed"


async def read(frame: bytes) -> None:
    inner = MemoryStore()
    await inner.put(*REF, frame)
    for kind in WRAPPERS:
        try:
            value = await kind(inner, key=KEY).get(*REF)
        except IntegrityError:
            continue
        # Another process has other frames of the same values: encryption takes a random number.
        known = value in VALUES if kind is EncryptionWrapper else frame in genuine()
        assert known, "a frame was opened that nobody had made"
