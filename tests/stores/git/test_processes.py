"""Several processes on one branch: none loses what another committed, and a killed one harms nobody."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from satchel.stores.git import GitStore

pytestmark = pytest.mark.long

PROGRAM = """
import asyncio, json, sys, time
from satchel.stores.git import GitStore

async def increment(store, process):
    for _ in range(20):
        while True:
            entry = await store.get_entry("counters", "shared")
            if entry is None:
                done = await store.put_if_absent("counters", "shared", 1)
            else:
                done = await store.compare_and_put("counters", "shared", entry.value + 1, version=entry.version)
            if done:
                break

async def fill(store, process):
    for number in range(20):
        await store.put("shared", f"{process}-{number}", number)
        await store.put(f"own-{process}", str(number), number)

async def forever(store, process):
    number = 0
    while True:
        number += 1
        await store.put("c", str(number), number)
        print(number, flush=True)

async def main(path, start, work, process):
    await asyncio.sleep(float(start) - time.time())
    async with GitStore(path) as store:
        await globals()[work](store, process)

asyncio.run(main(*sys.argv[1:]))
"""


def start(path: Path, work: str, process: int, at: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(path), str(at), work, str(process)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def together(path: Path, work: str) -> None:
    """Run the same work in three processes that begin at the same moment, and make the repository too."""
    at = time.time() + 1.5
    running = [start(path, work, process, at) for process in range(3)]
    for process in running:
        process.communicate(timeout=120)
        assert process.returncode == 0


async def test_processes_that_commit_to_one_branch_at_once_lose_nothing(tmp_path: Path) -> None:
    await asyncio.to_thread(together, tmp_path / "r", "fill")
    async with GitStore(tmp_path / "r") as store:
        assert await store.count("shared") == 60
        assert [await store.count(f"own-{process}") for process in range(3)] == [20] * 3
        assert len([one async for one in store.history("shared", "1-7")]) == 1


async def test_conditional_writes_of_processes_lose_no_increment(tmp_path: Path) -> None:
    await asyncio.to_thread(together, tmp_path / "r", "increment")
    async with GitStore(tmp_path / "r") as store:
        assert await store.get("counters", "shared") == 60
        assert len([one async for one in store.history("counters", "shared")]) == 60


async def test_a_process_that_is_killed_at_work_loses_nothing_acknowledged(tmp_path: Path) -> None:
    def work_and_die() -> int:
        last = 0
        for _ in range(3):
            process = start(tmp_path / "r", "forever", 0, 0)
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(10)]
            process.kill()
            process.communicate()
            last = max(last, json.loads(lines[-1]))
        return last

    last = await asyncio.to_thread(work_and_die)
    # Where the process died with the lock of the branch, git needs it to be removed by hand too.
    (tmp_path / "r" / "refs" / "heads" / "satchel.lock").unlink(missing_ok=True)
    async with GitStore(tmp_path / "r") as store:
        keys = [str(number) for number in range(1, last + 1)]
        assert await store.get_many("c", keys) == {key: int(key) for key in keys}
        await store.put("c", "k", "after")
        assert await store.get("c", "k") == "after"
