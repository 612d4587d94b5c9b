"""Stand-in for the simulated world."""

import asyncio
import itertools
import random

from satchel import StoreError
from tests.coordination.virtual import VirtualLoop
from tests.scripted import BatchStore, Server


class ShuffledLoop(VirtualLoop):
    chance = random.Random(0)

    def _run_once(self):
        ready = list(self._ready)
        self.chance.shuffle(ready)
        self._ready.clear()
        self._ready.extend(ready)
        super()._run_once()


class SimulatedServer(Server):
    async def _pause(self):
        await asyncio.sleep(self.delay())


class Process:
    def __init__(self, world):
        self.world, self.crashed = world, False
        chance = world.chance
        self._offset, self._rate = chance.choice([0, 0, -20, 20]), chance.choice([1, 1, 1.001, 0.999])
        self.store = self.new_store()

    def new_store(self):
        store = BatchStore(self, clock=self.clock)
        store._timeout = self.world.timeout
        return store

    def clock(self):
        now = asyncio.get_running_loop().time()
        return 1_800_000_000.0 + self._offset * self.world.skew + now * (1 + (self._rate - 1) * self.world.skew)

    def crash(self):
        self.crashed = True

    async def request(self, *arguments):
        if self.crashed:
            await asyncio.Event().wait()
        if self.world.chance.random() < self.world.crashes and self.mortal:
            self.crashed = True
            if self.world.chance.random() < 0.5:
                asyncio.create_task(self.world.server.request(*arguments))
            await asyncio.Event().wait()
        answer = await self.world.server.request(*arguments)
        if self.crashed:
            await asyncio.Event().wait()
        return answer

    def __getattr__(self, name):
        return getattr(self.world.server, name)


class World:
    def __init__(self, seed, *, late=True, crashes=0.005, skew=1, lost=0.04, timeout=10):
        random.seed(seed)
        self.chance = random.Random(seed)
        self.late, self.crashes, self.skew, self.timeout = late, crashes, skew, timeout
        self.server = SimulatedServer(delay=self._delay)
        self.server.loses_answer = lambda: self.chance.random() < lost
        self.ticks = itertools.count()
        self.processes = []

    def _delay(self):
        if self.chance.random() < 0.01:
            self.server.unprocessed[self.chance.choice(["k", "name", "0"])] += 1
        return self.chance.choices([0, 0.1, 1, 4, 60], [60, 10, 4, 1, 1 if self.late else 0])[0]

    def tick(self):
        return next(self.ticks)

    def process(self, *, mortal=True):
        process = Process.__new__(Process)
        process.mortal = mortal
        Process.__init__(process, self)
        self.processes.append(process)
        return process

    async def pause(self, *choices):
        await asyncio.sleep(self.chance.choice(choices))

    async def all_of(self, works, *, within=600):
        tasks = [asyncio.create_task(work) for work in works]
        await asyncio.wait(tasks, timeout=within)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    def calm(self):
        self.server.loses_answer, self.server.delay = lambda: False, lambda: 0
        self.crashes = 0
        self.server.unprocessed.clear()


def run(seed, scenario, **faults):
    ShuffledLoop.chance = random.Random(seed + 1)
    world = World(seed, **{**getattr(scenario, "faults", {}), **faults})
    with asyncio.Runner(loop_factory=ShuffledLoop) as runner:
        runner.run(scenario(world))
    return world


def _entries(self, collection, prefix=""):
    now = self.right_clock()
    return {
        key: record
        for (name, key), record in self.server.data.items()
        if name == collection and key.startswith(prefix) and record.deadline > now
    }


World.entries = _entries
World.now = lambda self: asyncio.get_running_loop().time()
World.right_clock = lambda self: 1_800_000_000.0 + asyncio.get_running_loop().time()


async def _arrived(self):
    await asyncio.sleep(120)


async def _answer(self, value):
    return value


World.arrived, World.answer = _arrived, _answer


def _new_memory(self):
    server = SimulatedServer(delay=lambda: self.chance.choice([0, 0, 0.1, 1]))
    server.loses_answer = lambda: self.chance.random() < 0.02
    return BatchStore(server, clock=self.right_clock)


World.new_memory = _new_memory


def _quiet_store(self):
    quiet = SimulatedServer(delay=lambda: 0)
    quiet.data = self.server.data
    return BatchStore(quiet, clock=self.right_clock)


World.quiet_store = _quiet_store
