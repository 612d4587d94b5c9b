"""Simulation: programs that use stores, run in virtual time among faults that are drawn from a seed.

A scenario is an async function of a `World`. It makes processes and servers, has work done in the processes, and raises
if something is not as promised. What chance decides comes from the seed, so that one seed is one run:

```python
import asyncio
from contextlib import suppress

from satchel import StoreError
from satchel.testing.simulation import Faults, SimulatedEngine, SimulatedStore, World, check, disturb


async def counting(world: World) -> None:
    engine = SimulatedEngine(world)
    world.faults = Faults.drawn(world.random("faults"))

    async def count(process, name):
        async with SimulatedStore(process, engine) as store:
            for number in range(5):
                if world.takes_place(f"{name}.{number}"):  # a shrunk run leaves steps out
                    with suppress(StoreError):
                        await store.collection("counts").update("visits", lambda visits: visits + 1, initial=0)

    processes = [world.process("first"), world.process("second")]
    disturb(world, processes, [engine])
    running = [process.start(count, process, process.name) for process in processes]
    await world.join(running)


def test_counting():
    check(counting, range(100))
```

`check` raises with the history of the smallest run that fails, and the line that repeats it. After the scenario the
world itself checks that no task, timer or connection is left, and that no error was left unhandled.
"""

from __future__ import annotations

from .disturbing import disturb
from .history import UNKNOWN, History, HistoryCall
from .loop import SimulatedLoop
from .recorder import Recorder
from .running import Outcome, Scenario, check, run, shrink
from .server import SimulatedServer, Subscription
from .stores import SimulatedEngine, SimulatedKeyedStore, SimulatedStore
from .world import Faults, Process, ProcessCrashedError, SimulationError, World

__all__ = [
    "UNKNOWN",
    "Faults",
    "History",
    "HistoryCall",
    "Outcome",
    "Process",
    "ProcessCrashedError",
    "Recorder",
    "Scenario",
    "SimulatedEngine",
    "SimulatedKeyedStore",
    "SimulatedLoop",
    "SimulatedServer",
    "SimulatedStore",
    "SimulationError",
    "Subscription",
    "World",
    "check",
    "disturb",
    "run",
    "shrink",
]
