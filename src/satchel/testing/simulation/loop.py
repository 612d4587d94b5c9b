"""`SimulatedLoop`: the event loop of one simulated process, whose time is that of its world."""

from __future__ import annotations

import asyncio
import heapq
import inspect
import math
import random
import sys
import threading
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import Any, Final, ParamSpec, TypeVar

from ..._threads import carry_out

P = ParamSpec("P")
R = TypeVar("R")

_THREAD_SECONDS: Final = 0.001
"""The longest that work in a thread takes."""


class _Timer(asyncio.TimerHandle):
    """Timer that is before or after another one of the same moment as chance has it."""

    __slots__ = ("_tie",)

    def __init__(self, tie: float, *given: Any) -> None:
        super().__init__(*given)
        self._tie = tie

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, _Timer):
            return NotImplemented
        return (self.when(), self._tie) < (other.when(), other._tie)


class _Task(asyncio.Task[Any]):
    """Task whose hash is its number: a set of tasks has the same order in every run."""

    def __init__(self, number: int, *given: Any, **named: Any) -> None:
        self._number = number
        super().__init__(*given, **named)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.BaseEventLoop):
    """Event loop that makes one step when its world has it make one, and has no selector, sockets or threads.

    Callbacks run in the order of `call_soon`, as asyncio's do. Chance decides what asyncio leaves open: which of two
    timers of the same moment is first, and when a thread has finished its work, which is carried out in place.

    Args:
        now: Returns the time of the world in seconds.
        chance: Source of the decisions.
        unhandled: Is called with what asyncio tells of an error that nobody handles.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(
        self, now: Callable[[], float], chance: random.Random, unhandled: Callable[[dict[str, Any]], object]
    ) -> None:
        super().__init__()
        self.frozen_until = -math.inf
        """Until then it makes no step."""
        self.tasks: list[asyncio.Task[Any]] = []
        """All tasks ever made, in their order."""
        self._now, self._chance = now, chance
        self._thread_id: int | None = threading.get_ident()  # it counts as running from the beginning
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]  # which arguments it gets differs between Pythons
        self.set_exception_handler(lambda _loop, context: unhandled(context))

    def time(self) -> float:
        """Return the time of the world in seconds."""
        return self._now()

    def next_time(self) -> float:
        """Return when it can make a step: a moment that has passed, one to come, or infinity."""
        if self._ready:
            return self.frozen_until
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)
        return max(self._scheduled[0].when(), self.frozen_until) if self._scheduled else math.inf

    def step(self) -> None:
        """Run one callback. Timers that are due queue up behind those that wait."""
        now = self._now()
        while self._scheduled and (self._scheduled[0].cancelled() or self._scheduled[0].when() <= now):
            self._ready.append(heapq.heappop(self._scheduled))
        if not self._ready:
            return
        handle = self._ready.popleft()
        if not handle.cancelled():
            events._set_running_loop(self)
            hooks = sys.get_asyncgen_hooks()
            sys.set_asyncgen_hooks(self._asyncgen_firstiter_hook, self._asyncgen_finalizer_hook)  # type: ignore[attr-defined]  # as run_forever does
            try:
                handle._run()
            finally:
                sys.set_asyncgen_hooks(*hooks)
                events._set_running_loop(None)

    def pending(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have not ended."""
        self.tasks = [task for task in self.tasks if not task.done()]
        return self.tasks

    def has_new_tasks(self) -> bool:
        """Return whether a task has not made its first step."""
        # The end of an async generator is a task too, whose work is no coroutine.
        works = [work for task in self.pending() if inspect.iscoroutine(work := task.get_coro())]
        return any(inspect.getcoroutinestate(work) == inspect.CORO_CREATED for work in works)

    def call_at(  # type: ignore[override]  # typeshed has names for the types of the arguments
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call something at a moment."""
        timer = _Timer(self._chance.random(), when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        return timer

    def in_place(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Carry out the work of a thread, in place and after a while."""
        future: Future[R] = Future()
        self.call_later(self._chance.random() * _THREAD_SECONDS, _carry_out, future, function, args, kwargs)
        return future

    def run_in_executor(self, executor: Any, func: Callable[..., R], *args: Any) -> asyncio.Future[R]:  # type: ignore[override]  # typeshed has names for type variables only
        """Carry out the work of a thread, in place and after a while."""
        return asyncio.wrap_future(self.in_place(func, *args), loop=self)

    def end(self) -> None:
        """Close the loop for good: nothing of it runs any more, not even a `finally`."""
        for task in self.pending():
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own switch
        self._thread_id = None
        self.close()

    def _make_task(
        self, _loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any
    ) -> asyncio.Task[Any]:
        task = _Task(len(self.tasks), work, loop=self, **named)
        self.tasks.append(task)
        return task

    def _write_to_self(self) -> None:
        """Wake up nobody: what is called from elsewhere is seen before the next step."""


def _carry_out(future: Future[Any], function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    carry_out(future, function, *args, **kwargs)
