"""Frames that are damaged, or made to do harm."""

import gzip
import struct
import sys
import tracemalloc
import zlib

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import IntegrityError, MemoryStore
from satchel.wrappers import CompressionWrapper

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = "the same words over and over, " * 200
START = struct.Struct(">2sBBBQ")
PACKED = {
    "zstd": (1, zstd.compress(TEXT.encode())),
    "gzip": (2, gzip.compress(TEXT.encode())),
    "lz4": (3, lz4.frame.compress(TEXT.encode())),
}
BOMB = 50_000_000


def frame(algorithm, packed, size, *, kind=0, number=1, magic=b"\x89C"):
    """Make a frame as the format says, independently of the code."""
    start = START.pack(magic, number, algorithm, kind, size)
    return start + struct.pack(">I", zlib.crc32(start + packed)) + packed


async def read(bytes_in_store, **options):
    inner = MemoryStore()
    await inner.put("c", "k", bytes_in_store)
    return await CompressionWrapper(inner, **options).get("c", "k")


@pytest.mark.parametrize("algorithm", PACKED)
async def test_a_frame_made_as_the_format_says_is_read(algorithm):
    number, packed = PACKED[algorithm]
    assert await read(frame(number, packed, len(TEXT))) == TEXT.encode()
    assert await read(frame(0, b'{"a":1}', 7, kind=1)) == {"a": 1}


@pytest.mark.parametrize("algorithm", [*PACKED, "stored"])
async def test_a_frame_with_any_byte_changed_cut_or_added_is_refused(algorithm):
    number, packed = PACKED.get(algorithm, (0, b"stored as it is"))
    whole = frame(number, packed, len(TEXT) if number else len(packed))
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole + b"\0", b"\0" + whole, whole + whole]
    damaged += [
        whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :]
        for place in range(len(whole))
        for change in (0x01, 0x80, 0xFF)
    ]
    inner = MemoryStore()
    store = CompressionWrapper(inner)
    for entry in damaged:
        await inner.put("c", "k", entry)
        with pytest.raises(IntegrityError, match="get of key 'k' in collection 'c' of CompressionWrapper"):
            await store.get("c", "k")


@pytest.mark.parametrize("algorithm", PACKED)
async def test_what_is_packed_wrongly_is_refused_though_the_checksum_matches(algorithm):
    number, packed = PACKED[algorithm]
    for size in (0, 1, len(TEXT) - 1, len(TEXT) + 1, 2 * len(TEXT)):
        with pytest.raises(IntegrityError, match="is damaged"):
            await read(frame(number, packed, size))
    for other in (packed[:-1], packed[: len(packed) // 2], b"", packed + b"\0", packed + packed, b"\0" * 40):
        with pytest.raises(IntegrityError, match="is damaged"):
            await read(frame(number, other, len(TEXT)))


@given(packed=st.binary(max_size=200), algorithm=st.sampled_from([0, 1, 2, 3, 4]), size=st.integers(0, 2**64 - 1))
async def test_arbitrary_bytes_in_a_frame_are_bytes_or_refused(packed, algorithm, size):
    try:
        assert type(await read(frame(algorithm, packed, size))) is bytes
    except IntegrityError:
        assert algorithm != 0


BOMBS = {
    "zstd": (1, zstd.compress(bytes(BOMB))),
    "gzip": (2, gzip.compress(bytes(BOMB))),
    "lz4": (3, lz4.frame.compress(bytes(BOMB))),
    "lz4 that does not say its size": (3, lz4.frame.compress(bytes(BOMB), store_size=False)),
    "many in zstd": (1, zstd.compress(bytes(1000)) + zstd.compress(bytes(BOMB)) * 100),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_refused_before_it_fills_the_memory(name):
    number, packed = BOMBS[name]
    tracemalloc.start()
    try:
        for said, message in {1000: "is damaged", BOMB: "unpacks to 50000000 bytes, and max_size is 1000000"}.items():
            hostile = frame(number, packed, said)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(IntegrityError, match=message):
                await read(hostile, max_size=1_000_000)
            assert tracemalloc.get_traced_memory()[1] - before < 5_000_000
    finally:
        tracemalloc.stop()
    if len(packed) < BOMB and "many" not in name:
        assert len(await read(frame(number, packed, BOMB), max_size=BOMB)) == BOMB


async def test_zstd_that_does_not_say_how_much_memory_it_wants_is_refused():
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.content_size_flag: 0})
    packed = compressor.compress(TEXT.encode(), mode=zstd.ZstdCompressor.FLUSH_FRAME)
    assert zstd.get_frame_info(packed).decompressed_size is None
    with pytest.raises(IntegrityError, match="is damaged"):
        await read(frame(1, packed, len(TEXT)))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (b"plain", "not put through a CompressionWrapper"),
        (b"", "not put through a CompressionWrapper"),
        (frame(0, b"abc", 3, magic=b"\x89E"), "not put through a CompressionWrapper"),
        (frame(0, b"abc", 3, number=2), "format 2, this release reads format 1; upgrade"),
        (frame(9, b"abc", 3), "algorithm 9; upgrade"),
        (frame(0, b"abc", 3, kind=7), "of kind 7, which this release does not know; upgrade"),
        (frame(0, b"{", 1, kind=1), "cannot be decoded: DecodeError"),
        (frame(0, b"[" * 50_000, 50_000, kind=1), "cannot be decoded"),
        (frame(0, b'"\xff"', 3, kind=1), "cannot be decoded"),
    ],
)
async def test_what_is_no_frame_of_this_release_is_refused_with_what_to_do(entry, message):
    with pytest.raises(IntegrityError, match=message):
        await read(entry)
