"""That stores on media that can only be read give what is there, and refuse writes in words."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from satchel import StoreError
from satchel.stores.disk import DiskStore
from satchel.stores.filetree import FileTreeStore

pytestmark = pytest.mark.long  # whole programs, which take long to start

PRELUDE = """
import asyncio, os, sys, tempfile, time
from satchel import StoreError
from satchel.stores.disk import DiskStore
from satchel.stores.filetree import FileTreeStore

kind, directory, unprivileged, options = globals()[sys.argv[1]], sys.argv[2], sys.argv[3] == "True", eval(sys.argv[4])

async def begin():
    with tempfile.TemporaryDirectory() as elsewhere:
        async with kind(elsewhere) as store:  # so that every module is imported
            await store.put_many("c", {"k": b"x" * 100_000, "l": 1}, ttl=9)
            await store.get_many("c", ["k", "l"])
            assert await store.exists("c", "k")
            await store.touch("c", "k", ttl=5)
    if unprivileged and os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
"""
READING = """
async def read(store):
    assert await store.get("c", "k") == "old"
    assert await store.get("c", "missing") is None
    assert await store.get_many("c", ["k", "large"]) == {"k": "old", "large": b"x" * 2_000_000}
    assert await store.exists("c", "k") and not await store.exists("c", "missing")
    assert [await store.get("c", "k") for _ in range(1_100)] == ["old"] * 1_100
    assert sorted([key async for key in store.keys("c")]) == ["expiring", "k", "large"]
    assert [name async for name in store.collections()] == ["c"]
    await store.ping()
    return (await store.get_entry("c", "k")).version

async def fail_to_write(store, version):
    later = kind(directory, clock=lambda: time.time() + 1e8, **options)
    for change in (
        store.put("c", "k", "new"),
        store.put("new", "k", b"x" * 2_000_000),
        store.put_if_absent("c", "new", "new"),
        store.compare_and_put("c", "k", "new", version=version),
        store.compare_and_delete("c", "k", version=version),
        store.touch("c", "k", ttl=5),
        store.delete("c", "k"),
        store.destroy_collection("c"),
        store.destroy(),
        later.cull(),
    ):
        try:
            await change
        except StoreError as error:
            assert type(error) is StoreError and not error.retryable, repr(error)
            print(error)
        else:
            raise AssertionError("nothing was raised")
    await later.aclose()

async def main():
    await begin()
    for _ in range(2):  # also when it is opened again
        async with kind(directory, **options) as store:
            await fail_to_write(store, await read(store))
            await read(store)

asyncio.run(main())
"""
FAILING = """
async def main():
    await begin()
    for _ in range(2):
        try:
            await kind(directory, **options).get("c", "k")
        except StoreError as error:
            assert type(error) is StoreError and not error.retryable, repr(error)
            print(error)
        else:
            raise AssertionError("nothing was raised")

asyncio.run(main())
"""
MAY_MOUNT = hasattr(os, "geteuid") and os.geteuid() == 0
KINDS = [DiskStore, FileTreeStore]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        allow(Path(name))


@pytest.fixture
def mounted(place: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A directory, and what makes it a read-only mount: where nothing may be mounted, it takes away permissions."""
    target = place / "mount"
    target.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(target)]
    if not MAY_MOUNT or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield target, lambda: forbid(target)
        return
    remount = ["mount", "-o", "remount,ro", str(target)]
    yield target, lambda: subprocess.run(remount, check=True) and None
    subprocess.run(["umount", str(target)], check=True)  # noqa: S607  # wherever the system has it


def is_mounted_read_only(directory: Path) -> bool:
    return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)


def forbid(directory: Path) -> None:
    for path in [*directory.rglob("*"), directory]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def allow(directory: Path) -> None:
    for path in [directory, *directory.rglob("*")]:
        if not is_mounted_read_only(path):
            path.chmod(0o755 if path.is_dir() else 0o644)


async def fill(store: DiskStore | FileTreeStore) -> None:
    await store.put("c", "k", "old")
    await store.put("c", "large", b"x" * 2_000_000)
    await store.put("c", "expiring", 1, ttl=1_000_000)


async def run(script: str, kind: type, directory: Path, *, unprivileged: bool, **options: object) -> set[str]:
    """Run a script in a process of its own, and return the different lines that it prints."""
    arguments = [kind.__name__, str(directory), str(unprivileged), repr(options)]
    command = [sys.executable, "-W", "error", "-c", PRELUDE + script, *arguments]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=100, check=False)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
    return set(ended.stdout.decode().splitlines())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_read_only_mount_is_read_and_not_written(
    kind: type[DiskStore | FileTreeStore], mounted: tuple[Path, Callable[[], None]]
) -> None:
    directory, make_read_only = mounted
    async with AsyncExitStack() as stack:
        async with kind(directory) as store:
            await fill(store)
        make_read_only()
        is_mount = is_mounted_read_only(directory)
        if not is_mount and kind is DiskStore:
            store = await stack.enter_async_context(kind(directory))
            await store.get("c", "k")
        found = sorted(directory.rglob("*"))
        said = await run(READING, kind, directory, unprivileged=not is_mount)
        assert sorted(directory.rglob("*")) == found
    assert all(("read-only file system" if is_mount else "may not") in line for line in said)


