"""The same work in several processes at the same moment, each with a store of its own over one directory."""

import json
import subprocess
import sys
import time
from pathlib import Path

PROCESSES = 4

WORK = """
import asyncio, json, sys, time

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

async def begin(make_store, directory, start, work, *arguments):
    await asyncio.sleep(float(start) - time.time())
    async with make_store(directory) as store:
        print(json.dumps(await globals()[work](store, *map(int, arguments))))
"""
"""Beginning of a program, which goes on with work of its own and runs `begin` with its arguments."""


def together(program: str, directory: Path, work: str, *arguments: object) -> list[list[int]]:
    """Run the same work in four processes that begin at the same moment; `process` stands for the number of each."""
    start = time.time() + 0.8
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, str(directory), str(start), work]
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
