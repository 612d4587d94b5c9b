"""Writes that are shared: what tasks of one process add to one entry at the same time goes into one write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .._contexts import task_in_empty_context
from .._copies import copy_of_error
from .._forks import at_fork, hold

T = TypeVar("T")

_Write = Callable[[list[int]], Awaitable[list[Any]]]
_Place = tuple[asyncio.AbstractEventLoop, int, str, str]
_Waiting = list[tuple[int, asyncio.Future[Any]]]


class _Tally:
    """Amounts that wait for one entry while a write of it is under way."""

    def __init__(self, place: _Place, write: _Write) -> None:
        self._place = place
        self._write = write
        self._waiting: _Waiting = []

    async def write_alone(self, amount: int) -> Any:
        try:
            (outcome,) = await self._write([amount])
        finally:
            self._go_on()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def write_with_others(self, amount: int) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, future))
        return await future

    def _go_on(self) -> None:
        if not self._waiting:
            del _tallies[self._place]
            return
        # A task of its own, for a caller who is cancelled must not cut off the others.
        self._task = task_in_empty_context(self._write_all())
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
        """End all waiting if the task was cancelled, perhaps before its first step."""
        if _tallies.get(self._place) is self:
            del _tallies[self._place]
            for _, future in self._take():
                future.cancel()


_tallies: dict[_Place, _Tally] = {}


def _leave_to_parent() -> None:
    """In a child of `fork`, forget writes under way in the parent: nothing here carries them out."""
    hold(dict(_tallies))
    _tallies.clear()


at_fork(after_in_child=_leave_to_parent)


async def add(
    store: object,
    collection: str,
    key: str,
    amount: int,
    write: Callable[[list[int]], Awaitable[list[T | Exception]]],
) -> T:
    """Add an amount to an entry, and return the outcome, such as the count after that.

    Args:
        store: The store; its identity distinguishes its entries from those of others.
        collection: The collection.
        key: The key.
        amount: The amount to add.
        write: Function that adds amounts in one write, and returns for each the outcome, or the error.
    """
    place = (asyncio.get_running_loop(), id(store), collection, key)
    tally = _tallies.get(place)
    if tally is None:
        tally = _tallies[place] = _Tally(place, write)
        outcome: T = await tally.write_alone(amount)
    else:
        outcome = await tally.write_with_others(amount)
    return outcome


def _tell(future: asyncio.Future[Any], outcome: object) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
