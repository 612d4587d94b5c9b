"""Measures contenders side by side: interleaved rounds in one process, medians, ratios.

A contender is a function that gives an asynchronous context manager: it sets up, gives the work, and tears down. The
work is an async function that takes a range of step numbers and does one operation for each. Its loop is its own, so
that the harness adds nothing to the time of an operation.

Every comparison runs twice, each time set up anew on a fresh event loop: pinned to one CPU, where hops between threads
cost the same from run to run, and unpinned, as programs usually run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import platform
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

Work = Callable[[range], Awaitable[None]]
Contender = Callable[[], AbstractAsyncContextManager[Work]]

RESULTS = Path(__file__).parent / "results"


class Report:
    """Prints tables as they are measured, and keeps them for `results/NAME.json`.

    Args:
        name: The benchmark's name.
        rounds: How often each contender runs in each comparison.
    """

    def __init__(self, name: str, rounds: int = 21) -> None:
        self.name = name
        self.rounds = rounds
        self.tables: list[dict[str, Any]] = []

    def compare(
        self,
        title: str,
        contenders: Mapping[str, Contender],
        *,
        steps: int,
        tasks: int = 1,
        collect_garbage: bool = False,
    ) -> None:
        """Time contenders, and give each one's median against that of the first.

        Args:
            title: What one step does.
            contenders: Each one's name and how to make it; the first is what the others are compared with.
            steps: So many operations a round, shared among the tasks.
            tasks: So many tasks work at once.
            collect_garbage: Leave the garbage collector on while the clock runs.
        """
        rows: dict[str, dict[str, float]] = {name: {} for name in contenders}
        for mode, pinning in (("pinned", pinned), ("unpinned", contextlib.nullcontext)):
            with pinning():
                times = asyncio.run(_interleave(contenders, steps, tasks, self.rounds, collect_garbage))
            medians = {name: median(seconds) / steps * 1e6 for name, seconds in times.items()}
            first = next(iter(medians.values()))
            for name, microseconds in medians.items():
                rows[name][f"{mode} µs"] = microseconds
                rows[name][f"{mode} ratio"] = microseconds / first
        self.table(title if tasks == 1 else f"{title}, {tasks} tasks", rows)

    def table(self, title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
        """Print rows of numbers under a title, all with the same columns, and keep them."""
        self.tables.append({"title": title, "rows": rows})
        columns = list(next(iter(rows.values())))
        width = max(map(len, [title, *rows]))
        print("  ".join([f"{title:<{width}}", *(f"{column:>14}" for column in columns)]))
        for name, row in rows.items():
            print("  ".join([f"{name:<{width}}", *(f"{row[column]:>14.3f}" for column in columns)]))
        print(flush=True)

    def write(self) -> None:
        """Write everything measured to `results/NAME.json`."""
        RESULTS.mkdir(exist_ok=True)
        about = {"python": platform.python_version(), "machine": platform.machine(), "rounds": self.rounds}
        text = json.dumps({"benchmark": self.name, **about, "tables": self.tables}, indent=2)
        (RESULTS / f"{self.name}.json").write_text(text + "\n")


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Keep this process, and threads it starts meanwhile, on one CPU; do nothing where the system cannot.

    The servers that it started are on the same one: a reply that comes from another CPU may take longer to wake this
    process than to be made.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    _move({max(allowed)})
    try:
        yield
    finally:
        _move(allowed)


def _move(cpus: set[int]) -> None:
    os.sched_setaffinity(0, cpus)
    for server in _children(os.getpid()):
        for task in Path(f"/proc/{server}/task").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(task.name), cpus)


def _children(process: int) -> Iterator[int]:
    """Give the processes below one."""
    for listed in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, listed.read_text("ascii").split()):
            yield child
            yield from _children(child)


async def _interleave(
    contenders: Mapping[str, Contender], steps: int, tasks: int, rounds: int, collect_garbage: bool
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    async with AsyncExitStack() as stack:
        works = [(name, await stack.enter_async_context(contender())) for name, contender in contenders.items()]
        for number in range(rounds + 1):
            turn = number % len(works)
            for name, work in works[turn:] + works[:turn]:
                seconds = await _time(work, steps, tasks, collect_garbage)
                if number:  # the first round warms up
                    times[name].append(seconds)
    return times


async def _time(work: Work, steps: int, tasks: int, collect_garbage: bool) -> float:
    shares = [range(steps * task // tasks, steps * (task + 1) // tasks) for task in range(tasks)]
    gc.collect()
    if not collect_garbage:
        gc.disable()
    try:
        started = time.perf_counter()
        if tasks == 1:
            await work(shares[0])
        else:
            await asyncio.gather(*map(work, shares))
        return time.perf_counter() - started
    finally:
        gc.enable()
