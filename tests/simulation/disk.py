"""Scenario of `DiskStore`: the database is a real one, and what its threads do are steps of the simulated processes."""

import asyncio
import shutil
import tempfile
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from satchel import DiskStore
from satchel.stores.disk import store as disk_store
from satchel.stores.disk import thread
from satchel.testing.simulation import Recorder, SimulatedServer, disturb
from satchel.testing.simulation.world import spread
from tests.off_the_loop import away_from_the_loop

KEYS = ("a", "b", "c")
KINDS = ("crash", "freeze", "jump")
SLOWEST = 0.02
"""The most seconds that a piece of work takes in a thread."""


class Steps:
    """What a thread has to do: each piece is a step of the process, some time after the one before it."""

    def __init__(self, loop, shared, world, name):
        self._loop, self._shared, self._world, self._name = loop, shared, world, name
        self._chance = world.random(name)
        self._waiting, self._due = deque(), []

    def put(self, job):
        """Add a piece of work."""
        self._waiting.append(job)
        if len(self._waiting) == 1:
            self._plan()

    def get(self):
        """Return the piece of work that is due, or what ends the thread."""
        return self._due.pop() if self._due else (None, None)

    def _plan(self):
        self._loop.call_later(spread(self._chance, 2e-5, SLOWEST), self._step)

    def _step(self):
        _, work = self._waiting[0]
        if work is not None:
            self._world.note(self._name, getattr(work, "func", work).__name__)
        self._due.append(self._waiting[0])
        with away_from_the_loop():
            thread._work(self._shared)
        self._waiting.popleft()
        if self._waiting:
            self._plan()


class Answers:
    """Way of outcomes to the event loop, which gets each of them in a step of its own."""

    def __init__(self, loop):
        self._loop = loop

    def give(self, answer, result, error):
        """Deliver an outcome."""
        self._loop.call_soon(answer.set, result, error)


@contextmanager
def simulated_threads(world):
    """Let each thread of a `DiskStore` be steps, for the length of a block; give the list of all that are made."""
    made = []

    class SteppingThread(thread.SQLiteThread):
        def __init__(self):
            self._loop = asyncio.get_running_loop()
            self._shared = thread._Shared(Answers(self._loop))
            self._shared.queue = Steps(self._loop, self._shared, world, f"thread {len(made)}")
            self._submitted, self._guard, self.lock = 0, None, self._shared.lock
            made.append(self)

    try:
        with mock.patch.object(disk_store, "SQLiteThread", SteppingThread):
            yield made
    finally:
        with away_from_the_loop():
            for each in made:
                each._shared.close()


@contextmanager
def temporary_directory():
    """Give a directory for the length of a block."""
    with away_from_the_loop():
        place = Path(tempfile.mkdtemp(prefix="satchel-simulated-"))
    try:
        yield place
    finally:
        with away_from_the_loop():
            shutil.rmtree(place)


async def disks(world):
    """Each key of a database is linearizable for processes that share it; no connection is left open."""
    shape = world.random("shape")
    processes = [world.process(f"p{number}") for number in range(shape.randint(1, 3))]
    disturb(
        world, processes, [SimulatedServer(world, "none")], kinds=KINDS, over=1.0, skew=shape.choice((0.0, 0.0, 5.0))
    )
    recorder = Recorder(world, KEYS[: shape.randint(1, 3)], ttls=shape.choice(((None,), (None, 0.5, 20.0))))
    sizes = [shape.choice((0, 2000, 4_000_000)) for _ in processes]

    async def live(process, size):
        chance = world.random(process.name)
        async with DiskStore(place, cache_size=size, clock=process.clock) as store:
            callers = [f"{process.name}.{number}" for number in range(chance.randint(1, 4))]
            await asyncio.gather(*(recorder.work(process, store, name, chance.randint(2, 9)) for name in callers))

    with temporary_directory() as place, simulated_threads(world) as threads:
        await world.join([each.start(live, each, size) for each, size in zip(processes, sizes, strict=True)])
        await asyncio.sleep(20)
        async with DiskStore(place) as store:
            await recorder.look(world.main, store)
        recorder.check()
        alive = [process.loop for process in world.processes if process.is_alive]
        assert all(each.closed for each in threads if each._loop in alive), "a connection is left open"


SCENARIOS = (disks,)
