"""Several processes over one database at once."""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest

from satchel.stores.disk import DiskStore

pytestmark = pytest.mark.long  # whole programs, which take long to start

PROCESSES = 4

WRITERS = """
import asyncio, json, sys, time
from satchel.stores.disk import DiskStore

async def increment(store, times):
    for _ in range(times):
        while True:
            entry = await store.get_entry("counters", "shared")
            if entry is None:
                done = await store.put_if_absent("counters", "shared", 1)
            else:
                done = await store.compare_and_put("counters", "shared", entry.value + 1, version=entry.version)
            if done:
                break

async def take(store, count):
    return [at for at in range(count) if await store.put_if_absent("jobs", str(at), "mine")]

async def release(store, count):
    return [at for at in range(count) if await store.delete("jobs", str(at))]

async def fill(store, process):
    await asyncio.gather(*[store.put(f"process {process}", str(at), [process, "x" * at * 40]) for at in range(200)])

async def touch_only(store):
    return await store.put_if_absent("opened", "first", 1) is not None

async def open_each(directories):
    for directory in directories:
        async with DiskStore(directory.rstrip()) as store:
            print(await touch_only(store), flush=True)

async def main(directory, start, work, *arguments):
    await asyncio.sleep(float(start) - time.time())
    async with DiskStore(directory) as store:
        return await globals()[work](store, *map(int, arguments))

if sys.argv[1:]:
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
else:
    asyncio.run(open_each(sys.stdin))
"""


def together(directory: Path, work: str, *arguments: object) -> list[object]:
    """Run the same work in four processes that begin at the same moment; `process` stands for the number of each."""
    start = time.time() + 0.8
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITERS, str(directory), str(start), work]
            + [str(number if argument == "process" else argument) for argument in arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(PROCESSES)
    ]
    results = []
    for process in processes:
        output, errors = process.communicate(timeout=50)
        assert (process.returncode, errors) == (0, b"")
        results.append(json.loads(output))
    return results


def open_together(directory: Path) -> None:
    assert sorted(together(directory, "touch_only")) == [False] * (PROCESSES - 1) + [True]


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
    taken = together(tmp_path, "take", 50)
    assert sorted(chain(*taken)) == list(range(50))
    released = together(tmp_path, "release", 50)
    assert sorted(chain(*released)) == list(range(50))


def test_no_increment_is_lost_between_processes(tmp_path: Path) -> None:
    together(tmp_path, "increment", 50)
    assert asyncio.run(read(tmp_path, "counters", "shared")) == PROCESSES * 50


async def read(directory: Path, collection: str, key: str) -> object:
    async with DiskStore(directory) as store:
        return await store.get(collection, key)


async def test_processes_write_together(tmp_path: Path) -> None:
    await asyncio.to_thread(together, tmp_path, "fill", "process")
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
