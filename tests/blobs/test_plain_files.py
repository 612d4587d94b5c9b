"""Blobs as plain files: what a person sees in the directory, and that nothing leads out of it."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from satchel import ConfigurationError, InvalidKeyError, StoreError, UnsupportedOperationError
from satchel.blobs import UrlSigner
from satchel.blobs.plain_files import FileBlobs
from satchel.errors import BlobChangedError, BlobExistsError, BlobMissingError, UploadLostError
from tests.blobs.file_writer import PIECE, PIECES
from tests.blobs.listing import keys_of

STRANGE = [
    "a", "b/c.png", "b/d", "../x", "/etc/passwd", "q//b", "ü/ß ok.txt", "e/", "x\x00y", "%41", ".hidden/.x", "con",
    "A", " ", "b-", "a\\b", "-", "%", "n\nl", "./x", "%2fx", "...", "a ..", "x/.", "x/../y",
]  # fmt: skip


@pytest.fixture
def blobs(tmp_path):
    return FileBlobs(tmp_path / "data")


async def names_in(*parts):
    """Return the names in a directory, read in a thread."""
    return await asyncio.to_thread(lambda: sorted(path.name for path in Path(*parts).iterdir()))


def visible(directory):
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and ".satchel" not in path.parts
    )


async def test_a_blob_is_a_file_of_that_name_with_that_content(blobs, tmp_path):
    info = await blobs.put("photos/the cat.png", b"picture")
    path = tmp_path / "data" / "photos" / "the cat.png"
    assert path.read_bytes() == b"picture"
    assert await blobs.local_path("photos/the cat.png") == path
    assert info.uri == path.as_uri()
    assert info.content_type == "image/png"
    assert info == await blobs.info("photos/the cat.png")


async def test_a_file_that_a_person_puts_there_is_a_blob(blobs, tmp_path):
    await blobs.put("x", b"1")
    (tmp_path / "data" / "notes.txt").write_bytes(b"by hand")
    assert await blobs.get("notes.txt") == b"by hand"
    assert await keys_of(blobs) == ["notes.txt", "x"]


async def test_every_key_has_a_file_of_its_own_inside_of_the_directory(blobs, tmp_path):
    for key in STRANGE:
        await blobs.put(key, key.encode())
    assert await names_in(tmp_path) == ["data"]
    assert len(await asyncio.to_thread(visible, tmp_path / "data")) == len(STRANGE)
    assert await keys_of(blobs) == sorted(STRANGE)
    for key in STRANGE:
        assert await blobs.get(key) == key.encode()
        assert [left async for left in blobs.keys(after=key)] == [left for left in sorted(STRANGE) if left > key]


async def test_a_key_that_is_too_long_for_a_file_is_refused(blobs):
    with pytest.raises(InvalidKeyError, match="too long for this place"):
        await blobs.put("x" * 300, b"")
    with pytest.raises(InvalidKeyError, match="too long for this place"):
        await blobs.get("x/" * 1900 + "x")


async def test_no_link_leads_out_of_the_directory(blobs, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    await blobs.put("x", b"1")
    (tmp_path / "data" / "folder").symlink_to(outside)
    (tmp_path / "data" / "file").symlink_to(outside / "secret")
    for key in ("folder/secret", "file"):
        assert await blobs.get(key) is None
        assert await blobs.info(key) is None
        assert not await blobs.delete(key)
        with pytest.raises(BlobMissingError):
            await blobs.local_path(key)
    with pytest.raises(StoreError, match="a file or link is where a directory should be"):
        await blobs.put("folder/new", b"")
    await blobs.put("file", b"new")  # in place of the link
    assert (outside / "secret").read_bytes() == b"secret"
    assert await names_in(outside) == ["secret"]
    assert await keys_of(blobs) == ["file", "x"]


async def test_a_pipe_does_not_hold_up_a_reader(blobs, tmp_path):
    await blobs.put("x", b"1")
    os.mkfifo(tmp_path / "data" / "pipe")
    assert await blobs.get("pipe") is None
    assert await keys_of(blobs) == ["x"]


async def test_a_folder_and_a_blob_of_one_name_exclude_each_other(blobs):
    await blobs.put("a/b", b"1")
    with pytest.raises(StoreError, match="a file or link is where a directory should be, or the reverse"):
        await blobs.put("a", b"2")
    assert await blobs.get("a") is None
    assert await blobs.delete("a/b")
    await blobs.put("a", b"2")
    assert await blobs.get("a/b") is None


async def test_a_delete_removes_the_folders_that_it_leaves_empty(blobs, tmp_path):
    await blobs.put("a/b/c", b"1")
    await blobs.put("a/d", b"1")
    await blobs.delete("a/b/c")
    assert await names_in(tmp_path, "data", "a") == ["d"]
    await blobs.move("a/d", "e/f")
    assert await names_in(tmp_path, "data") == [".satchel", "e"]


@pytest.mark.parametrize("option", [{"metadata": {"a": "b"}}, {"ttl": 60}, {"content_type": "image/gif"}])
async def test_what_a_file_does_not_keep_is_refused_by_name(blobs, tmp_path, option):
    with pytest.raises(UnsupportedOperationError, match=f"{next(iter(option))}= of put"):
        await blobs.put("a.png", b"1", **option)
    with pytest.raises(UnsupportedOperationError, match="touch"):
        await blobs.touch("a.png", ttl=60)
    assert await blobs.get("a.png") is None
    await blobs.put("a.png", b"1", content_type="image/png")


async def test_a_copy_gets_the_type_of_its_own_name(blobs):
    await blobs.put("a.png", b"1")
    assert (await blobs.copy("a.png", "a.txt")).content_type == "text/plain"


async def test_a_write_that_raises_or_is_cancelled_leaves_nothing(blobs, tmp_path):
    await blobs.put("key", b"before")

    async def raising():
        yield b"x" * 3_000_000
        raise KeyError

    begun = asyncio.Event()

    async def waiting():
        yield b"x" * 3_000_000
        begun.set()
        await asyncio.sleep(60)

    with pytest.raises(KeyError):
        await blobs.put("key", raising())
    task = asyncio.create_task(blobs.put("key", waiting()))
    await begun.wait()
    assert len(await names_in(tmp_path, "data", ".satchel", "uploads")) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names_in(tmp_path, "data", ".satchel", "uploads") == []
    assert await blobs.get("key") == b"before"


async def test_an_upload_whose_writer_died_is_swept_after_an_hour(blobs, tmp_path):
    await blobs.put("x", b"1")
    left = tmp_path / "data" / ".satchel" / "uploads" / "dead.part"
    left.write_bytes(b"half")
    assert await blobs.sweep() == 0
    os.utime(left, (time.time() - 3700,) * 2)
    assert await blobs.sweep() == 1
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 3700,) * 2)
    assert await FileBlobs(tmp_path / "data").get("x") == b"1"
    assert "dead.part" not in await names_in(left.parent)


async def test_an_upload_that_was_swept_is_lost_by_name(blobs, tmp_path):
    async def standing_still():
        yield b"x" * 2_000_000
        for name in await names_in(tmp_path, "data", ".satchel", "uploads"):
            await asyncio.to_thread((tmp_path / "data" / ".satchel" / "uploads" / name).unlink)
        yield b"y"

    with pytest.raises(UploadLostError):
        await blobs.put("x", standing_still())
    assert await blobs.get("x") is None


async def test_conditions_hold_among_several_writers(blobs, tmp_path):
    writers = [FileBlobs(tmp_path / "data") for _ in range(8)]
    outcomes = await asyncio.gather(
        *[writer.put("one", bytes([n]), if_absent=True) for n, writer in enumerate(writers)], return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BlobExistsError"] * 7 + ["BlobInfo"]
    version = (await blobs.info("one")).version
    outcomes = await asyncio.gather(
        *[writer.put("one", b"same", if_version=version) for writer in writers], return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BlobChangedError"] * 7 + ["BlobInfo"]
    outcomes = await asyncio.gather(*[writer.pop("one") for writer in writers])
    assert sorted(outcomes, key=str) == [None] * 7 + [b"same"]


async def test_two_writes_in_one_moment_have_different_versions(blobs):
    versions = [(await blobs.put("x", b"1")).version for _ in range(100)]
    assert len(set(versions)) == 100


async def test_a_reader_goes_on_with_the_file_that_it_opened(blobs):
    await blobs.put("x", b"old" * 1_000_000)
    async with blobs.open("x") as file:
        start = await file.read(10)
        await blobs.put("x", b"new")
        assert start + await file.read() == b"old" * 1_000_000


async def test_a_file_that_is_changed_in_place_is_noticed(blobs, tmp_path):
    await blobs.put("x", b"old" * 1_000_000)
    stream = blobs.stream("x")
    await anext(stream)
    with (tmp_path / "data" / "x").open("r+b") as file:
        file.write(b"edited")
    with pytest.raises(BlobChangedError):
        [piece async for piece in stream]


async def test_a_move_is_one_rename_and_keeps_what_is_there_if_asked(blobs):
    await blobs.put("a", b"1")
    await blobs.put("b", b"2")
    with pytest.raises(BlobExistsError):
        await blobs.move("a", "b", if_absent=True)
    with pytest.raises(BlobMissingError):
        await blobs.move("c", "b")
    assert (await blobs.move("a", "b")).key == "b"
    assert await keys_of(blobs) == ["b"]
    assert await blobs.get("b") == b"1"


async def test_an_address_is_made_from_that_of_the_web_server(tmp_path):
    plain = FileBlobs(tmp_path, base_url="https://example.org/files/")
    assert await plain.url_for("a b/ü.png") == "https://example.org/files/a%20b/%C3%BC.png"
    signer = UrlSigner(b"a secret of 16 bytes")
    url = await FileBlobs(tmp_path, base_url=lambda key: f"https://example.org/?{key}", signer=signer).url_for("x")
    assert signer.allows("x", url.partition("&")[2])


async def test_a_web_server_may_read_what_was_written(blobs, tmp_path):
    before = os.umask(0o022)
    try:
        await blobs.put("folder/x", b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "data" / "folder" / "x").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "data" / "folder").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("directory", [None, 7, "", "a\x00b", b"x"])
def test_a_directory_that_is_none_is_refused(directory):
    with pytest.raises(ConfigurationError, match="directory must be the path of a directory"):
        FileBlobs(directory)


@pytest.mark.long
async def test_a_writer_that_is_killed_leaves_whole_blobs_alone(tmp_path):
    blobs, chance, seen = FileBlobs(tmp_path / "data"), random.Random(1), 0
    for _ in range(10):
        command = [sys.executable, str(Path(__file__).with_name("file_writer.py")), str(tmp_path / "data")]
        writer = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        await writer.stdout.readline()
        await asyncio.sleep(chance.uniform(0.01, 0.3))
        writer.kill()
        await writer.wait()
        for key in await keys_of(blobs):
            content = await blobs.get(key)
            assert content == content[:16] * (PIECES * PIECE // 16)
            seen += 1
        assert set(await keys_of(blobs)) <= {"a/b/k", "c/k"}
        await asyncio.wait_for(blobs.put("d", b"1"), 50)  # no lock is left
        await blobs.delete("d")
    uploads = tmp_path / "data" / ".satchel" / "uploads"
    for name in await names_in(uploads):
        os.utime(uploads / name, (1, 1))
    await blobs.sweep()
    assert await names_in(uploads) == []
    assert seen > 0


@pytest.mark.long
@pytest.mark.parametrize("way", ["in", "out"])
def test_a_quarter_of_a_gigabyte_goes_through_in_little_memory(tmp_path, way):
    program = f"""
import asyncio, resource
from satchel.blobs import FileBlobs

async def pieces():
    for _ in range(256):
        yield bytes(2**20)

async def main():
    blobs = FileBlobs({str(tmp_path)!r})
    await blobs.put("w", b"x")
    await blobs.get("w")
    if {way == "out"}:
        await blobs.put("k", pieces())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if {way == "in"}:
        await blobs.put("k", pieces())
    size = 0
    async for piece in blobs.stream("k"):
        size += len(piece)
    assert size == 2**28
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024  # KiB


async def test_a_directory_that_vanishes_is_an_error_for_readers_too(blobs, tmp_path):
    await blobs.put("folder/x", b"1")
    await asyncio.to_thread(shutil.rmtree, tmp_path / "data")
    for call in (blobs.get("folder/x"), blobs.info("x"), blobs.exists("x"), blobs.delete("folder/x"), keys_of(blobs)):
        with pytest.raises(StoreError, match="removed while it was open"):
            await call