@pytest.mark.parametrize("kind", KINDS)
async def test_without_permission_to_write_reading_goes_on(kind: type[DiskStore | FileTreeStore], place: Path) -> None:
    directory = place / "data"
    async with kind(directory) as store:  # whose files let others find their way in SQLite's log
        await fill(store)
        forbid(directory)
        said = await run(READING, kind, directory, unprivileged=True)
        assert all("may not" in line for line in said)
        allow(directory)
        await store.put("c", "k", "newer")
        assert await store.get("c", "k") == "newer"


async def test_a_bound_needs_no_writing_where_there_can_be_none(mounted: tuple[Path, Callable[[], None]]) -> None:
    directory, make_read_only = mounted
    async with AsyncExitStack() as stack:
        async with DiskStore(directory) as store:
            await fill(store)
        make_read_only()
        is_mount = is_mounted_read_only(directory)
        if not is_mount:
            store = await stack.enter_async_context(DiskStore(directory))
            await store.get("c", "k")
        await run(READING, DiskStore, directory, unprivileged=not is_mount, max_size=5_000_000)


async def test_a_database_that_cannot_be_read_without_writing_beside_it_is_refused(place: Path) -> None:
    directory = place / "data"
    async with DiskStore(directory) as store:
        await fill(store)
    forbid(directory)
    (said,) = await run(FAILING, DiskStore, directory, unprivileged=True)
    assert "may not make the files that SQLite needs beside it; let this user write the directory" in said


async def test_a_database_that_may_not_be_read_is_refused(place: Path) -> None:
    directory = place / "data"
    async with DiskStore(directory) as store:
        await fill(store)
    forbid(directory)
    (directory / "satchel.sqlite3").chmod(0o200)
    (said,) = await run(FAILING, DiskStore, directory, unprivileged=True)
    assert "let this user read it" in said


async def copy_of_an_open_store(place: Path, target: Path, *suffixes: str) -> None:
    """Copy what is there while writes are in the log alone."""
    async with DiskStore(place / "open") as store:
        await fill(store)
        for suffix in suffixes:
            name = f"satchel.sqlite3{suffix}"
            await asyncio.to_thread(shutil.copy, place / "open" / name, target / name)


async def test_a_log_with_its_index_is_read(place: Path, mounted: tuple[Path, Callable[[], None]]) -> None:
    directory, make_read_only = mounted
    await copy_of_an_open_store(place, directory, "", "-wal", "-shm")
    make_read_only()
    await run(READING, DiskStore, directory, unprivileged=not is_mounted_read_only(directory))


async def test_a_log_that_cannot_be_read_is_refused(place: Path, mounted: tuple[Path, Callable[[], None]]) -> None:
    directory, make_read_only = mounted
    await copy_of_an_open_store(place, directory, "", "-wal")
    make_read_only()
    is_mount = is_mounted_read_only(directory)
    (said,) = await run(FAILING, DiskStore, directory, unprivileged=not is_mount)
    cure = "open and close a store on it where it can be written" if is_mount else "let this user write the directory"
    assert cure in said


@pytest.mark.parametrize("is_empty", [False, True])
async def test_no_database_is_made(is_empty: bool, mounted: tuple[Path, Callable[[], None]]) -> None:
    directory, make_read_only = mounted
    if is_empty:
        (directory / "satchel.sqlite3").touch()
    make_read_only()
    (said,) = await run(FAILING, DiskStore, directory, unprivileged=not is_mounted_read_only(directory))
    assert ("open it once with write access" if is_empty else "make it a writable directory") in said
    assert len(list(directory.iterdir())) == is_empty


@pytest.fixture
def second_view(place: Path) -> Iterator[Path]:
    """A read-only mount of what is in `data`; where nothing may be mounted, the same directory."""
    (place / "data").mkdir()
    (place / "view").mkdir()
    bind = ["mount", "--bind", str(place / "data"), str(place / "view")]
    if not MAY_MOUNT or subprocess.run(bind, capture_output=True, check=False).returncode:
        yield place / "data"
        return
    remount = ["mount", "-o", "remount,bind,ro", str(place / "view")]
    subprocess.run(remount, check=True)
    yield place / "view"
    subprocess.run(["umount", str(place / "view")], check=True)  # noqa: S607  # wherever the system has it


@pytest.mark.parametrize("closes", [False, True])
async def test_what_another_mount_changes_is_never_missed(place: Path, second_view: Path, closes: bool) -> None:
    async with DiskStore(place / "data") as writer:
        await fill(writer)
    async with DiskStore(second_view) as reader, AsyncExitStack() as stack:
        assert await reader.get("c", "k") == "old"
        writer = await stack.enter_async_context(DiskStore(place / "data"))
        await writer.put("c", "k", "new")
        if closes:
            await writer.aclose()
        if is_mounted_read_only(second_view):
            with pytest.raises(StoreError, match="was changed while it was open for reading; close the store"):
                await reader.get("c", "k")
        async with DiskStore(second_view) as again:
            assert await again.get("c", "k") == "new"
