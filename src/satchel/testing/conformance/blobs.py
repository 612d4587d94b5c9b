"""Conformance suite of blobs: promises of every target."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from ...blobs import Blobs, StoreBlobs
from ...errors import (
    BlobChangedError,
    BlobExistsError,
    BlobMissingError,
    InvalidKeyError,
    InvalidTTLError,
    SerializationError,
    StoreError,
    UnsupportedOperationError,
    ValueTooLargeError,
)
from ..clock import FakeClock
from .suite import NewStore, Suite, listed

Pair = tuple[Any, Any]

_CHUNK = 1000
_CHUNK_OVER = 20 * _CHUNK
_LENGTHS = (0, 1, 16 * 1024, 16 * 1024 + 1, _CHUNK_OVER - 1, _CHUNK_OVER, _CHUNK_OVER + 1)
_HOSTILE_KEYS = ("../x", "/", "b//c", ".", "a\nb", "%2F", "*", "é/日本", "con", "A", "a")


def content(length: int, seed: int = 0) -> bytes:
    """Return bytes that differ from place to place."""
    return random.Random(f"{length} {seed}").randbytes(length)  # noqa: S311  # it hides nothing


class BlobConformance(Suite):
    """Suite for a target of blobs, or for a store that is to carry them.

    A subclass has `make_store`, as for `StoreConformance`, over which `StoreBlobs` is tested; or `make_blobs`, which
    returns another target. What the target cannot keep is left out of `supports`, and has to be refused by name.

    Attributes:
        supports: What the target can keep or do: `ttl`, `metadata`, `content_type`, `if_absent`, `if_version`, `pop`,
            `move`, and `nested`: a key `a` beside a key `a/b`.
    """

    supports: ClassVar[frozenset[str]] = frozenset(
        {"ttl", "metadata", "content_type", "if_absent", "if_version", "pop", "move", "nested"}
    )

    def make_store(self, clock: FakeClock, place: Path) -> Any:
        """Return a new store; a subclass with `make_blobs` needs none."""
        raise TypeError(f"{type(self).__name__} needs make_store or make_blobs")

    def make_blobs(self, clock: FakeClock, place: Path, new_store: NewStore, **options: Any) -> Blobs:
        """Return a new target over the place of the test.

        Args:
            clock: For its `clock=`.
            place: An empty directory for this test. A target over a network uses `place.name`, which is never reused.
            new_store: Makes a store over the place, by `make_store`.
            options: Options that every target takes.
        """
        return StoreBlobs(new_store(), chunk_size=_CHUNK, clock=clock, **options)

    @pytest_asyncio.fixture
    async def blobs(self, clock: FakeClock, place: Path, new_store: NewStore) -> AsyncIterator[Any]:
        """Return the target."""
        yield self.make_blobs(clock, place, new_store)

    def _lacks(self, *names: str) -> bool:
        return not self.supports.issuperset(names)

    @pytest.mark.parametrize("length", _LENGTHS)
    async def test_a_blob_of_any_length_comes_back(self, blobs: Any, length: int) -> None:
        data = content(length)
        info = await blobs.put("k", data)
        assert (info.key, info.size) == ("k", length)
        assert await blobs.get("k") == data
        assert b"".join([piece async for piece in blobs.stream("k")]) == data
        assert await blobs.checksum("k") == hashlib.sha256(data).hexdigest()
        assert await blobs.checksum("k", "md5") == hashlib.md5(data, usedforsecurity=False).hexdigest()
        assert info.sha256 in (None, hashlib.sha256(data).hexdigest())
        found = await blobs.info("k")
        assert (found.size, found.sha256, found.version) == (length, info.sha256, info.version)

    @pytest.mark.parametrize("length", [1, _CHUNK_OVER + 1])
    async def test_a_blob_is_made_of_everything_that_gives_bytes(self, blobs: Any, length: int) -> None:
        data = content(length)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, length, 333):
                yield data[start : start + 333]
                yield b""

        class Upload:
            def __init__(self) -> None:
                self._file = io.BytesIO(data)

            async def read(self, size: int) -> bytes:
                return self._file.read(size)

        for made in (data, bytearray(data), memoryview(data), pieces(), io.BytesIO(data), Upload()):
            await blobs.put("k", made)
            assert await blobs.get("k") == data, type(made)

    async def test_what_is_not_bytes_is_refused_and_changes_nothing(self, blobs: Any) -> None:
        async def texts() -> AsyncIterator[Any]:
            yield content(_CHUNK_OVER)
            yield "text"

        await blobs.put("k", b"before")
        for wrong in ("text", 1, None, ["a"], io.StringIO("text"), texts()):
            with pytest.raises(SerializationError):
                await blobs.put("k", wrong)
        assert await blobs.get("k") == b"before"

    async def test_absent_blobs(self, blobs: Any, place: Path) -> None:
        default = object()
        assert await blobs.get("k") is None
        assert await blobs.get("k", default) is default
        assert await blobs.info("k") is None
        assert not await blobs.exists("k")
        assert not await blobs.delete("k")
        reads = [
            blobs.checksum("k"),
            blobs.copy("k", "other"),
            blobs.copy("k", "k"),
            blobs.move("k", "k"),
            blobs.ranges("k", [(0, 1)]),
            blobs.get_file("k", place / "absent"),
            anext(blobs.stream("k")),
            anext(blobs.lines("k")),
            blobs.open("k").__aenter__(),
            blobs.open("k", "r").__aenter__(),
        ]
        for read in reads:
            with pytest.raises(BlobMissingError):
                await read
        assert not [name for name in await asyncio.to_thread(_names, place) if name.startswith("absent")]

    async def test_a_deleted_blob_is_gone(self, blobs: Any) -> None:
        for length in (1, _CHUNK_OVER):
            await blobs.put("k", content(length))
            assert await blobs.exists("k")
            assert await blobs.delete("k")
            assert not await blobs.delete("k")
            assert await blobs.get("k") is None

    async def test_a_pop_gives_the_blob_to_one_of_several(self, blobs: Any) -> None:
        if self._lacks("pop"):
            await blobs.put("k", b"kept")
            with pytest.raises(UnsupportedOperationError):
                await blobs.pop("k")
            assert await blobs.get("k") == b"kept"
            return
        for length in (1, _CHUNK_OVER):
            await blobs.put("k", content(length))
            popped = await asyncio.gather(*(blobs.pop("k") for _ in range(5)))
            assert popped.count(None) == 4
            assert content(length) in popped
            assert await blobs.pop("k", b"none") == b"none"

    @pytest.mark.parametrize("length", [10, 3 * _CHUNK_OVER])
    async def test_a_range_is_a_slice(self, blobs: Any, length: int) -> None:
        data = content(length)
        await blobs.put("k", data)
        spans = [
            (0, 1), (0, 0), (1, None), (-3, None), (-3, -1), (0, -1), (5, 3), (length, None), (length - 1, length + 9),
            (length + 5, length + 9), (-length - 5, 2), (_CHUNK, 2 * _CHUNK), (_CHUNK - 1, _CHUNK + 1),
        ]  # fmt: skip
        for start, end in spans:
            assert await blobs.get("k", start=start, end=end) == data[start:end], (start, end)
            parts = [part async for part in blobs.stream("k", start=start, end=end, size=7)]
            assert b"".join(parts) == data[start:end]
            assert all(len(part) == 7 for part in parts[:-1])
        assert await blobs.ranges("k", spans) == [data[start:end] for start, end in spans]

    async def test_an_open_blob_is_read_as_a_file(self, blobs: Any) -> None:
        data = content(3 * _CHUNK_OVER)
        await blobs.put("k", data)
        twin = io.BytesIO(data)
        chance = random.Random(1)  # noqa: S311  # it hides nothing
        async with blobs.open("k") as file:
            assert file.info.size == len(data)
            for _ in range(100):
                step = chance.randrange(6)
                if step == 0:
                    place = chance.randrange(len(data) + 10)
                    assert await file.seek(place) == twin.seek(place)
                elif step == 1:
                    assert await file.seek(-5, io.SEEK_END) == twin.seek(-5, io.SEEK_END)
                elif step == 2:
                    assert await file.seek(7, io.SEEK_CUR) == twin.seek(7, io.SEEK_CUR)
                elif step == 3:
                    size = chance.choice([0, 1, 10, 5000])
                    buffer, other = bytearray(size), bytearray(size)
                    assert await file.readinto(buffer) == twin.readinto(other)
                    assert buffer == other
                elif step == 4:
                    assert await file.readline() == twin.readline()
                else:
                    size = chance.choice([0, 1, 10, 5000, 30_000])
                    assert await file.read(size) == twin.read(size)
                assert file.tell() == twin.tell()
            await file.seek(0)
            twin.seek(0)
            assert [line async for line in file] == list(twin)
            await file.seek(3)
            assert await file.read() == data[3:]
            with pytest.raises(ValueError, match="before the beginning"):
                await file.seek(-1)

    @pytest.mark.parametrize("compression", [None, "gzip", "bz2", "xz", "zstd", "lz4"])
    async def test_what_is_written_to_an_open_blob_appears_when_the_block_ends(
        self, blobs: Any, compression: str | None
    ) -> None:
        lines = [f"{number} é\n" for number in range(5000)]
        async with blobs.open("k", "w", compression=compression) as text:
            for line in lines:
                assert await text.write(line) == len(line)
            assert not await blobs.exists("k")
            assert text.info is None
        written: Any = text.info
        assert written.version == (await blobs.info("k")).version
        async with blobs.open("k", "r", compression=compression) as text:
            assert [line async for line in text] == lines
        async with blobs.open("k", compression=compression) as file:
            assert (await file.read()).decode() == "".join(lines)
        async with blobs.open("k", "wb", compression=compression) as file:
            assert await file.write(b"") == 0
        async with blobs.open("k", compression=compression) as file:
            assert await file.read() == b""

    async def test_a_body_that_raises_or_is_cancelled_publishes_nothing(self, blobs: Any) -> None:
        class BodyError(Exception):
            pass

        async def stalled(begun: asyncio.Event) -> AsyncIterator[bytes]:
            yield content(_CHUNK_OVER)
            begun.set()
            await asyncio.Event().wait()

        async def failing() -> AsyncIterator[bytes]:
            yield content(3 * _CHUNK_OVER)
            raise BodyError

        async def raising(size: int) -> None:
            async with blobs.open("k", "wb") as file:
                await file.write(content(size))
                raise BodyError

        async def write(begun: asyncio.Event) -> None:
            async with blobs.open("k", "wb") as file:
                await file.write(content(200_000))
                begun.set()
                await asyncio.Event().wait()

        for before in (None, b"before"):
            if before is not None:
                await blobs.put("k", before)
            with pytest.raises(BodyError):
                await blobs.put("k", failing())
            for size in (1, 200_000):
                with pytest.raises(BodyError):
                    await raising(size)
            for work in (lambda begun: blobs.put("k", stalled(begun)), write):
                begun = asyncio.Event()
                task = asyncio.ensure_future(work(begun))
                await begun.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await blobs.get("k") == before
            assert await listed(blobs.keys()) == ([] if before is None else ["k"])

    async def test_a_reader_sees_one_version_or_an_error(self, blobs: Any) -> None:
        old, new = content(3 * _CHUNK_OVER, 1), content(3 * _CHUNK_OVER, 2)
        await blobs.put("k", old)
        async with blobs.open("k") as file:
            first = await file.read(10)
            await blobs.put("k", new)
            try:
                rest = await file.read()
            except BlobChangedError:
                rest = old[10:]
        assert first + rest == old
        assert await blobs.get("k") == new

    async def test_lines_are_split_wherever_their_ends_are(self, blobs: Any) -> None:
        lines = ["", "a\u2028é", "x" * (_CHUNK - 7), "", "日本" * 10, "\x0b \r x", "y" * 20_000, "last"]
        for end in ("\n", "\r\n"):
            for last in ("", end):
                await blobs.put("k", (end.join(lines) + last).encode())
                assert [line async for line in blobs.lines("k")] == lines
        await blobs.put("k", "é\n日".encode("utf-16"))
        assert [line async for line in blobs.lines("k", encoding="utf-16")] == ["é", "日"]
        await blobs.put("k", b'{"n": 1}\n{"n": 2}\n')
        assert [line async for line in blobs.lines("k", decode=json.loads)] == [{"n": 1}, {"n": 2}]
        await blobs.put("k", b"")
        assert [line async for line in blobs.lines("k")] == []
        await blobs.put("k", b"x" * _CHUNK_OVER + b"\xe6\x97")  # a character cut off at the end
        with pytest.raises(UnicodeDecodeError):
            _ = [line async for line in blobs.lines("k")]

    async def test_files_go_in_and_out(self, blobs: Any, tmp_path: Path) -> None:
        data = content(_CHUNK_OVER)
        source, target = tmp_path / "source.bin", tmp_path / "target.bin"
        await asyncio.to_thread(source.write_bytes, data)
        await blobs.put_file("k", source)
        assert await blobs.get("k") == data
        assert await asyncio.to_thread(source.read_bytes) == data
        for _ in range(2):
            info = await blobs.get_file("k", str(target))
            assert info.size == len(data)
            assert await asyncio.to_thread(target.read_bytes) == data
        with pytest.raises(FileNotFoundError):
            await blobs.put_file("other", tmp_path / "absent")
        assert not await blobs.exists("other")
        assert sorted(await asyncio.to_thread(_names, tmp_path)) == ["source.bin", "target.bin"]

    async def test_keys_are_made(self, clock: FakeClock, place: Path, new_store: NewStore) -> None:
        data = content(_CHUNK_OVER)

        def options(**given: Any) -> Any:
            return self.make_blobs(clock, place, new_store, **given)

        async def pieces() -> AsyncIterator[bytes]:
            yield data

        blobs = options(ids="sha256", template="x/{}.bin")
        made = [(await blobs.put(None, source)).key for source in (data, pieces(), io.BytesIO(data))]
        assert made == [f"x/{hashlib.sha256(data).hexdigest()}.bin"] * 3
        assert await blobs.get(made[0]) == data
        assert await listed(blobs.keys()) == made[:1]
        for kind, version in (("uuid7", "7"), ("uuid4", "4")):
            blobs = options(ids=kind)
            one, other = (await blobs.put(None, b"x")).key, (await blobs.put(None, pieces())).key
            assert one != other
            assert one[14] == other[14] == version

    async def test_keys_of_any_form(self, blobs: Any) -> None:
        for key in _HOSTILE_KEYS:
            await blobs.put(key, key.encode())
        assert await listed(blobs.keys()) == sorted(_HOSTILE_KEYS)
        for key in _HOSTILE_KEYS:
            assert await blobs.get(key) == key.encode()
        for wrong in ("", "\ud800", "x" * 4097, 1):
            with pytest.raises(InvalidKeyError):
                await blobs.put(wrong, b"")
            with pytest.raises(InvalidKeyError):
                await blobs.get(wrong)

    async def test_a_key_may_be_the_folder_of_others(self, blobs: Any) -> None:
        for first, second in (("a", "a/b"), ("c/d", "c")):
            await blobs.put(first, b"1")
            if self._lacks("nested"):
                with pytest.raises(StoreError):
                    await blobs.put(second, b"2")
                assert await blobs.get(second) is None
            else:
                await blobs.put(second, b"2")
                assert await blobs.get(second) == b"2"
            assert await blobs.get(first) == b"1"

    async def test_listings(self, blobs: Any) -> None:
        keys = ["a/1.png", "a/b/2.png", "a/b/3.txt", "b/4.png", "top"]
        for key in keys:
            await blobs.put(key, b"x")
        assert await listed(blobs.keys()) == keys
        assert await listed(blobs.keys(prefix="a/")) == keys[:3]
        assert await listed(blobs.keys(prefix="a/", depth=1)) == ["a/1.png"]
        assert await listed(blobs.keys(glob="**.png")) == ["a/1.png", "a/b/2.png", "b/4.png"]
        assert await listed(blobs.keys(exclude_prefix="a/")) == ["b/4.png", "top"]
        assert await listed(blobs.keys(prefix="x", glob="a*")) == []
        assert len(await listed(blobs.keys(limit=2))) == 2
        assert [key async for key in blobs.keys(after="a/b/2.png", limit=2)] == ["a/b/3.txt", "b/4.png"]
        assert [key async for key in blobs.keys(after="")] == keys
        assert await listed(blobs.prefixes()) == ["a/", "b/"]
        assert await listed(blobs.prefixes(prefix="a/")) == ["a/b/"]
        with pytest.raises(ValueError, match="delimiter"):
            blobs.prefixes("")
        with pytest.raises(ValueError, match="glob"):
            blobs.keys(glob="")

    async def test_copies_and_moves(self, blobs: Any) -> None:
        for length in (5, _CHUNK_OVER):
            data = content(length)
            await blobs.put("a", data)
            await blobs.copy("a", "b")
            assert (await blobs.get("a"), await blobs.get("b")) == (data, data)
            await blobs.put("a", b"changed")
            assert await blobs.get("b") == data
            if self._lacks("move"):
                with pytest.raises(UnsupportedOperationError, match="move"):
                    await blobs.move("b", "c")
                assert await listed(blobs.keys()) == ["a", "b"]
                continue
            await blobs.move("b", "c")
            assert (await blobs.get("b"), await blobs.get("c")) == (None, data)
            for same in (blobs.copy, blobs.move):
                assert (await same("c", "c")).size == length
                assert await blobs.get("c") == data
            await blobs.move("c", "a")
            assert await listed(blobs.keys()) == ["a"]
            assert await blobs.get("a") == data

    async def test_a_blob_is_put_only_if_absent(self, blobs: Any) -> None:
        if self._lacks("if_absent"):
            with pytest.raises(UnsupportedOperationError, match="if_absent"):
                await blobs.put("k", b"1", if_absent=True)
            assert not await blobs.exists("k")
            return
        for length in (1, _CHUNK_OVER):
            data = content(length)
            puts = [blobs.put("k", content(length, number), if_absent=True) for number in range(4)]
            results = await asyncio.gather(*puts, return_exceptions=True)
            assert sum(isinstance(result, BlobExistsError) for result in results) == 3
            with pytest.raises(BlobExistsError):
                async with blobs.open("k", "wb", if_absent=True) as file:
                    await file.write(data)
            await blobs.put("other", data)
            with pytest.raises(BlobExistsError):
                await blobs.copy("other", "k", if_absent=True)
            if not self._lacks("move"):
                with pytest.raises(BlobExistsError):
                    await blobs.move("other", "k", if_absent=True)
            assert await blobs.delete("other")
            assert await blobs.delete("k")

    async def test_a_blob_is_put_only_if_unchanged(self, blobs: Any) -> None:
        if self._lacks("if_version"):
            with pytest.raises(UnsupportedOperationError, match="if_version"):
                await blobs.put("k", b"1", if_version="x")
            assert not await blobs.exists("k")
            return
        for length in (1, _CHUNK_OVER):
            with pytest.raises(BlobChangedError):
                await blobs.put("k", content(length), if_version="x")
            first = await blobs.put("k", content(length))
            second = await blobs.put("k", content(length, 1), if_version=first.version)
            with pytest.raises(BlobChangedError):
                await blobs.put("k", content(length, 2), if_version=first.version)
            assert await blobs.get("k") == content(length, 1)
            puts = [blobs.put("k", content(length, 9 - number), if_version=second.version) for number in range(4)]
            results = await asyncio.gather(*puts, return_exceptions=True)
            assert sum(isinstance(result, BlobChangedError) for result in results) == 3
            await blobs.delete("k")

    async def test_metadata_and_media_types(self, blobs: Any) -> None:
        if self._lacks("metadata"):
            with pytest.raises(UnsupportedOperationError, match="metadata"):
                await blobs.put("k", b"1", metadata={"a": "b"})
        else:
            for length in (1, _CHUNK_OVER):
                info = await blobs.put("k", content(length), metadata={"by": "Ada"})
                assert info.metadata == (await blobs.info("k")).metadata == {"by": "Ada"}
                assert (await blobs.copy("k", "l")).metadata == {"by": "Ada"}
        if self._lacks("content_type"):
            with pytest.raises(UnsupportedOperationError, match="content_type"):
                await blobs.put("k", b"1", content_type="text/x")
        else:
            await blobs.put("k", b"1", content_type="text/x")
            assert (await blobs.info("k")).content_type == "text/x"
        await blobs.put("photo.png", b"1")
        assert (await blobs.info("photo.png")).content_type == "image/png"
        for wrong in ({"a": 1}, {1: "a"}, {"a": "\ud800"}):
            with pytest.raises(SerializationError):
                await blobs.put("k", b"2", metadata=wrong)

    async def test_blobs_expire(self, blobs: Any, clock: FakeClock) -> None:
        for wrong in (0, -1, float("nan"), "1"):
            with pytest.raises(InvalidTTLError):
                await blobs.put("k", b"1", ttl=wrong)
        assert not await blobs.exists("k")
        if self._lacks("ttl"):
            with pytest.raises(UnsupportedOperationError, match="ttl"):
                await blobs.put("k", b"1", ttl=5)
            with pytest.raises(UnsupportedOperationError, match="touch"):
                await blobs.touch("k", ttl=5)
            assert not await blobs.exists("k")
            return
        for length in (1, _CHUNK_OVER):
            await blobs.put("k", content(length), ttl=100)
            await blobs.copy("k", "copy")
            clock.advance(99)
            assert await blobs.get("k") == content(length)
            assert (await blobs.info("copy")).expires_at is not None
            clock.advance(2)
            assert await blobs.get("k") is None
            assert await listed(blobs.keys()) == []
            await blobs.put("k", content(length), ttl=100)
            await blobs.put("k", content(length))
            clock.advance(101)
            assert await blobs.get("k") == content(length)
            assert (await blobs.info("k")).expires_at is None
            await blobs.delete("k")

    async def test_a_touch_gives_a_new_deadline(self, blobs: Any, clock: FakeClock) -> None:
        if self._lacks("ttl"):
            return
        for length in (1, _CHUNK_OVER):
            data = content(length)
            assert not await blobs.touch("k", ttl=5)
            version = (await blobs.put("k", data, ttl=100)).version
            assert await blobs.touch("k", ttl=10_000)
            clock.advance(9_000)
            assert await blobs.get("k") == data
            assert await blobs.touch("k", ttl=None)
            clock.advance(50_000)
            await blobs.sweep()
            assert await blobs.get("k") == data
            assert (await blobs.info("k")).version == version
            assert await blobs.touch("k", ttl=10)
            clock.advance(11)
            assert await blobs.get("k") is None

    async def test_times(self, blobs: Any, clock: FakeClock) -> None:
        await blobs.put("k", b"1")
        first = await blobs.info("k")
        assert first.updated_at.tzinfo is not None
        clock.advance(10)
        await blobs.put("k", b"2")
        second = await blobs.info("k")
        assert first.created_at == second.created_at
        assert second.updated_at >= first.updated_at
        assert second.version != first.version
        assert second.uri

    async def test_an_iterator_that_never_ends_meets_max_size(
        self, clock: FakeClock, place: Path, new_store: NewStore
    ) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield content(_CHUNK)

        async def write() -> None:
            async with blobs.open("k", "wb") as file:
                while True:
                    await file.write(content(_CHUNK))

        blobs: Any = self.make_blobs(clock, place, new_store, max_size=_CHUNK_OVER)
        with pytest.raises(ValueTooLargeError, match="max_size"):
            await blobs.put("k", endless())
        with pytest.raises(ValueTooLargeError, match="max_size"):
            await write()
        with pytest.raises(ValueTooLargeError, match="max_size"):
            await blobs.put("k", content(_CHUNK_OVER + 1))
        assert not await blobs.exists("k")
        await blobs.put("k", content(_CHUNK_OVER))

    async def test_many_writers_of_one_key(self, blobs: Any) -> None:
        contents = [content(length, number) for number, length in enumerate([1, _CHUNK_OVER] * 3)]
        await asyncio.gather(*(blobs.put("k", data) for data in contents))
        assert await blobs.get("k") in contents
        await blobs.sweep()
        assert await blobs.get("k") in contents


def _names(path: Path) -> list[str]:
    return [entry.name for entry in path.iterdir() if entry.is_file()]
