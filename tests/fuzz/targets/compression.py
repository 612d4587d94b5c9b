"""Frames of compressed values: what they claim never makes them take more memory than allowed."""

import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress

from satchel import IntegrityError, MemoryStore
from satchel.wrappers import CompressionWrapper
from tests.fuzz.harness import run

REF = ("c", "k")
MAX_SIZE = 1 << 20
MEMORY = 8 * MAX_SIZE
HEADER = struct.Struct(">2sBBBQI")
ALGORITHMS = ("zstd", "gzip", "lz4")
TOKENS = [struct.pack(">Q", size) for size in (0, 1, MAX_SIZE, MAX_SIZE + 1, 2**63, 2**64 - 1)]


def seeds() -> Sequence[bytes]:
    values = [b"x" * 5000, b"short", {"a": ["text"] * 500}, bytes(900_000)]
    return [
        frame for algorithm in ALGORITHMS for value in values if isinstance(frame := run(put(algorithm, value)), bytes)
    ]


async def put(algorithm: str, value: object) -> object:
    inner = MemoryStore()
    await CompressionWrapper(inner, algorithm=algorithm).put(*REF, value)
    return await inner.get(*REF)


def with_checksum(frame: bytes) -> bytes:
    start, packed = frame[: HEADER.size - 4], frame[HEADER.size :]
    return start + struct.pack(">I", zlib.crc32(packed, zlib.crc32(start))) + packed


def check(data: bytes) -> None:
    run(read(data))
    if len(data) > HEADER.size:
        run(read(with_checksum(data)))


async def read(frame: bytes) -> None:
    inner = MemoryStore()
    wrapper = CompressionWrapper(inner, max_size=MAX_SIZE)
    await inner.put(*REF, frame)
    with suppress(IntegrityError):
        value = await wrapper.get(*REF)
        await wrapper.put(*REF, value)
        assert await wrapper.get(*REF) == value
