"""Gets and puts mixed, by several tasks of one process and of four over one place: DiskStore against others."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import nullcontext
from statistics import median
from typing import Any, Self

import diskcache

from benchmarks.disk import KEYS, Peer, PlainStore
from benchmarks.harness import Report, pinned
from benchmarks.value import PROFILE
from satchel.stores.disk import DiskStore

TASKS = 8
SECONDS = 2.0
ROUNDS = 5
HOT = KEYS[:500]


class DiskCache:
    """diskcache, which blocks the event loop; it pickles what is no text, number or bytes."""

    def __init__(self, directory: str) -> None:
        self._cache = diskcache.Cache(directory, eviction_policy="none")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cache.close()

    async def get(self, collection: str, key: str) -> Any:
        return self._cache.get((collection, key))

    async def put(self, collection: str, key: str, value: object) -> None:
        self._cache.set((collection, key), value)


class PeerInOrder(Peer):
    """py-key-value-aio's, called with the order of arguments that the others have."""

    async def get(self, collection: str, key: str) -> Any:  # type: ignore[override]  # that is what it is for
        return await super().get(key, collection=collection)

    async def put(self, collection: str, key: str, value: Any) -> None:  # type: ignore[override]  # as above
        await super().put(key, value, collection=collection)


STORES: dict[str, Any] = {
    "satchel": DiskStore,
    "satchel, cache_size=0": lambda directory: DiskStore(directory, cache_size=0),
    "plain aiosqlite": PlainStore,
    "diskcache": DiskCache,
    "py-key-value-aio": PeerInOrder,
}


async def fill(name: str, directory: str) -> None:
    async with STORES[name](directory) as store:
        for key in HOT:
            await store.put("users", key, PROFILE)


async def work(name: str, directory: str, puts: float, start: float) -> dict[str, list[float]]:
    """Return the seconds that each get and put took."""
    times: dict[str, list[float]] = {"get": [], "put": []}

    async def one_task(number: int) -> None:
        chance = random.Random(f"{start} {number}")  # noqa: S311  # it hides nothing
        while (began := time.perf_counter()) < end:
            key = HOT[int(chance.random() * len(HOT))]
            if chance.random() < puts:
                await store.put("users", key, PROFILE)
                times["put"].append(time.perf_counter() - began)
            else:
                await store.get("users", key)
                times["get"].append(time.perf_counter() - began)

    async with STORES[name](directory) as store:
        for key in HOT:
            await store.get("users", key)
        await asyncio.sleep(start - time.time())
        end = time.perf_counter() + SECONDS
        await asyncio.gather(*map(one_task, range(TASKS)))
    return times


def round_of(name: str, processes: int, puts: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(fill(name, directory))
        start = time.time() + 1.5
        command = [sys.executable, "-m", "benchmarks.processes", name, directory, str(puts), str(start)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]  # noqa: S603  # our own
        outputs = [json.loads(process.communicate()[0]) for process in running]
    gets, all_puts = ([seconds for output in outputs for seconds in output[verb]] for verb in ("get", "put"))
    return {
        "calls/s": (len(gets) + len(all_puts)) / SECONDS,
        "get p99 ms": percentile(gets, 0.99),
        "get max ms": max(gets) * 1e3,
        "put p99 ms": percentile(all_puts, 0.99),
    }


def percentile(seconds: Iterable[float], share: float) -> float:
    ordered = sorted(seconds)
    return ordered[int(len(ordered) * share)] * 1e3


def run(report: Report) -> None:
    for processes, puts in ((1, 0.1), (4, 0.5)):
        with pinned() if processes == 1 else nullcontext():
            rounds: dict[str, list[dict[str, float]]] = {name: [] for name in STORES}
            for _ in range(ROUNDS):
                for name, results in rounds.items():
                    results.append(round_of(name, processes, puts))
        rows = {
            name: {column: median([result[column] for result in results]) for column in results[0]}
            for name, results in rounds.items()
        }
        called = "1 process" if processes == 1 else f"{processes} processes"
        report.table(f"{called}, {TASKS} tasks, {puts:.0%} puts", rows)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(work(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))))
