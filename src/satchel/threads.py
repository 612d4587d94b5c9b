"""Work that would hold up the event loop: large pieces in a worker thread, many small ones with pauses for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from .codec import LARGE

P = ParamSpec("P")
R = TypeVar("R")


class Tally:
    """Counts the calls of `in_worker`.

    A store decodes a large value in a worker thread. So when the count has not changed while a value was read, the
    value is small: which nobody can tell as quickly by looking at it.
    """

    calls = 0


tally = Tally()

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def in_worker(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function in a worker thread and return its result.

    One runs at a time on each event loop: encoding holds the interpreter's lock, so that two at once would finish no
    sooner, and would leave the loop fewer turns.
    """
    tally.calls += 1
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with turn:
        return await asyncio.to_thread(function, *args, **kwargs)


class Turns:
    """Lets other tasks run now and then while many small values are encoded or decoded."""

    def __init__(self) -> None:
        self._bytes = 0

    async def after(self, size: int) -> None:
        """Count the bytes of one value, and pause for one turn of the event loop after about `LARGE` of them."""
        self._bytes += size
        if self._bytes >= LARGE:
            self._bytes = 0
            await asyncio.sleep(0)
