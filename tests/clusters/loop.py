"""A loop that loses one node after the other under load, and judges what the stores did."""

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clusters.load import Load, Round, judge, without_stale_reads
from tests.clusters.nodes import Cluster, Fault

SECONDS = float(os.environ.get("CLUSTER_SECONDS", "60"))
"""How long a loop lasts: a minute, or what the environment says."""
PATIENCE = 45.0
"""Seconds within which the calls must succeed again."""
STORES = 4


@dataclass
class Report:
    """What a loop found.

    Attributes:
        recovery: For each fault, the seconds from it to each store's first success with a key of the lost node.
        last_failure: For each fault, the seconds from it to the end of the last call that failed.
        lost: How many acknowledged writes came to nothing, by fault.
        stale: How many keys were read as they had been before.
        fallen: The keys that fell back to a state from before a fault.
        wrong: The keys whose calls no order explains.
    """

    recovery: dict[Fault, list[float]] = field(default_factory=dict)
    last_failure: dict[Fault, list[float]] = field(default_factory=dict)
    lost: dict[Fault, list[int]] = field(default_factory=dict)
    stale: int = 0
    fallen: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0
    calls: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    strangers: list[BaseException] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.calls} calls, the longest {self.longest:.1f} s; {dict(self.errors)}"]
        for fault, times in self.recovery.items():
            last, lost = self.last_failure[fault], self.lost[fault]
            lines.append(
                f"{fault}: {len(last)} times, first success after {statistics.median(times):.1f} s "
                f"(at most {max(times):.1f} s), last failure after {statistics.median(last):.1f} s "
                f"(at most {max(last):.1f} s), acknowledged writes lost: {sum(lost)}"
            )
        if self.stale:
            lines.append(f"keys read as they had been before: {self.stale}")
        return "\n".join([*lines, *self.wrong])


async def run(
    cluster: Cluster,
    open_store: Callable[[], Any],
    seconds: float,
    *,
    limit: float,
    sockets: int,
    faults: Sequence[Fault] | None = None,
    serves: float = 0.0,
    stale_reads: bool = False,
) -> Report:
    """Lose nodes under load for so many seconds, but each kind of fault at least once.

    Args:
        cluster: The nodes.
        open_store: Makes a store.
        seconds: How long.
        limit: How many seconds a call may take.
        sockets: How many connections each store may have.
        faults: The faults, in turns; by default all that the cluster can suffer.
        serves: For so many seconds a lost node goes on to serve its clients.
        stale_reads: The engine lets reads return old data after a fault; these are counted.

    Raises:
        AssertionError: The calls did not succeed again, or something was left over.
    """
    async with open_store() as store:  # what a driver keeps for the whole process is there from now on
        await store.put("warm", "up", 1)
    before = Traces.now()
    report = Report()
    end = time.monotonic() + seconds
    kinds = list(faults or cluster.faults)
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store()) for _ in range(STORES)]
        await asyncio.gather(*(store.put("warm", "up", 1) for store in stores))
        load = Load(stores)
        stack.push_async_callback(load.close)
        number = 0
        while number < len(kinds) or time.monotonic() < end:
            await _round(
                cluster, load, report, kinds[number % len(kinds)], str(number), limit, serves, stale_reads=stale_reads
            )
            traces = Traces.now()
            assert traces.sockets - before.sockets <= STORES * sockets, f"{traces.sockets} sockets are open"
            number += 1
    report.longest, report.calls = load.longest, load.calls
    report.errors, report.strangers = load.errors, load.strangers
    await Traces.settle(before)
    return report


