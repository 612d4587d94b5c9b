"""Open blobs, compression, made keys and media types, on a target that writes only what it has to."""

import bz2
import gzip
import io
import lzma
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    BlobMissingError,
    ConfigurationError,
    IntegrityError,
    MemoryStore,
    SerializationError,
    UnsupportedOperationError,
)
from satchel.blobs import BlobInfo, BlobsBase, BlobSource, StoreBlobs
from satchel.blobs.compression import compressed, decompressed
from satchel.blobs.data import resized
from satchel.blobs.ids import uuid7
from satchel.testing.conformance.suite import listed

TEXT = "".join(f"{number} é\n" for number in range(20_000))
COMPRESSIONS = ["gzip", "bz2", "xz", "zstd", "lz4"]


class Kept(BlobSource):
    """Content in memory, given in small pieces."""

    def __init__(self, info, content):
        self.info, self.content = info, content
        self.closed = False

    async def read(self, start, end):
        for place in range(start, end, 777):
            yield self.content[place : min(end, place + 777)]

    async def aclose(self):
        self.closed = True


class Least(BlobsBase):
    """Target that has the required methods alone."""

    def __init__(self, **options):
        super().__init__(**options)
        self.content, self.sources = {}, []

    async def _source(self, key):
        if key not in self.content:
            return None
        self.sources.append(Kept(*self.content[key]))
        return self.sources[-1]

    async def _write(self, key, pieces, options):
        if options.metadata:
            self._refuse("metadata= of put")
        content = b"".join([piece async for piece in pieces])
        now = datetime.now(UTC)
        info = BlobInfo(
            key=key, size=len(content), sha256=None, content_type=options.content_type, metadata={}, created_at=None,
            updated_at=now, expires_at=None, version=str(now), uri=f"kept:{key}",
        )  # fmt: skip
        self.content[key] = info, content
        return info

    async def _delete(self, key, version):
        return self.content.pop(key, None) is not None

    async def _keys(self, prefix, after, limit):
        for key in sorted(self.content)[:limit]:
            if key.startswith(prefix):
                yield key


@pytest.fixture
def blobs():
    return Least()


async def test_a_target_with_the_required_methods_has_all_others(blobs):
    await blobs.put("a.txt", TEXT.encode())
    assert [line async for line in blobs.lines("a.txt")] == TEXT.splitlines()
    assert (await blobs.info("a.txt")).content_type == "text/plain"
    await blobs.copy("a.txt", "b/c")
    await blobs.move("a.txt", "b/d")
    assert await listed(blobs.keys()) == ["b/c", "b/d"]
    assert await listed(blobs.prefixes()) == ["b/"]
    assert await blobs.pop("b/c") == TEXT.encode()
    assert len(await blobs.checksum("b/d")) == 64
    assert await blobs.ranges("b/d", [(0, 1), (-1, None)]) == [b"0", b"\n"]
    assert await blobs.sweep() == 0
    assert all(source.closed for source in blobs.sources)
    for call in (blobs.touch("b/d", ttl=1), blobs.url_for("b/d"), blobs.local_path("b/d")):
        with pytest.raises(UnsupportedOperationError, match="Least"):
            await call
    with pytest.raises(UnsupportedOperationError, match="metadata="):
        await blobs.put("k", b"", metadata={"a": "b"})


async def test_a_stream_that_is_left_closes_its_source(blobs):
    await blobs.put("k", bytes(10_000))
    stream = blobs.stream("k")
    await anext(stream)
    await stream.aclose()
    with pytest.raises(ValueError, match="before"):
        await read_and_fail(blobs)
    assert [source.closed for source in blobs.sources] == [True, True]


async def test_a_read_after_a_seek_reads_no_further_than_it_has_to():
    asked = []

    class Asked(Kept):
        def read(self, start, end):
            asked.append((start, end))
            return super().read(start, end)

    class Counting(Least):
        async def _source(self, key):
            return Asked(*self.content[key])

    blobs = Counting()
    await blobs.put("k", bytes(100_000))
    async with blobs.open("k") as file:
        await file.seek(50_000)
        await file.read(10)
        await file.read(10)
        await file.seek(1, io.SEEK_CUR)
        await file.seek(99_995)
        assert len(await file.read(10)) == 5
        assert await file.read(10) == b""
        await file.seek(200_000)
        assert await file.read() == b""
    assert asked[:2] == [(50_000, 50_010), (50_010, 100_000)]
    assert (99_995, 100_000) in asked


async def read_and_fail(blobs):
    async with blobs.open("k") as file:
        await file.read(1)
        await file.seek(-1)


async def write_again_and_again(blobs):
    async with blobs.open("k", "wb") as file:
        while True:
            await file.write(bytes(100_000))


async def one(data):
    yield data


async def by_bytes(data):
    for place in range(0, len(data), 7):
        yield data[place : place + 7]


async def whole(pieces):
    return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize(
    ("name", "unpack"), [("gzip", gzip.decompress), ("bz2", bz2.decompress), ("xz", lzma.decompress)]
)
async def test_compressed_blobs_are_what_other_programs_read(blobs, name, unpack):
    async with blobs.open("k", "w", compression=name) as file:
        await file.write(TEXT)
    assert unpack(await blobs.get("k")).decode() == TEXT


