"""Several processes over one database at once."""

import asyncio
import subprocess
import sys
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest

from satchel.stores.disk import DiskStore
from tests.stores.together import PROCESSES, WORK, together

pytestmark = pytest.mark.long  # whole programs, which take long to start

WRITERS = (
    WORK
    + """
from satchel.stores.disk import DiskStore

async def fill(store, process):
    await asyncio.gather(*[store.put(f"process {process}", str(at), [process, "x" * at * 40]) for at in range(200)])

async def touch_only(store):
    return await store.put_if_absent("opened", "first", 1) is not None

async def open_each(directories):
    for directory in directories:
        async with DiskStore(directory.rstrip()) as store:
            print(await touch_only(store), flush=True)

if sys.argv[1:]:
    asyncio.run(begin(DiskStore, *sys.argv[1:]))
else:
    asyncio.run(open_each(sys.stdin))
"""
)


def open_together(directory: Path) -> None:
    assert sorted(together(WRITERS, directory, "touch_only")) == [False] * (PROCESSES - 1) + [True]


@pytest.mark.parametrize("_round", range(3))
def test_processes_that_make_a_database_at_the_same_moment_make_one(_round: int, tmp_path: Path) -> None:
    open_together(tmp_path / "new")


@pytest.mark.long
def test_processes_make_one_database_again_and_again(tmp_path: Path) -> None:
    command, pipe = [sys.executable, "-c", WRITERS], subprocess.PIPE
    with ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe)) for _ in range(PROCESSES)]
        for number in range(100):
            for process in processes:
                process.stdin.write(f"{tmp_path / str(number)}\n".encode())
                process.stdin.flush()
            first = [process.stdout.readline() == b"True\n" for process in processes]
            assert sorted(first) == [False] * (PROCESSES - 1) + [True]
        for process in processes:
            process.stdin.close()
    assert [process.returncode for process in processes] == [0] * PROCESSES


def test_a_conditional_write_succeeds_in_one_process(tmp_path: Path) -> None:
    taken = together(WRITERS, tmp_path, "take", 50)
    assert sorted(chain(*taken)) == list(range(50))
    released = together(WRITERS, tmp_path, "release", 50)
    assert sorted(chain(*released)) == list(range(50))


def test_no_increment_is_lost_between_processes(tmp_path: Path) -> None:
    together(WRITERS, tmp_path, "increment", 50)
    assert asyncio.run(read(tmp_path, "counters", "shared")) == PROCESSES * 50


async def read(directory: Path, collection: str, key: str) -> object:
    async with DiskStore(directory) as store:
        return await store.get(collection, key)


async def test_processes_write_together(tmp_path: Path) -> None:
    await asyncio.to_thread(together, WRITERS, tmp_path, "fill", "process")
    async with DiskStore(tmp_path) as store:
        assert sorted([name async for name in store.collections()]) == [f"process {at}" for at in range(PROCESSES)]
        for process in range(PROCESSES):
            values = await store.get_many(f"process {process}", [str(at) for at in range(200)])
            assert values == {str(at): [process, "x" * at * 40] for at in range(200)}


async def test_what_one_store_writes_another_reads(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as one, DiskStore(tmp_path) as other:
        await one.put("a", "k", 1)
        entry = await other.get_entry("a", "k")
        assert entry is not None
        assert entry.value == 1
        await one.put("a", "k", 2)
        assert await other.compare_and_put("a", "k", 3, version=entry.version) is None
        assert await other.destroy()
        assert await one.get("a", "k") is None
        await one.put("a", "k", 4)
        assert await other.get("a", "k") == 4