async def _round(
    cluster: Cluster,
    load: Load,
    report: Report,
    fault: Fault,
    name: str,
    limit: float,
    serves: float,
    *,
    stale_reads: bool,
) -> None:
    victim = await asyncio.to_thread(cluster.victim)
    affected = await asyncio.to_thread(cluster.affected, victim)
    round_ = load.begin(name)
    await asyncio.sleep(1)
    begin = time.monotonic()
    await asyncio.to_thread(cluster.lose, victim, fault)
    await asyncio.sleep(serves)
    lost = time.monotonic()
    round_.note_fault()
    try:
        await asyncio.to_thread(cluster.replace, victim)
        if not await _succeed(round_, lost, affected):
            stores = sorted(_successes(round_, lost, affected))
            said = await asyncio.to_thread(cluster.account)
            raise AssertionError(f"{PATIENCE:.0f} s after node {victim} was lost only stores {stores} succeed\n{said}")
        if serves:
            await load.pause(limit)  # later writes would hide what was lost
        await asyncio.sleep(max(1.5, serves))
    finally:
        await asyncio.to_thread(cluster.give_back, victim, fault)
    await asyncio.to_thread(cluster.wait_until_whole)
    await asyncio.sleep(0.5)
    await load.pause(limit)
    await load.look(round_, PATIENCE)
    recovered = [when - begin for when in _successes(round_, lost, affected).values()]
    failed = [done.end for done in round_.done if not done.succeeded and done.end > begin]
    report.recovery.setdefault(fault, []).extend(recovered)
    report.last_failure.setdefault(fault, []).append(max(failed, default=begin) - begin)
    report.lost.setdefault(fault, []).append(await asyncio.to_thread(_judge, round_, report, stale_reads=stale_reads))
    print(  # noqa: T201  # for those who watch a long run
        f"{name}: {fault}, first successes after {min(recovered):.2f} to {max(recovered):.2f} s, last failure after "
        f"{report.last_failure[fault][-1]:.2f} s, lost {report.lost[fault][-1]}, longest {load.longest:.1f}, "
        f"{dict(load.errors)}",
        flush=True,
    )


async def _succeed(round_: Round, since: float, affected: Callable[[str], bool]) -> bool:
    """Wait until each store has had a success, and return whether that came in time."""
    while len(_successes(round_, since, affected)) < STORES:
        if time.monotonic() - since > PATIENCE:
            return False
        await asyncio.sleep(0.05)
    return True


def _successes(round_: Round, since: float, affected: Callable[[str], bool]) -> dict[int, float]:
    """Return when each store first succeeded in a call that began after some time."""
    first: dict[int, float] = {}
    for done in round_.done:
        if done.succeeded and done.start > since and affected(done.key):
            first[done.store] = min(done.end, first.get(done.store, done.end))
    return first


def _judge(round_: Round, report: Report, *, stale_reads: bool) -> int:
    lost = 0
    for key, history in round_.histories.items():
        if stale_reads and not history.is_linearizable():
            history = without_stale_reads(history, round_.faults[key])  # noqa: PLW2901  # it is judged in its place
            report.stale += 1
        explained, fallen = judge(history, round_.faults[key])
        lost += fallen
        if fallen or not explained:
            (report.fallen if explained else report.wrong).append(
                f"{key}, fault at {round_.faults[key]}: {history.calls}"
            )
    return lost


@dataclass(frozen=True)
class Traces:
    """What this process holds."""

    sockets: int
    threads: int
    tasks: int

    @classmethod
    def now(cls) -> "Traces":
        """Count."""
        return cls(_sockets(), threading.active_count() - _workers(), len(asyncio.all_tasks()))

    @classmethod
    async def settle(cls, before: "Traces") -> None:
        """Wait a little until there is no more than before.

        Raises:
            AssertionError: There is more.
        """
        for _ in range(100):
            now = cls.now()
            if now.sockets <= before.sockets and now.threads <= before.threads and now.tasks <= before.tasks:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"before the loop there were {before}, now {now}: {asyncio.all_tasks()}")


def _sockets() -> int:
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # of the descriptor for looking
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def _workers() -> int:
    """Return how many threads are those of `asyncio.to_thread`, which are kept."""
    return sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())
