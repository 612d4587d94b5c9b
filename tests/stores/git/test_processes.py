"""Several processes on one branch: none loses what another committed, and a killed one harms nobody."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from satchel.stores.git import GitStore
from tests.stores.together import PROCESSES, WORK, together

pytestmark = pytest.mark.long

PROGRAM = (
    WORK
    + """
from satchel.stores.git import GitStore

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

asyncio.run(begin(GitStore, *sys.argv[1:]))
"""
)


async def test_processes_that_commit_to_one_branch_at_once_lose_nothing(tmp_path: Path) -> None:
    await asyncio.to_thread(together, PROGRAM, tmp_path / "r", "fill", "process")
    async with GitStore(tmp_path / "r") as store:
        assert await store.count("shared") == PROCESSES * 20
        assert [await store.count(f"own-{process}") for process in range(PROCESSES)] == [20] * PROCESSES
        assert len([one async for one in store.history("shared", "1-7")]) == 1


async def test_conditional_writes_of_processes_lose_no_increment(tmp_path: Path) -> None:
    await asyncio.to_thread(together, PROGRAM, tmp_path / "r", "increment", 20)
    async with GitStore(tmp_path / "r") as store:
        assert await store.get("counters", "shared") == PROCESSES * 20
        assert len([one async for one in store.history("counters", "shared")]) == PROCESSES * 20


async def test_a_process_that_is_killed_at_work_loses_nothing_acknowledged(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM]

    def work_and_die() -> int:
        last = 0
        for _ in range(3):
            process = subprocess.Popen([*command, str(tmp_path / "r"), "0", "forever", "0"], stdout=subprocess.PIPE)
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(10)]
            process.kill()
            process.communicate()
            # Where the process died with the lock of the branch, git needs it to be removed by hand too.
            (tmp_path / "r" / "refs" / "heads" / "satchel.lock").unlink(missing_ok=True)
            last = max(last, json.loads(lines[-1]))
        return last

    last = await asyncio.to_thread(work_and_die)
    async with GitStore(tmp_path / "r") as store:
        keys = [str(number) for number in range(1, last + 1)]
        assert await store.get_many("c", keys) == {key: int(key) for key in keys}
        await store.put("c", "k", "after")
        assert await store.get("c", "k") == "after"
