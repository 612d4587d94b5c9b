"""Pushes jobs, runs two workers, kills one now and then, and counts at the end."""

import argparse
import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from worker import SCHEDULED, queue_of

from satchel import open_store

HERE = Path(__file__).parent
DATA = HERE.parent.parent / ".satchel" / "worker"
SHORTEST_LIFE, LONGEST_LIFE = 0.5, 1.5


class Workers:
    """Two processes, of which one is killed now and then, and replaced."""

    def __init__(self, url: str) -> None:
        self._command = [sys.executable, str(HERE / "worker.py"), url]
        self._processes: list[subprocess.Popen[bytes]] = []
        self.killed = 0

    def __enter__(self) -> Self:
        self._processes = [subprocess.Popen(self._command) for _ in range(2)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def kill_one(self) -> None:
        """Kill a worker without warning, and start another one."""
        dead = self._processes.pop(random.randrange(2))  # noqa: S311  # chance, and no secret
        dead.kill()
        dead.wait()
        self.killed += 1
        self._processes.append(subprocess.Popen(self._command))


async def run(url: str, jobs: int, kills: int) -> None:
    """Push jobs, let workers do them, and print how it went."""
    async with open_store(url) as store:
        queue = queue_of(store)
        await asyncio.gather(*[queue.push({"to": f"{n}@example.com"}, id=f"mail {n}") for n in range(jobs)])
        await queue.push({"to": "nobody@example.com"}, id="refused")
        with Workers(url) as workers:
            begun = time.monotonic()
            while (left := await queue.size()) or await store.get("schedule", "next", 0) < SCHEDULED:
                seconds = time.monotonic() - begun
                print(f"\r{seconds:5.1f} s  {left:4} jobs left, {workers.killed} workers killed", end="")
                await asyncio.sleep(random.uniform(SHORTEST_LIFE, LONGEST_LIFE))  # noqa: S311  # as above
                if workers.killed < kills:
                    workers.kill_one()
        sent = [key async for key in store.keys("outbox")]
        dead = [job async for job in queue.dead()]
        print(f"\n{len(sent)} mails sent, {workers.killed} workers killed")
        for job in dead:
            print(f"dead: {job.id}, after {job.attempts} attempts, {job.error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="URL of the store (default: a directory beside the checkout, emptied first)")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.store is None:
        shutil.rmtree(DATA, ignore_errors=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(arguments.store or f"disk://{DATA}", arguments.jobs, arguments.kills))


if __name__ == "__main__":
    main()
