"""The file tree store among other processes, threads and event loops, and at the end of the program."""

import asyncio
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from satchel.stores.filetree import FileTreeStore
from satchel.stores.filetree.directory import Directory
from satchel.testing import FakeClock
from tests.stores.together import PROCESSES, WORK, together

pytestmark = pytest.mark.long  # whole programs, which take long to start

WRITERS = (
    WORK
    + """
from satchel.stores.filetree import FileTreeStore

async def fill(store, process):
    await asyncio.gather(*[store.put("shared", f"{process}-{at}", [process, "x" * at * 40]) for at in range(100)])

async def fill_and_destroy(store, process):
    for at in range(30):
        await store.put("shared", str(at % 3), [process, "x" * 5000])
        await store.put("shared", str(at % 3), b"x" * 5000)
        await (store.destroy() if at % 2 else store.destroy_collection("shared"))

async def switch(store, process):
    for at in range(150):
        await store.put("c", "k", [process, at] if at % 2 else b"%d %d" % (process, at))

asyncio.run(begin(FileTreeStore, *sys.argv[1:]))
"""
)


async def test_a_conditional_write_succeeds_in_one_process(tmp_path: Path):
    taken = await asyncio.to_thread(together, WRITERS, tmp_path, "take", 50)
    assert sorted(chain(*taken)) == list(range(50))
    released = await asyncio.to_thread(together, WRITERS, tmp_path, "release", 50)
    assert sorted(chain(*released)) == list(range(50))


async def test_no_increment_is_lost_between_processes(tmp_path: Path):
    await asyncio.to_thread(together, WRITERS, tmp_path, "increment", 50)
    async with FileTreeStore(tmp_path) as store:
        assert await store.get("counters", "shared") == PROCESSES * 50


async def test_processes_write_together(tmp_path: Path):
    await asyncio.to_thread(together, WRITERS, tmp_path, "fill", "process")
    async with FileTreeStore(tmp_path) as store:
        expected = {f"{process}-{at}": [process, "x" * at * 40] for process in range(PROCESSES) for at in range(100)}
        assert await store.get_many("shared", expected) == expected
        assert sorted([key async for key in store.keys("shared")]) == sorted(expected)


async def test_processes_destroy_and_write_together(tmp_path: Path):
    await asyncio.to_thread(together, WRITERS, tmp_path, "fill_and_destroy", "process")
    async with FileTreeStore(tmp_path) as store:
        await store.destroy()
        assert [name async for name in store.collections()] == []
    left = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))]  # noqa: ASYNC240  # it is over
    assert left == [".satchel", ".satchel/format.json", ".satchel/lock", ".satchel/locks"]


async def test_a_reader_meets_no_moment_without_the_entry(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "k", [0, 0])
        writing = asyncio.create_task(asyncio.to_thread(together, WRITERS, tmp_path, "switch", "process"))
        seen = {True: 0, False: 0}
        while not writing.done():
            value = await store.get("c", "k")
            assert value is not None
            seen[isinstance(value, bytes)] += 1
        await writing
        assert min(seen.values()) > 0


async def test_get_racing_delete_gives_the_value_or_none(tmp_path: Path):
    async with FileTreeStore(tmp_path) as writer, FileTreeStore(tmp_path) as reader:

        async def write() -> None:
            for number in range(100):
                await writer.put("c", "k", b"v" if number % 2 else "v")
                await writer.delete("c", "k")

        writing = asyncio.create_task(write())
        while not writing.done():
            assert await reader.get("c", "k") in ("v", b"v", None)
        await writing


async def test_an_expired_entry_is_not_removed_once_it_is_fresh(tmp_path: Path):
    clock = FakeClock()
    async with FileTreeStore(tmp_path, clock=clock) as store:
        await store.put_many("c", dict.fromkeys("abc", 1), ttl=1)
        await store.put("other", "k", 1, ttl=1)
        clock.advance(1)
        scan = await asyncio.to_thread(store._tree.scan, "c")
        page = await asyncio.to_thread(scan.page, "", clock())
        await asyncio.to_thread(scan.close)
        assert sorted(page.expired) == ["a.json", "b.json", "c.json"]
        await store.put("c", "b", "fresh")
        assert await asyncio.to_thread(store._tree.remove_expired, "c", page.expired, clock()) == 2
        assert await store.get("c", "b") == "fresh"
        assert await store.cull() == 1
        assert sorted(os.listdir(tmp_path)) == [".satchel", "c"]  # noqa: PTH208  # names are what is meant
        assert await store.cull() == 0


