"""Scenarios of satchel's own: stores over an engine in trouble, alone and in stacks of wrappers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from .disturbing import disturb
from .recorder import Recorder
from .stores import SimulatedEngine, SimulatedKeyedStore, SimulatedStore
from .world import Faults, Process, World

_KEYS: Final = ("a", "b", "c")


class _UnconditionalStore(SimulatedStore):
    """Store without conditional writes."""

    _put_if = None  # type: ignore[assignment]  # a hook set to None is not there


class _PlainStore(SimulatedStore):
    """Store that sends one item after the other."""

    _max_items = 1


class _UnconditionalKeyedStore(SimulatedKeyedStore):
    """Store without conditional writes that takes one item in a request."""

    _put_if_one = None  # type: ignore[assignment]  # a hook set to None is not there


async def plain(world: World) -> None:
    """Stores that send one item after the other."""
    await _stores(world, _PlainStore, {"max_inflight": 1})


async def bulk(world: World) -> None:
    """Stores that send batches."""
    chance = world.random("kind")
    kind = chance.choice((SimulatedStore, SimulatedStore, _UnconditionalStore))
    settings = {
        "max_inflight": chance.choice((1, 2, 4)),
        "max_items": chance.choice((1, 2, 500)),
        "shield_writes": chance.random() < 0.5,
    }
    await _stores(world, kind, settings)


async def keyed(world: World) -> None:
    """Stores that send each item in a request of its own."""
    chance = world.random("kind")
    kind = chance.choice((SimulatedKeyedStore, SimulatedKeyedStore, _UnconditionalKeyedStore))
    settings = {"max_inflight": chance.choice((1, 2, 64)), "shield_writes": chance.random() < 0.5}
    await _stores(world, kind, settings)


async def _stores(world: World, kind: Any, settings: dict[str, Any]) -> None:
    chance = world.random("shape")
    engine = SimulatedEngine(world)
    world.faults = Faults.drawn(world.random("faults"))
    processes = [world.process(f"p{number}") for number in range(chance.randint(1, 3))]
    skew = chance.choice((0.0, 0.0, 5.0))
    disturb(world, processes, [engine], skew=skew)
    ttls = chance.choice(((None,), (None, None, 0.5, 20.0)))
    recorder = Recorder(world, _KEYS[: chance.randint(1, 3)], ttls=ttls)

    async def live(process: Process, workers: int, calls: int) -> None:
        async with kind(process, engine, **settings) as store:
            await asyncio.gather(
                *(recorder.work(process, store, f"{process.name}.{worker}", calls) for worker in range(workers))
            )

    running = [process.start(live, process, chance.randint(1, 3), chance.randint(1, 6)) for process in processes]
    await world.join(running)
    await _look(world, recorder, SimulatedStore(world.main, engine))
    recorder.check()


async def _look(world: World, recorder: Recorder, store: Any) -> None:
    """Read all keys when the faults are over, and what was on its way has arrived."""
    await asyncio.sleep(20)
    world.faults = Faults()
    async with store:
        await recorder.look(world.main, store)


SCENARIOS: Final = {each.__name__: each for each in (plain, bulk, keyed)}
"""The scenarios of satchel, by the names that the command takes."""
