"""DiskStore against a plain aiosqlite store that commits each call, and against py-key-value-aio's."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Self

import aiosqlite
import msgspec
from key_value.aio.stores.disk import DiskStore as PeerStore

from benchmarks.harness import Contender, Report, Work, pinned
from benchmarks.stalls import stalls
from benchmarks.value import PROFILE
from satchel.stores.disk import DiskStore

KEYS = [f"user:{number}" for number in range(2_000)]
STEPS = {1: 300, 32: 1_600, 256: 2_000}


class PlainStore:
    """What a service writes for itself: one table, each statement committed, the settings that everybody recommends."""

    def __init__(self, directory: str) -> None:
        self._file = Path(directory, "plain.sqlite3")
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    async def __aenter__(self) -> Self:
        self._database = await aiosqlite.connect(self._file, isolation_level=None)
        await self._database.execute("PRAGMA journal_mode = WAL")
        await self._database.execute("PRAGMA synchronous = NORMAL")
        await self._database.execute(
            "CREATE TABLE IF NOT EXISTS entries (collection TEXT, key TEXT, value BLOB, PRIMARY KEY (collection, key))"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()

    async def get(self, collection: str, key: str) -> Any:
        rows = await self._database.execute_fetchall(
            "SELECT value FROM entries WHERE collection = ? AND key = ?", (collection, key)
        )
        for (value,) in rows:
            return self._decode(value)
        return None

    async def put(self, collection: str, key: str, value: object) -> None:
        row = (collection, key, self._encode(value))
        await self._database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", row)


class Peer(PeerStore):
    """py-key-value-aio's, called with the order of arguments that the others have."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory=directory)


def using(make: Callable[[str], Any], verb: Callable[[Any], Callable[[str], Awaitable[Any]]]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        with tempfile.TemporaryDirectory() as directory:
            async with make(directory) as store:
                for key in KEYS:
                    await _put(store)(key)
                call = verb(store)

                async def work(steps: range) -> None:
                    for step in steps:
                        await call(KEYS[step])

                yield work

    return contender


def _put(store: Any) -> Callable[[str], Awaitable[None]]:
    if isinstance(store, Peer):
        return lambda key: store.put(key, PROFILE, collection="users")
    return lambda key: store.put("users", key, PROFILE)


def _get(store: Any) -> Callable[[str], Awaitable[Any]]:
    if isinstance(store, Peer):
        return lambda key: store.get(key, collection="users")
    return lambda key: store.get("users", key)


async def stalls_of_disk() -> dict[str, dict[str, float]]:
    async with DiskStore() as store:
        return await stalls(store)


async def get_times(counts: list[int]) -> dict[str, dict[str, float]]:
    rows = {}
    async with DiskStore() as store:
        stored = 0
        for count in counts:
            for start in range(stored, count, 5_000):
                await store.put_many("users", {f"user:{at}": PROFILE for at in range(start, start + 5_000)})
            stored = count
            times = []
            for at in range(3_000):
                key = f"user:{at * 7919 % count}"
                started = time.perf_counter()
                await store.get("users", key)
                times.append(time.perf_counter() - started)
            rows[f"{count:,} entries"] = {"get µs": median(times) * 1e6}
    return rows


def run(report: Report) -> None:
    makers: dict[str, Callable[[str], Any]] = {
        "satchel": DiskStore,
        "satchel, cache_size=0": lambda directory: DiskStore(directory, cache_size=0),
        "plain aiosqlite": PlainStore,
        "py-key-value-aio": Peer,
    }
    for title, verb in (("put", _put), ("get", _get)):
        contenders = {name: using(make, verb) for name, make in makers.items()}
        for tasks, steps in STEPS.items():
            report.compare(title, contenders, steps=steps, tasks=tasks)
    report.table("longest stall of the loop", asyncio.run(stalls_of_disk()))
    with pinned():
        report.table("get of one in", asyncio.run(get_times([10_000, 100_000, 1_000_000])))
