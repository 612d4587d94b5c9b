"""What is added to one counter at the same time makes one write.

What is added while a write is under way waits, and makes the next one together. There is no timer: an amount that finds
no write under way is written at once, in its caller's own task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from .._copies import copy_of_error
from .._forks import at_fork, hold

Write = Callable[[list[int]], Awaitable[list[int | Exception]]]
_Place = tuple[asyncio.AbstractEventLoop, int, str, str]
_Waiting = list[tuple[int, asyncio.Future[int]]]


class _Tally:
    """Is what waits for one counter while a write of it is under way."""

    def __init__(self, place: _Place, write: Write) -> None:
        self._place = place
        self._write = write
        self._waiting: _Waiting = []

    async def write_alone(self, amount: int) -> int:
        try:
            (outcome,) = await self._write([amount])
        finally:
            self._go_on()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def write_with_others(self, amount: int) -> int:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, future))
        count: int = await future
        return count

    def _go_on(self) -> None:
        if not self._waiting:
            del _tallies[self._place]
            return
        # A task of its own, for a caller who is cancelled must not cut off the others; and in an empty context, for it
        # must not carry the variables of one of them.
        self._task = self._place[0].create_task(self._write_all(), context=Context())
        self._task.add_done_callback(self._end)

    async def _write_all(self) -> None:
        while batch := self._take():
            try:
                outcomes = await self._write([amount for amount, _ in batch])
            except Exception as error:
                outcomes = [copy_of_error(error) for _ in batch]
            except BaseException:
                self._waiting += batch  # `_end` tells them
                raise
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                _tell(future, outcome)
            await asyncio.sleep(0)  # those just woken put their next amounts into the next write, before it is formed
        del _tallies[self._place]

    def _take(self) -> _Waiting:
        batch = [(amount, future) for amount, future in self._waiting if not future.done()]
        self._waiting = []
        return batch

    def _end(self, _: object) -> None:
        """Let nobody wait for ever where the task was cancelled, maybe before its first step."""
        if _tallies.get(self._place) is self:
            del _tallies[self._place]
            for _, future in self._take():
                future.cancel()


_tallies: dict[_Place, _Tally] = {}


def _leave_to_parent() -> None:
    """In a child of `fork`: nobody here carries out the writes that are under way in the parent."""
    hold(dict(_tallies))
    _tallies.clear()


at_fork(after_in_child=_leave_to_parent)


async def add(store: object, collection: str, name: str, amount: int, write: Write) -> int:
    """Add an amount to a counter, and return its count after that.

    Args:
        store: The store; its identity tells its counters from those of others.
        collection: The collection.
        name: The name of the counter.
        amount: How much.
        write: Adds amounts, in one write, and gives for each the count after it, or why it was left out.
    """
    place = (asyncio.get_running_loop(), id(store), collection, name)
    tally = _tallies.get(place)
    if tally is not None:
        return await tally.write_with_others(amount)
    tally = _tallies[place] = _Tally(place, write)
    return await tally.write_alone(amount)


def _tell(future: asyncio.Future[int], outcome: int | Exception) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