@pytest.mark.parametrize(("work", "expected"), [("get", "new"), ("exists", True)])
async def test_a_reader_between_two_kinds_of_file_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str, expected: object
):
    async with FileTreeStore(tmp_path) as writer, FileTreeStore(tmp_path) as reader:
        await writer.put("c", "k", b"old")
        pieces, loop = Directory._pieces, asyncio.get_running_loop()
        changed: list[str] = []

        def look(directory: Directory, name: str, limit: int | None = None):
            found = pieces(directory, name, limit)
            if name == "k.json":
                monkeypatch.undo()
                asyncio.run_coroutine_threadsafe(writer.put("c", "k", "new"), loop).result(50)
                changed.append(name)
            return found

        monkeypatch.setattr(Directory, "_pieces", look)
        assert await getattr(reader, work)("c", "k") == expected
        assert changed == ["k.json"]


def test_a_store_serves_one_event_loop_after_the_other(tmp_path: Path):
    store = FileTreeStore(tmp_path)
    for number in range(3):
        asyncio.run(store.put("c", "k", number))
        assert asyncio.run(store.get("c", "k")) == number
    asyncio.run(store.aclose())


FORGETFUL = """
import asyncio, sys
from satchel.stores.filetree import FileTreeStore
store = FileTreeStore(sys.argv[1])
async def main():
    await store.put("c", "k", 1)
    await store.put("c", "big", "x" * 1_000_000)
    async for key in store.keys("c"):
        break
    asyncio.ensure_future(store.put("c", "late", 1))
"""
ENDINGS = {
    "asyncio.run": "asyncio.run(main())",
    "a bare loop": "loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()",
    "an open loop": "loop = asyncio.new_event_loop(); loop.run_until_complete(main())",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_script_that_forgets_to_close_ends(tmp_path: Path, ending: str):
    code = FORGETFUL + ENDINGS[ending]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=30, capture_output=True, check=True)
    assert b"Error" not in done.stderr
    assert (tmp_path / "c" / "big.json").exists()


def test_a_forked_child_uses_the_store_too(tmp_path: Path):
    code = (
        FORGETFUL
        + """
import os
asyncio.run(main())
child = os.fork()
asyncio.run(store.put("c", "child" if child == 0 else "parent", os.getpid()))
if child:
    assert os.waitpid(child, 0)[1] == 0
    async def read():
        return sorted(await store.get_many("c", ["child", "parent"]))
    assert asyncio.run(read()) == ["child", "parent"]
"""
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=30, check=True)


async def test_five_megabytes_do_not_stall_the_loop(tmp_path: Path):
    """The blocking detector of all tests watches; how long the loop stalls is measured by the benchmark."""
    async with FileTreeStore(tmp_path) as store:
        values = {str(number): bytes([number]) * 5_000_000 for number in range(4)}
        await store.put_many("c", values)
        assert await store.get_many("c", values) == values
        text = "é" * 2_500_000
        await store.put("c", "text", [text])
        assert await store.get("c", "text") == [text]


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_durability_full_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability):
    synced = []
    fsync = os.fsync
    async with FileTreeStore(tmp_path, durability=durability) as store:
        await store.ping()
        monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), fsync(descriptor)))
        await store.put("c", "k", 1)
        await store.put_many("c", {"a": 1, "b": b"2"})
        await store.delete("c", "k")
        monkeypatch.undo()
        assert await store.get_many("c", ["k", "a", "b"]) == {"a": 1, "b": b"2"}
    # A file each; the collection's directory once a batch; the data directory when the collection is new.
    assert len(synced) == (3 + 3 + 1 if durability == "full" else 0)
