"""Where scenarios of layers take place: processes that are disturbed, each with a store over one simulated engine."""

import asyncio
import math
from contextlib import asynccontextmanager

from satchel.testing.simulation import Faults, SimulatedEngine, SimulatedStore, disturb
from satchel.testing.simulation.disturbing import KINDS
from satchel.testing.simulation.world import EPOCH

_ARRIVED = 20.0
"""Seconds after which nothing is on its way any more."""


class Client:
    """What one process of a scenario has: its store and clock, and chance.

    Attributes:
        name: Its name in the history.
        store: Its store.
        clock: Its clock, which may be wrong.
        chance: Decides what it does; for each of its steps another one, so that a shrunk run goes on the same way.
    """

    def __init__(self, process, store):
        self.process, self.store, self.clock, self.name = process, store, process.clock, process.name
        self._world = process.world
        self.chance = self._world.random(self.name)

    @property
    def crashed(self):
        """Whether the process is gone."""
        return not self.process.is_alive

    @property
    def was_stopped(self):
        """Whether the process has ever been stopped for a while."""
        return self.process.loop.frozen_until > -math.inf

    def steps(self, count, name=""):
        """Iterate over the steps that take place."""
        for number in range(count):
            step = f"{self.name}{name}.{number}"
            if self._world.takes_place(step):
                self.chance = self._world.random(step)
                yield number

    async def pause(self, *seconds):
        """Wait for one of some times, give or take a little."""
        await asyncio.sleep(self.chance.choice(seconds) * self.chance.uniform(0.9, 1.1))


class Setting:
    """One engine, and the processes that use it, among faults that chance draws.

    Args:
        world: The world.
        skew: The most seconds by which clocks are wrong, in some of the runs.
        late: Whether a request that was abandoned may be carried out after later ones.
        kinds: How processes and the engine are disturbed.
        over: Seconds within which processes are disturbed.
        drifts: Whether clocks also run too fast or too slow, in which a long run makes them very wrong.
        engine: What makes the engine.
    """

    def __init__(self, world, *, skew=20.0, late=True, kinds=KINDS, over=12.0, drifts=True, engine=SimulatedEngine):
        self.world = world
        self._shape = world.random("shape")
        self.engine = engine(world, in_order=not late)
        self.is_calm = self._shape.random() < 0.2
        self.skew = self._shape.choice((0.0, skew))
        self._kinds, self._over, self._drifts = kinds, over, drifts
        self.timeout = self._shape.choice((1.0, 1.0, 10.0))
        self.store_options = {}
        if not self.is_calm:
            world.faults = Faults.drawn(world.random("faults"), most=0.06)

    def make_slow(self):
        """Let answers often take longer than leases last, and clients wait for them."""
        self.world.faults, self.timeout = Faults(delay=0.3), 10.0

    @property
    def now(self):
        """Seconds since the beginning."""
        return self.world.now

    def right_clock(self):
        """Return the present as it is."""
        return EPOCH + self.world.now

    @asynccontextmanager
    async def quiet(self):
        """Have a client without trouble for the length of a block."""
        faults, self.world.faults = self.world.faults, Faults()
        async with SimulatedStore(self.world.main, self.engine) as store:
            yield Client(self.world.main, store)
        self.world.faults = faults

    async def work(self, *functions):
        """Run async functions of a client, each in a process of its own, until all have ended or crashed."""
        made = [self.world.process(f"p{number}") for number in range(len(functions))]
        count = 0 if self.is_calm else len(made) + 1
        disturb(self.world, made, [self.engine], kinds=self._kinds, count=count, over=self._over, skew=self.skew)
        for process in made if not self._drifts else ():
            process.drift = 0.0
        await self.world.join(
            [process.start(self._live, process, function) for process, function in zip(made, functions, strict=True)]
        )

    async def _live(self, process, function):
        async with SimulatedStore(process, self.engine, timeout=self.timeout, **self.store_options) as store:
            await function(Client(process, store))

    async def calm(self):
        """Let the faults end, and wait until nothing is on its way any more."""
        self.world.faults = Faults()
        await asyncio.sleep(max(0, 2 * self._over - self.now) + _ARRIVED)

    def entries(self, collection, prefix=""):
        """Return the records that live in a collection, by their keys."""
        return {
            key: self.engine.data[name, key]
            for name, key in self.engine.living(self.right_clock())
            if name == collection and key.startswith(prefix)
        }
