"""Talks to the service as 32 concurrent clients would."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import httpx
from models import Distribution, InstalledFile
from progress import Progress

CLIENTS = 32
CHUNK = 100

Inventory = list[tuple[Distribution, list[InstalledFile]]]


@dataclass
class Measured:
    """Holds what a phase took: seconds in all, and seconds for each request."""

    title: str
    entries: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


async def load(http: httpx.AsyncClient, inventory: Inventory) -> Measured:
    """Put every distribution and every file into the catalogue."""

    async def put_distribution(distribution: Distribution) -> int:
        body = distribution.model_dump()
        (await http.put(f"/distributions/{distribution.name}", json=body)).raise_for_status()
        return 1

    async def put_files(files: list[InstalledFile]) -> int:
        (await http.put("/files", json=[file.model_dump() for file in files])).raise_for_status()
        return len(files)

    return await _all_at_once("Load", inventory, put_distribution, put_files)


async def read_back(http: httpx.AsyncClient, inventory: Inventory, title: str) -> Measured:
    """Get everything again, and check it against what was put."""

    async def check_distribution(distribution: Distribution) -> int:
        answer = (await http.get(f"/distributions/{distribution.name}")).raise_for_status()
        return _expect(answer.json(), distribution.model_dump(), 1)

    async def check_files(files: list[InstalledFile]) -> int:
        answer = (await http.post("/files/lookup", json=[file.key for file in files])).raise_for_status()
        return _expect(answer.json(), {file.key: file.model_dump() for file in files}, len(files))

    return await _all_at_once(title, inventory, check_distribution, check_files)


def _expect(found: object, wanted: object, count: int) -> int:
    if found != wanted:
        raise SystemExit("the catalogue gave back something else than was put into it")
    return count


async def _all_at_once(
    title: str,
    inventory: Inventory,
    one_distribution: Callable[[Distribution], Awaitable[int]],
    some_files: Callable[[list[InstalledFile]], Awaitable[int]],
) -> Measured:
    jobs: list[Callable[[], Awaitable[int]]] = []
    for distribution, files in inventory:
        jobs.append(lambda distribution=distribution: one_distribution(distribution))
        jobs.extend(lambda chunk=chunk: some_files(chunk) for chunk in _chunks(files))
    measured, waiting = Measured(title), iter(jobs)
    total = sum(1 + len(files) for _, files in inventory)
    begun = time.perf_counter()

    async def client() -> None:
        for job in waiting:
            started = time.perf_counter()
            entries = await job()
            measured.entries += entries
            measured.latencies.append(time.perf_counter() - started)
            progress.show(measured.entries)

    with Progress(title, total) as progress:
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client())
    measured.seconds = time.perf_counter() - begun
    return measured


def _chunks(files: list[InstalledFile]) -> Iterable[list[InstalledFile]]:
    return (files[start : start + CHUNK] for start in range(0, len(files), CHUNK))
