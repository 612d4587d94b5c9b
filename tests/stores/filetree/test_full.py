"""That a full disk is one clear error of a file tree, and that entries can be removed from it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

SCRIPT = """
import asyncio, pathlib, resource, signal, sys
from satchel import StoreUnavailableError
from satchel.stores.filetree import FileTreeStore

directory, limited, way, reopens = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "True"
now = 1000.0

async def fill(store):
    count, size = 0, 300_000
    while size:
        try:
            await store.put(f"c{count % 3}", f"k{count}", b"x" * size if count % 2 else "x" * size, ttl=100)
            count += 1
            if limited and count > 30:
                return count
        except StoreUnavailableError as error:
            assert error.retryable and "no room" in str(error), error
            size //= 2
    return count

def stuff():
    # What somebody else leaves free is taken too.
    if not limited:
        with open(directory + "/../stuffing", "wb", buffering=0) as file:
            try:
                while file.write(b"x"):
                    pass
            except OSError:
                pass

async def remove(store, count):
    global now
    if way == "delete":
        for at in range(count):
            assert await store.delete(f"c{at % 3}", f"k{at}"), at
    elif way == "delete_many":
        for at in range(3):
            assert await store.delete_many(f"c{at}", [f"k{key}" for key in range(at, count, 3)])
    elif way == "destroy_collection":
        for at in range(3):
            assert await store.destroy_collection(f"c{at}")
    elif way == "destroy":
        assert await store.destroy()
    else:
        now += 1000
        assert await store.cull() == count

async def fail_to_put(store, what):
    try:
        await what
    except StoreUnavailableError as error:
        assert error.retryable and "no room" in str(error), error
    else:
        raise AssertionError("nothing was raised")

async def main():
    store = FileTreeStore(directory, clock=lambda: now)
    await store.put("c0", "old", "old")
    if limited:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limited, limited))
    for _ in range(2):  # also once it has been emptied
        count = await fill(store)
        assert count > 5, count
        stuff()
        if reopens:
            await store.aclose()
            for lock in pathlib.Path(directory, ".satchel", "locks").iterdir():
                lock.unlink()  # as in a tree that was copied without them
            stuff()
            store = FileTreeStore(directory, clock=lambda: now)
        assert await store.get("c0", "k3") is not None
        await fail_to_put(store, store.put("c0", "old", b"x" * 3_000_000))
        await fail_to_put(store, store.put("c0", "big", "x" * 3_000_000))
        if way in ("delete", "delete_many", "cull"):
            assert await store.get("c0", "old") == "old"
        await remove(store, count)
        assert [key async for key in store.keys("c1")] == []
        await store.put("c1", "new", b"x" * 200_000)
        assert await store.get("c1", "new") == b"x" * 200_000
        await store.put("c0", "old", "old")
        assert await store.delete("c1", "new")
    await store.aclose()

asyncio.run(main())
"""
MAY_MOUNT = hasattr(os, "geteuid") and os.geteuid() == 0
LIMIT = 2 * 1024 * 1024


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A directory on a small disk, or where nothing may be mounted, the limit of file sizes that stands in for it."""
    place = tmp_path / "disk"
    place.mkdir()
    if request.param == "tmpfs":
        commands = [["mount", "-t", "tmpfs", "-o", f"size={LIMIT}", "tmpfs", str(place)]]
    else:
        image = tmp_path / "image"
        image.write_bytes(bytes(2 * LIMIT))
        commands = [
            ["mkfs.ext4", "-q", "-b", "1024", "-O", "^has_journal", str(image)],
            ["mount", "-o", "loop", str(image), str(place)],
        ]
    if not MAY_MOUNT or any(subprocess.run(each, capture_output=True, check=False).returncode for each in commands):
        yield place, LIMIT
        return
    yield place, 0
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607  # wherever the system has it


def run(directory: Path, limit: int, way: str, reopens: bool) -> None:
    arguments = [str(directory), str(limit), way, str(reopens)]
    ended = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, timeout=100, check=False)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")


@pytest.mark.parametrize("way", ["delete", "delete_many", "cull", "destroy_collection", "destroy"])
@pytest.mark.parametrize("reopens", [False, True])
def test_a_full_disk_can_be_emptied(way: str, reopens: bool, small_disk: tuple[Path, int]) -> None:
    place, limit = small_disk
    run(place / "data", limit, way, reopens)
