"""`TimeLimit`: the `timeout` of a store's requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from .._contexts import run_in_empty_context

T = TypeVar("T")


class TimeLimit:
    """Time limit of the requests of a store.

    Setting and cancelling a timer for each request would be half of a store's overhead for a single one. So one timer
    serves all requests: it is set for the earliest limit, and set again, if needed, when it fires.

    Args:
        several_loops: Whether the store is used on several event loops at a time, which cannot share a timer.
    """

    def __init__(self, *, several_loops: bool) -> None:
        self._several_loops = several_loops
        self._ends: dict[asyncio.Timeout, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"TimeLimit({len(self._ends)} under way)"

    async def bound(self, request: Awaitable[T], seconds: float) -> T:
        """Await a request; when a number of seconds has passed, cancel it and raise `TimeoutError`."""
        if self._several_loops:
            async with asyncio.timeout(seconds):
                return await request
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        async with asyncio.timeout(None) as limit:
            if loop is not self._loop:
                self._loop, self._timer, self._ends = loop, None, {}
            self._ends[limit] = ends
            if self._timer is None or ends < self._timer.when():
                self._set_timer(ends)
            try:
                return await request
            finally:
                self._ends.pop(limit, None)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # An empty context: otherwise the timer would keep the values of the caller's context variables alive.
        self._timer = run_in_empty_context(asyncio.get_running_loop().call_at, when, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for limit in [limit for limit, ends in self._ends.items() if ends <= now]:
            del self._ends[limit]
            limit.reschedule(now)
        if self._ends:
            self._set_timer(min(self._ends.values()))
