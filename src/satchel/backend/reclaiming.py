"""`Reclaimer`: background removal of expired entries, for stores whose engine does not do it.

It runs after many writes that set a deadline, and after any write once a minute has passed. For stores that know their
first deadline, a timer also runs it in a process that has stopped writing.
"""

from __future__ import annotations

import asyncio
import logging
import math
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from .._contexts import run_in_empty_context
from .._forks import hold
from ..capability import Capability
from ..clock import NEVER
from ..errors import SatchelError, StoreClosedError
from .hooks import Hooks

PERIOD = 60.0
"""Seconds from one run to the next."""
AFTER_DEADLINES = 1000
"""Number of deadlines set after which a run starts before the period has ended."""

_UNKNOWN = -math.inf

logger = logging.getLogger("satchel")


class Reclaimer:
    """Background `cull` of one store.

    The timer wakes every `PERIOD` seconds, and only while a deadline is known. The first deadline of entries that an
    earlier process left is looked up `PERIOD` seconds after the opening, so that a process that runs for a moment pays
    nothing. The timer keeps neither the store nor the event loop alive.

    Args:
        store: The store whose entries expire.
        spawn: Starts work that the store's closing waits for.
        cull: Runs `cull`.
        ask: Runs `_first_deadline`.
    """

    def __init__(
        self,
        store: Hooks,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]],
        cull: Callable[[], Awaitable[object]],
        ask: Callable[[], Awaitable[float]],
    ) -> None:
        self._store = store
        self._clock = store.clock
        self._spawn, self._cull, self._ask = spawn, cull, ask
        is_there = not hasattr(store._first_deadline, "is_absent")
        self._timed = is_there and not (store._any_loop or store._native_expiry)
        self._first = NEVER
        """The earliest deadline, as far as it is known."""
        self._reclaimed_at = store.clock()
        self._responsible = False
        """Whether this process has set a deadline."""
        self._warned = False
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0
        self.owed = 0
        """Number of deadlines set since the last run; 0 where the engine reclaims by itself."""

    def __repr__(self) -> str:
        return f"Reclaimer({self.owed} owed)"

    def start(self) -> None:
        """Start on the running event loop, for a store that has just been opened."""
        if self._timed and self._can_cull():
            self._first = _UNKNOWN
            self._set_timer()

    def count(self, deadlines: int, first: float = NEVER) -> None:
        """Count deadlines that were set, and reclaim expired entries if a run is due.

        Args:
            deadlines: Number of deadlines set.
            first: The earliest of them.
        """
        if self._store._native_expiry:
            return
        self.owed += deadlines
        self._responsible = self._responsible or deadlines > 0
        if first < self._first:
            self._first = first
        if self._task is not None or not self.owed:
            return
        now = self._clock()
        if self.owed < AFTER_DEADLINES and now - self._reclaimed_at < PERIOD:
            due = False
        else:
            due = (not self._timed or self._first <= now) and self._can_cull()
        if due:
            self._begin()
        elif self._timed and self._timer is None and self._can_cull():
            self._set_timer()

    def stop(self) -> None:
        """End the timer and the work under way, before the store closes."""
        self._turn += 1
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._timed:
            self._task.cancel()
        self._timer = self._task = None

    def forget(self) -> None:
        """Drop the timer and the work of an event loop that has been closed."""
        self._turn += 1
        self._timer = self._task = None

    def disown(self) -> None:
        """In a child of `fork`: leave the timer and the work of the parent untouched, and start over."""
        hold(self._timer, self._task)
        self.forget()

    def on_timer(self, turn: int) -> None:
        """Reclaim expired entries, or wait again."""
        if turn != self._turn:
            return  # a child of `fork` has a copy of its parent's timer
        self._timer = None
        if self._task is None and self._first <= self._clock():
            self._begin()
        elif self._first != NEVER:
            self._set_timer()

    def _can_cull(self) -> bool:
        return Capability.CULL in self._store.capabilities

    def _set_timer(self) -> None:
        # An empty context: otherwise the timer would keep the values of the caller's context variables alive.
        loop = asyncio.get_running_loop()
        self._timer = run_in_empty_context(loop.call_later, PERIOD, _wake, weakref.ref(self), self._turn)

    def _begin(self) -> None:
        self._task = self._spawn(self._reclaim())
        self._task.add_done_callback(self._ended)

    async def _reclaim(self) -> None:
        try:
            if self._timed and self._first == _UNKNOWN:
                await self._learn()
            if not self._timed or self._first <= self._clock():
                await self._cull()
                if self._timed:
                    await self._learn()
            self._warned = False
        except StoreClosedError:
            pass  # the next process to open the store reclaims them
        except SatchelError as error:
            if not self._responsible:
                self._first = NEVER  # a process that only reads may lack the permission
                return
            level = logging.DEBUG if self._warned else logging.WARNING  # only one warning while a server is unavailable
            self._warned = True
            logger.log(level, "%r could not reclaim expired entries: %s", self._store, error)

    async def _learn(self) -> None:
        """Ask for the earliest deadline. Deadlines set meanwhile count too: the answer may lack them."""
        before, self._first = self._first, NEVER
        try:
            found = await self._ask()
        except BaseException:
            self._first = min(self._first, before)
            raise
        self._first = min(self._first, found)

    def _ended(self, task: object) -> None:
        if task is not self._task:
            return  # the store has been closed
        self._task, self.owed, self._reclaimed_at = None, 0, self._clock()
        if self._timed and self._timer is None and self._first != NEVER:
            self._set_timer()


def _wake(reference: weakref.ref[Reclaimer], turn: int) -> None:
    reclaimer = reference()
    if reclaimer is not None:
        reclaimer.on_timer(turn)