@pytest.mark.parametrize("name", COMPRESSIONS)
async def test_streams_in_a_row_are_one(name):
    packed = await whole(compressed(one(b"first"), name)) + await whole(compressed(one(b"second"), name))
    assert await whole(decompressed(one(packed), name)) == b"firstsecond"
    assert await whole(decompressed(by_bytes(packed), name)) == b"firstsecond"


@pytest.mark.parametrize("name", COMPRESSIONS)
async def test_what_is_cut_short_or_not_compressed_is_reported(name):
    packed = await whole(compressed(one(TEXT.encode()), name))
    for wrong in (packed[:-1], packed[: len(packed) // 2], b"", b"not compressed at all", packed + b"rest"):
        with pytest.raises(IntegrityError):
            await whole(decompressed(one(wrong) if wrong else by_bytes(b""), name))


@pytest.mark.parametrize("name", COMPRESSIONS)
async def test_what_unpacks_to_much_comes_in_pieces(name):
    packed = await whole(compressed(one(bytes(3_000_000)), name))
    size = 0
    async for piece in decompressed(one(packed), name):
        assert len(piece) <= 256 * 1024
        size += len(piece)
    assert size == 3_000_000


async def test_a_compressed_blob_cannot_seek(blobs):
    async with blobs.open("k", "wb", compression="gzip") as file:
        await file.write(b"x")
        assert file.tell() == 1
    async with blobs.open("k", compression="gzip") as file:
        with pytest.raises(UnsupportedOperationError, match="seek"):
            await file.seek(0)
        assert await file.read() == b"x"


async def test_text_is_not_translated_and_can_be_read_by_characters(blobs):
    async with blobs.open("k", "w", encoding="utf-16") as file:
        await file.write("a\r\n")
        await file.write("日本\n")
        await file.write("end")
    async with blobs.open("k", "r", encoding="utf-16") as file:
        assert await file.read(2) == "a\r"
        assert await file.readline() == "\n"
        assert await file.read() == "日本\nend"
        assert await file.read(1) == ""
        assert await file.readline() == ""


async def test_wrong_ways_to_open_are_refused_before_anything_happens(blobs):
    for options in ({"mode": "a"}, {"compression": "zip"}, {"encoding": "none"}, {"mode": "r+b"}, {"encoding": 1}):
        with pytest.raises(ConfigurationError):
            blobs.open("k", **options)
    async with blobs.open("k", "wb") as file:
        with pytest.raises(SerializationError, match="mode 'w'"):
            await file.write("text")
    async with blobs.open("k", "w") as file:
        with pytest.raises(SerializationError, match="mode 'wb'"):
            await file.write(b"bytes")
    with pytest.raises(ValueError, match="closed"):
        await file.write("late")
    with pytest.raises(ValueError, match="contradict"):
        blobs.open("k", "wb", if_absent=True, if_version="x")


async def test_a_failed_upload_is_raised_in_the_block(blobs):
    class Full(Least):
        async def _write(self, key, pieces, options):
            await anext(pieces)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        await write_again_and_again(Full())


@given(st.lists(st.binary(max_size=20), max_size=10), st.integers(min_value=1, max_value=15))
async def test_pieces_of_any_sizes_are_made_pieces_of_one(parts, size):
    async def pieces():
        for part in parts:
            yield part

    made = [piece async for piece in resized(pieces(), size)]
    assert b"".join(made) == b"".join(parts)
    assert all(len(piece) == size for piece in made[:-1])
    assert all(0 < len(piece) <= size for piece in made[-1:])


async def test_pieces_of_any_sizes_can_be_written(blobs):
    written = [b"a" * size for size in (1, 70_000, 0, 10, 200_000, 65_536)]
    async with blobs.open("k", "wb") as file:
        for part in written:
            await file.write(part)
            await file.write(bytearray(part))
            await file.write(memoryview(part))
    assert await blobs.get("k") == b"".join(part * 3 for part in written)


async def test_a_uuid7_has_the_time_and_sorts_by_it():
    early, late = uuid7(1_767_225_600.123), uuid7(1_767_225_600.125)
    assert (early.version, early.variant) == (7, uuid.RFC_4122)
    assert early.int >> 80 == 1_767_225_600_123
    assert str(early) < str(late)
    assert uuid7(1.0) != uuid7(1.0)


async def test_media_types_come_from_the_key_or_the_path(blobs, tmp_path):
    path = tmp_path / "photo.JPG"
    path.touch()
    await blobs.put_file("a", path)
    await blobs.put_file("b", path, content_type="x/y")
    for key in ("c.json", "d.unknown-ending", "e"):
        await blobs.put(key, b"")
    types = [(await blobs.info(key)).content_type for key in ("a", "b", "c.json", "d.unknown-ending", "e")]
    assert types == ["image/jpeg", "x/y", "application/json", None, None]


async def test_a_file_that_cannot_be_written_leaves_nothing(blobs, tmp_path):
    await blobs.put("k", bytes(10_000))
    with pytest.raises(OSError, match="absent"):
        await blobs.get_file("k", tmp_path / "absent" / "target")
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory"):
        await blobs.get_file("k", tmp_path / "directory")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]
    with pytest.raises(BlobMissingError):
        await blobs.get_file("absent", tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


async def test_the_face_says_where_blobs_are():
    blobs = StoreBlobs(MemoryStore(), "photos")
    assert "MemoryStore" in repr(blobs)
    info = await blobs.put("a b/ä", b"secret", metadata={"token": "hidden"})
    assert info.uri == "satchel://photos/a%20b/%C3%A4"
    assert "hidden" not in repr(info)
