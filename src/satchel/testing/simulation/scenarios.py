"""Scenarios of satchel's own: stores over an engine in trouble, alone and in stacks of wrappers."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from typing import Any, Final, Literal

from ...stores.memory import MemoryStore
from ...wrappers import (
    CircuitBreakerWrapper,
    CompressionWrapper,
    EncryptionWrapper,
    FallbackWrapper,
    LimitSizeWrapper,
    PrefixCollectionsWrapper,
    PrefixKeysWrapper,
    RetryWrapper,
    SingleFlightWrapper,
    StatisticsWrapper,
    TieredStore,
    TimeoutWrapper,
    TTLWrapper,
)
from .disturbing import KINDS, disturb
from .recorder import Recorder
from .stores import SimulatedEngine, SimulatedKeyedStore, SimulatedStore
from .world import Faults, Process, World

_KEYS: Final = ("a", "b", "c")
_MODES: Final[tuple[Literal["through", "around", "back"], ...]] = ("through", "around", "back")


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
        "shield_writes": chance.random() < 0.7,
    }
    await _stores(world, kind, settings)


async def keyed(world: World) -> None:
    """Stores that send each item in a request of its own."""
    chance = world.random("kind")
    kind = chance.choice((SimulatedKeyedStore, SimulatedKeyedStore, _UnconditionalKeyedStore))
    settings = {"max_inflight": chance.choice((1, 2, 64)), "shield_writes": chance.random() < 0.7}
    await _stores(world, kind, settings)


async def _stores(world: World, kind: Any, settings: dict[str, Any]) -> None:
    chance = world.random("shape")
    # What was abandoned may come late on some engines; then shielded writes wait for their answers, however long.
    in_order = not settings.get("shield_writes", True) or chance.random() < 0.5
    engine = SimulatedEngine(world, in_order=in_order)
    world.faults = Faults.drawn(world.random("faults"))
    processes = [world.process(f"p{number}") for number in range(chance.randint(1, 3))]
    skew = chance.choice((0.0, 0.0, 5.0))
    kinds: Sequence[str] = KINDS
    if not in_order:
        settings |= {"timeout": None}
        world.faults = dataclasses.replace(world.faults, drop_request=0.0, drop_reply=0.0)
        kinds = ("crash", "freeze", "restart", "jump")
    disturb(world, processes, [engine], kinds=kinds, skew=skew)
    ttls = chance.choice(((None,), (None, None, 0.5, 20.0)))
    recorder = Recorder(world, _KEYS[: chance.randint(1, 3)], ttls=ttls)

    async def live(process: Process, workers: int, calls: int) -> None:
        async with kind(process, engine, **settings) as store:
            await asyncio.gather(
                *(recorder.work(process, store, f"{process.name}.{worker}", calls) for worker in range(workers))
            )

    running = [process.start(live, process, chance.randint(1, 3), chance.randint(2, 9)) for process in processes]
    await world.join(running)
    await _look(world, recorder, SimulatedStore(world.main, engine))
    recorder.check()


async def stacks(world: World) -> None:
    """Stores in random stacks of wrappers, of which those that change what is stored are the same in all processes."""
    chance = world.random("shape")
    engine = SimulatedEngine(world)
    world.faults = Faults.drawn(world.random("faults"))
    processes = [world.process(f"p{number}") for number in range(chance.randint(1, 3))]
    disturb(world, processes, [engine])
    stack = _Stack(chance)
    recorder = Recorder(
        world,
        _KEYS[: chance.randint(1, 3)],
        ttls=chance.choice(((None,), (None, None, 0.5, 15.0))),
        default_ttl=stack.default_ttl,
        repeats=int(stack.retries),
        outdated=stack.falls_back,
    )

    async def live(process: Process, workers: int, calls: int) -> None:
        kind = world.random(f"{process.name} kind").choice((SimulatedStore, SimulatedKeyedStore))
        async with stack.around(process, kind(process, engine)) as store:
            await asyncio.gather(
                *(recorder.work(process, store, f"{process.name}.{worker}", calls) for worker in range(workers))
            )

    running = [process.start(live, process, chance.randint(1, 3), chance.randint(2, 5)) for process in processes]
    await world.join(running)
    await _look(world, recorder, stack.stored(SimulatedStore(world.main, engine)))
    recorder.check()


class _Stack:
    """Random choice of wrappers, in the recommended order."""

    def __init__(self, chance: random.Random) -> None:
        self.falls_back, self.retries = chance.random() < 0.2, chance.random() < 0.5
        self.default_ttl = chance.choice((None, None, 15.0))
        self._encrypts, self._compresses, self._prefixes, self._shares = (chance.random() < 0.4 for _ in range(4))

    def around(self, process: Process, store: Any) -> Any:
        """Return a store in wrappers: of those that leave names and values alone, each process has others."""
        world, chance = process.world, process.world.random(f"{process.name} stack")
        if chance.random() < 0.4:
            store = TimeoutWrapper(store, seconds=chance.uniform(0.1, 2.0))
        if chance.random() < 0.4:
            store = CircuitBreakerWrapper(store, failures=2, window=5.0, reset_after=0.5, clock=lambda: world.now)
        if self.retries:
            store = RetryWrapper(store, attempts=2)
        if self.falls_back:
            store = FallbackWrapper(store, MemoryStore(clock=process.clock), write_both=chance.random() < 0.5)
        store = self.stored(store)
        if chance.random() < 0.3:
            store = LimitSizeWrapper(store, max_bytes=50_000)
        if self.default_ttl is not None:
            store = TTLWrapper(store, default=self.default_ttl)
        if chance.random() < 0.5:
            store = StatisticsWrapper(store)
        if chance.random() < 0.5:
            store = SingleFlightWrapper(store)
        return store

    def stored(self, store: Any) -> Any:
        """Return a store in the wrappers that change what is stored."""
        if self._encrypts:
            store = EncryptionWrapper(store, key=bytes(range(32)))
        if self._compresses:
            store = CompressionWrapper(store, algorithm="gzip")
        if self._prefixes:
            store = PrefixCollectionsWrapper(store, prefix="app-")
        if self._shares:
            store = PrefixKeysWrapper(store, prefix="part-")
        return store


async def tiered(world: World) -> None:
    """A hot store in front of a cold one in one process, which reads through it what it wrote."""
    chance = world.random("shape")
    cold, hot = SimulatedEngine(world, "cold"), SimulatedEngine(world, "hot")
    world.faults = Faults.drawn(world.random("faults"))
    process = world.process("p")
    mode = chance.choice(_MODES)
    kinds = ("freeze", "restart", "cut_off") if mode == "back" else KINDS  # the queue goes with its process
    disturb(world, [process], [cold, hot], kinds=kinds)
    recorder = Recorder(world, _KEYS[: chance.randint(1, 2)])

    async def live(workers: int, calls: int) -> None:
        front: Any = MemoryStore(clock=process.clock) if chance.random() < 0.5 else SimulatedStore(process, hot)
        store = TieredStore(front, SimulatedStore(process, cold), write=mode, clock=process.clock)
        async with store:
            await asyncio.gather(*(recorder.work(process, store, f"p.{worker}", calls) for worker in range(workers)))
            await asyncio.sleep(20)
            world.faults = Faults()
            await store.flush()

    await world.join([process.start(live, chance.randint(1, 3), chance.randint(4, 12))])
    await _look(world, recorder, SimulatedStore(world.main, cold))
    recorder.check()


async def _look(world: World, recorder: Recorder, store: Any) -> None:
    """Read all keys when the faults are over, and what was on its way has arrived."""
    await asyncio.sleep(20)
    world.faults = Faults()
    async with store:
        await recorder.look(world.main, store)


SCENARIOS: Final = {each.__name__: each for each in (plain, bulk, keyed, stacks, tiered)}
"""The scenarios of satchel, by the names that the command takes."""
