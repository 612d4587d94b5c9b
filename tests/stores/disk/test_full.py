"""That entries can be removed from a disk store on a full disk, and its room be used again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

SCRIPT = """
import asyncio, os, resource, signal, sys
from satchel import SatchelError
from satchel.stores.disk import DiskStore

directory, limited, way, reopens = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "True"
stuffing = os.path.join(os.path.dirname(directory), "stuffing")
now = 1000.0

async def fill(store):
    count, size = 0, 50_000
    while size:
        try:
            await store.put("c", f"k{count}", b"x" * size, ttl=100)
            count += 1
        except SatchelError as error:
            assert error.retryable or limited, error
            size //= 2
    return count

def stuff():
    # What somebody else leaves free is taken too.
    if not limited:
        with open(stuffing, "wb", buffering=0) as file:
            try:
                while file.write(b"x"):
                    pass
            except OSError:
                pass

async def remove(store, count):
    global now
    if way == "delete":
        for at in range(count):
            assert await store.delete("c", f"k{at}"), at
    elif way == "delete_many":
        assert await store.delete_many("c", [f"k{at}" for at in range(count)]) == count
    elif way == "destroy_collection":
        assert await store.destroy_collection("c")
    elif way.startswith("destroy"):
        assert await store.destroy()
    else:
        now += 1000
        assert await store.cull() == count

async def main():
    warm = DiskStore()
    await warm.put("c", "k", 1)
    await warm.aclose()
    store = DiskStore(None if way == "destroy a temporary one" else directory, clock=lambda: now)
    if limited:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limited, limited))
    for _ in range(2):  # also once it has been emptied
        count = await fill(store)
        assert count > 10, count
        stuff()
        if reopens:
            await store.aclose()
            stuff()
            store = DiskStore(directory, clock=lambda: now)
        assert await store.get("c", "k3") is not None
        await remove(store, count)
        assert [key async for key in store.keys("c")] == []
        await store.put("c", "new", b"x" * 50_000)
        assert await store.get("c", "new") == b"x" * 50_000
        await store.delete("c", "new")
    await store.aclose()

asyncio.run(main())
"""
MAY_MOUNT = hasattr(os, "geteuid") and os.geteuid() == 0
LIMIT = 2 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A directory on a disk of 2 MB, or where nothing may be mounted, the limit that stands in for it."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={LIMIT}", "tmpfs", str(place)]
    if not MAY_MOUNT or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield place, LIMIT
        return
    yield place, 0
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607  # wherever the system has it


WAYS = ["delete", "delete_many", "cull", "destroy_collection", "destroy"]


def run(directory: Path, limit: int, way: str, reopens: bool) -> None:
    arguments = [str(directory), str(limit), way, str(reopens)]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    # Temporary directories are on the same disk.
    around = {**os.environ, "TMPDIR": str(directory.parent)}
    ended = subprocess.run(command, capture_output=True, timeout=100, check=False, env=around)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reopens", [False, True])
def test_a_full_disk_can_be_emptied(way: str, reopens: bool, small_disk: tuple[Path, int]) -> None:
    place, limit = small_disk
    run(place / "data", limit, way, reopens)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reopens", [False, True])
def test_a_store_at_the_limit_of_file_sizes_can_be_emptied(way: str, reopens: bool, tmp_path: Path) -> None:
    run(tmp_path / "data", LIMIT, way, reopens)


def test_a_temporary_store_on_a_full_disk_can_be_emptied(small_disk: tuple[Path, int]) -> None:
    place, limit = small_disk
    run(place / "data", limit, "destroy a temporary one", False)
