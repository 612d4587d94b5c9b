"""Entries as bytes in a backend: a read gives the entry, or one of two errors."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from satchel import IntegrityError, KeyedStore, SerializationError
from satchel.backend.record import DEADLINE_OFFSET, HEADER_SIZE, Record, pack, unpack
from tests.fuzz.harness import run

GOLDEN = Path(__file__).parents[2] / "golden"
REF = ("c", "k")
TIMES = [0.0, -1.0, 1e300, -1e300, float("nan"), float("inf"), 253402300800.0]
TOKENS = [b"\x89S\x01", *(struct.pack(">d", moment) for moment in TIMES)]


class OneEntryStore(KeyedStore):
    """Store with one entry, whose bytes are given."""

    def __init__(self, wire: bytes) -> None:
        super().__init__()
        self._wire = wire

    async def _read_one(self, ref: tuple[str, str]) -> Record | None:
        return unpack(self._wire)

    async def _write_one(self, ref: tuple[str, str], record: Record) -> None:
        self._wire = pack(record)

    async def _delete_one(self, ref: tuple[str, str], now: float) -> bool:
        return False


def seeds() -> Sequence[bytes]:
    return [path.read_bytes()[:1000] for path in sorted(GOLDEN.glob("record-*.bin"))]


def with_checksums(wire: bytes) -> bytes:
    """Return an entry with the checksums that belong to what is in it: else hardly any input gets past them."""
    deadline = wire[DEADLINE_OFFSET : DEADLINE_OFFSET + 8]
    checksum = zlib.crc32(wire[HEADER_SIZE:], zlib.crc32(wire[:DEADLINE_OFFSET]))
    return wire[:DEADLINE_OFFSET] + deadline + struct.pack(">II", zlib.crc32(deadline), checksum) + wire[HEADER_SIZE:]


def check(data: bytes) -> None:
    for wire in (data, with_checksums(data) if len(data) >= HEADER_SIZE else b""):
        try:
            record = unpack(wire)
        except IntegrityError:
            record = None
        if record is not None:
            assert pack(record) == wire
        run(read(wire))


async def read(wire: bytes) -> None:
    async with OneEntryStore(wire) as store:
        for read in (store.get, store.get_entry, store.exists):
            try:
                await read(*REF)
            except (IntegrityError, SerializationError):
                continue
