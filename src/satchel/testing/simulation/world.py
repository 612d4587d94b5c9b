"""`World`: processes and servers in one virtual time, and the faults that happen to them, all drawn from one seed."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Final, Self, TypeVar

from .loop import SimulatedLoop

T = TypeVar("T")

EPOCH: Final = 1_800_000_000.0
"""What exact clocks show at the beginning of a world, in seconds since the Unix epoch."""
_STEP: Final = 2e-5
"""The longest that one callback takes. So answers also arrive between any two callbacks."""
_STEPS: Final = 500_000
_SECONDS: Final = 30 * 86_400.0
_SETTLING: Final = 3600.0
_BURIAL: Final = 20_000


def spread(chance: random.Random, low: float, high: float) -> float:
    """Return a random number of which each order of magnitude is equally likely."""
    return math.exp(chance.uniform(math.log(low), math.log(high)))


class SimulationError(AssertionError):
    """Failure of a simulated run that the world itself has found."""


class ProcessCrashedError(Exception):
    """Reason why work in a process did not end: the process is gone."""


@dataclass(frozen=True)
class Faults:
    """How often each fault of the network and the servers strikes, from 0 to 1.

    Attributes:
        delay: A message takes up to three seconds, not up to some milliseconds.
        drop_request: A request is lost on its way; the caller waits for nothing.
        drop_reply: The request is carried out, and the reply is lost.
        reset: The request is carried out, and the connection breaks before the reply.
        duplicate: A reply arrives twice.
        refuse: The server refuses the whole request.
        hand_back: The server leaves an item unprocessed.
        fail_item: One item fails alone.
        split: Time passes between an item of a batch and the next one.
    """

    delay: float = 0.0
    drop_request: float = 0.0
    drop_reply: float = 0.0
    reset: float = 0.0
    duplicate: float = 0.0
    refuse: float = 0.0
    hand_back: float = 0.0
    fail_item: float = 0.0
    split: float = 0.0

    @classmethod
    def drawn(cls, chance: random.Random, most: float = 0.1) -> Self:
        """Return some faults: each is absent in half of all worlds, otherwise up to as frequent as given."""
        return cls(**{each.name: chance.choice((0.0, chance.random() * most)) for each in fields(cls)})


@dataclass(eq=False)
class Process:
    """Simulated process: an event loop, a clock, and all that runs there until it ends or crashes."""

    world: World
    name: str
    loop: SimulatedLoop
    is_alive: bool = True
    offset: float = 0.0
    """Seconds that its clock is ahead."""
    drift: float = 0.0
    """How much faster its clock is: 0.01 is a hundredth."""
    requests: int = 0
    _awaited: list[asyncio.Future[Any]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Process({self.name!r})"

    def clock(self) -> float:
        """Return what this process takes for the present, in seconds since the Unix epoch."""
        return EPOCH + self.world.now * (1 + self.drift) + self.offset

    def set_clock(self, ahead: float) -> None:
        """Let the clock jump, to a number of seconds ahead of the right time, or behind it if negative."""
        self.offset = ahead - self.world.now * self.drift
        self.world.note(self.name, f"its clock jumps, and is {ahead:.3f} s ahead")

    def freeze(self, seconds: float) -> None:
        """Let the process make no step for a while, as one that was stopped."""
        self.loop.frozen_until = self.world.now + seconds
        self.world.note(self.name, f"frozen for {seconds:.3f} s")

    def crash(self) -> None:
        """End the process between two of its steps: nothing of it runs any more."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.world.note(self.name, "crashed")
        for server in self.world.servers:
            server.connections = [owner for owner in server.connections if owner is not self]
        for answer in self._awaited:
            answer.get_loop().call_soon(_settle, answer, ProcessCrashedError(self.name), None)
        self._awaited.clear()

    def start(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **named: Any) -> asyncio.Future[T]:
        """Start an async function in this process; return the future of its result for the calling process.

        The future ends in `ProcessCrashedError` if the process crashes before.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if not self.is_alive:
            answer.set_exception(ProcessCrashedError(self.name))
            return answer
        self._awaited.append(answer)
        self.loop.call_soon(self._begin, partial(function, *args, **named), answer, context=Context())
        return answer

    async def run(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **named: Any) -> T:
        """Run an async function in this process, and return its result.

        Raises:
            ProcessCrashedError: The process crashed before.
        """
        return await self.start(function, *args, **named)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]], answer: asyncio.Future[T]) -> None:
        task = self.loop.create_task(work(), context=Context())
        task.add_done_callback(partial(self._finish, answer))

    def _finish(self, answer: asyncio.Future[T], task: asyncio.Task[T]) -> None:
        if self.is_alive and answer in self._awaited:
            self._awaited.remove(answer)
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            answer.get_loop().call_soon(_settle, answer, error, None if error else task.result())


def _settle(answer: asyncio.Future[Any], error: BaseException | None, result: object) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    elif isinstance(error, asyncio.CancelledError):
        answer.cancel()
    else:
        answer.set_exception(error)


class World:
    """Virtual time, with the processes and servers in it. It passes only while all of them wait.

    Args:
        seed: Everything that chance decides comes from it.
        only: The steps and faults that take place, by their names; None for all. So a failing run is shrunk.
    """

    def __init__(self, seed: int, only: frozenset[str] | None = None) -> None:
        self.seed = seed
        self.now = 0.0
        """Seconds since the beginning."""
        self.faults = Faults()
        self.servers: list[Any] = []
        self.processes: list[Process] = []
        self.taken: list[str] = []
        """Names of the steps and faults that took place."""
        self.history: list[str] = []
        """What happened, a line each."""
        self.skew = 0.0
        """The most seconds by which a clock is wrong, as far as the scenario has said."""
        self.unhandled: list[str] = []
        self._only = only
        self._chance = self.random("schedule")
        self.network = self._loop()
        self.main = self.process("main")

    def random(self, name: str) -> random.Random:
        """Return a source of random numbers of its own, so that no other step changes what it gives."""
        return random.Random(f"{self.seed} {name}")  # noqa: S311  # it hides nothing

    def process(self, name: str) -> Process:
        """Return a new process with an exact clock."""
        made = Process(self, name, self._loop())
        self.processes.append(made)
        return made

    def takes_place(self, name: str) -> bool:
        """Return whether a step or a fault takes place, which it does unless a shrunk run leaves it out.

        Args:
            name: Names it, in each run of the seed the same.
        """
        if self._only is not None and name not in self._only:
            return False
        self.taken.append(name)
        return True

    def note(self, who: str, what: str) -> None:
        """Write down what happened; it becomes part of the trace."""
        self.history.append(f"{self.now:14.6f}  {who}: {what}")

    def trace(self) -> str:
        """Return a hash over all that happened."""
        return hashlib.sha256("\n".join(self.history).encode()).hexdigest()[:16]

    async def join(self, running: Iterable[asyncio.Future[T]]) -> list[T]:
        """Wait until work in processes has ended, and return the results of those that did not crash.

        Raises:
            Exception: What one of them raised; all have ended.
        """
        ended = await asyncio.gather(*running, return_exceptions=True)
        for each in ended:
            if isinstance(each, BaseException) and not isinstance(each, ProcessCrashedError):
                raise each
        return [each for each in ended if not isinstance(each, BaseException)]

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Call something after a while, outside of all processes."""
        self.network.call_at(self.now + seconds, function, *args, context=Context())

    def run(self, scenario: Callable[[World], Coroutine[Any, Any, object]]) -> None:
        """Run a scenario in the main process, until all that it started has ended.

        Raises:
            SimulationError: It does not end, left something behind, or an error was not handled.
            BaseException: The scenario's own.
        """
        task = self.main.loop.create_task(scenario(self))
        self._until(task.done, _SECONDS)
        if not task.done():
            raise SimulationError(f"all wait for something that never comes: {self._waiting()}")
        task.result()
        self.note("world", "the scenario has ended")
        self._until(lambda: False, self.now + _SETTLING)
        self._check_nothing_is_left()

    def bury(self) -> None:
        """Cancel what is left in all processes, and close their loops. Nothing of it belongs to the run."""
        for server in self.servers:
            server.is_gone = True
        for process in self.processes:
            process.loop.set_exception_handler(lambda _loop, _context: None)
            process.loop.frozen_until = 0.0
            for _ in range(_BURIAL):
                if not process.loop.has_new_tasks():
                    break
                process.loop.step()  # Python warns of work that was handed to a task and never began
            for task in process.loop.pending():
                task.cancel()
            for _ in range(_BURIAL):
                if not process.loop.pending() and process.loop.next_time() > self.now:
                    break  # what tasks have called at their ends has run as well
                self.now = max(self.now, min(process.loop.next_time(), self.network.next_time(), self.now + 60))
                self.network.step()
                process.loop.step()
        for loop in [self.network, *(process.loop for process in self.processes)]:
            loop.end()

    def _loop(self) -> SimulatedLoop:
        return SimulatedLoop(lambda: self.now, self._chance, self._note_unhandled)

    def _note_unhandled(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.unhandled.append(f"{context['message']}: {error!r}")

    def _until(self, is_over: Callable[[], bool], end: float) -> None:
        """Let one loop after the other make a step, until something is so, nothing waits any more, or time is over."""
        for _ in range(_STEPS):
            if is_over() or self.now > end or not self._step(end):
                return
        raise SimulationError(f"no end after {_STEPS} steps: {self._waiting()}")

    def _step(self, end: float) -> bool:
        loops = [self.network, *[process.loop for process in self.processes if process.is_alive]]
        times = [loop.next_time() for loop in loops]
        first = min(times)
        if first > end:
            return False
        self.now = max(self.now, first)
        due = [loop for loop, time in zip(loops, times, strict=True) if time <= self.now]
        loop = due[int(self._chance.random() * len(due))]
        loop.step()
        self.now += self._chance.random() * _STEP
        return True

    def _waiting(self) -> str:
        tasks = [task for process in self.processes if process.is_alive for task in process.loop.pending()]
        return ", ".join(getattr(task.get_coro(), "__qualname__", "a task") for task in tasks)

    def _check_nothing_is_left(self) -> None:
        if self.unhandled:
            raise SimulationError(f"an error that nobody handles: {'; '.join(self.unhandled)}")
        if waiting := self._waiting():
            raise SimulationError(f"tasks are left: {waiting}")
        for process in self.processes:
            if process.is_alive and process.loop.next_time() < _SECONDS * 2:
                raise SimulationError(f"a timer of process {process.name} is left")
        for server in self.servers:
            if server.connections:
                raise SimulationError(f"connections are left: {[owner.name for owner in server.connections]}")
