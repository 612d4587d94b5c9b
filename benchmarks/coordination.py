"""Coordination over Redis and on disk: counters, locks, contended updates, and jobs through two workers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import quantiles
from uuid import uuid4

from redis.asyncio import Redis

from benchmarks.harness import Report, Work
from satchel import open_store
from satchel.coordination import Counter, Lock, Queue
from satchel.protocol import SupportsEverything

STEPS = 300
JOBS = 2000
PROCESSES, UPDATES = 8, 1000


def redis_url() -> str:
    return f"{os.environ['SATCHEL_TEST_REDIS_URL']}?prefix=benchmark-{uuid4().hex[:8]}"


@asynccontextmanager
async def plain_increments() -> AsyncIterator[Work]:
    client = Redis.from_url(os.environ["SATCHEL_TEST_REDIS_URL"])

    async def work(steps: range) -> None:
        for _ in steps:
            await client.incr("benchmark-plain")

    yield work
    await client.aclose()


def of_store(make: Callable[[SupportsEverything], Work]) -> Callable[[], object]:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async with open_store(redis_url()) as store:
            yield make(store)

    return contender


def increments(store: SupportsEverything) -> Work:
    counter = Counter(store, "counter")

    async def work(steps: range) -> None:
        for _ in steps:
            await counter.increment()

    return work


def puts(store: SupportsEverything) -> Work:
    async def work(steps: range) -> None:
        for _ in steps:
            await store.put("c", "k", 1)

    return work


def locks(store: SupportsEverything) -> Work:
    lock = Lock(store, "lock")

    async def work(steps: range) -> None:
        for _ in steps:
            async with lock:
                pass

    return work


async def drain(url: str) -> None:
    """Do jobs until none is left: what each worker process runs."""
    async with open_store(url) as store:
        queue = Queue(store, "jobs")
        print("ready", flush=True)
        sys.stdin.readline()

        async def work() -> None:
            while (job := await queue.take(timeout=0.5)) is not None:
                async with job:
                    pass

        await asyncio.gather(*[work() for _ in range(8)])


async def update_often(url: str) -> None:
    """Increment a contended counter, and print how long each increment took."""
    async with open_store(url) as store:
        counter = Counter(store, "contended")
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(UPDATES):
            begun = time.perf_counter()
            await counter.increment()
            print(time.perf_counter() - begun)


def in_processes(count: int, work: str, url: str) -> tuple[float, list[str]]:
    """Return how long processes took for their work, and what they printed."""
    command = [sys.executable, "-m", "benchmarks.coordination", work, url]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)  # noqa: S603  # this file, with fixed arguments
        for _ in range(count)
    ]
    streams = [(process.stdin, process.stdout) for process in processes]
    for _, output in streams:
        if output is not None:
            output.readline()
    begun = time.perf_counter()
    for start, _ in streams:
        if start is not None:
            start.write("go\n")
            start.flush()
    printed = [process.communicate()[0] for process in processes]
    return time.perf_counter() - begun, printed


async def push(url: str) -> float:
    async with open_store(url) as store:
        queue = Queue(store, "jobs")
        begun = time.perf_counter()
        await asyncio.gather(*[queue.push({"number": number}) for number in range(JOBS)])
        return time.perf_counter() - begun


def run(report: Report) -> None:
    contenders = {"plain redis-py INCR": plain_increments, "Counter.increment": of_store(increments)}
    contenders |= {"RedisStore.put": of_store(puts), "Lock, taken and released": of_store(locks)}
    report.compare("lone increments on Redis", contenders, steps=STEPS)
    with tempfile.TemporaryDirectory() as folder:
        rows = {}
        for name, url in {"Redis": redis_url(), "disk": f"disk://{folder}/data"}.items():
            pushed = asyncio.run(push(url))
            taken, _ = in_processes(2, "drain", url)
            rows[name] = {"pushed/s": JOBS / pushed, "done/s": JOBS / (taken - 0.5)}  # half a second of looking in vain
        report.table(f"{JOBS} jobs, two workers of 8 tasks", rows)
    _, printed = in_processes(PROCESSES, "update_often", redis_url())
    times = sorted(float(line) * 1000 for text in printed for line in text.split())
    cuts = quantiles(times, n=100)
    row = {"p50 ms": cuts[49], "p99 ms": cuts[98], "max ms": times[-1]}
    report.table(f"{PROCESSES} processes of {UPDATES} contended increments, Redis", {"Counter": row})


if __name__ == "__main__":
    asyncio.run({"drain": drain, "update_often": update_often}[sys.argv[1]](sys.argv[2]))
