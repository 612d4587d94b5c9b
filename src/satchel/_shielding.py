"""Work that is finished although its caller is cancelled: releases, records of results, queues that are emptied."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds for which a caller that is cancelled goes on waiting for its work, at most."""

_tasks: set[asyncio.Task[Any]] = set()


def in_background(work: Coroutine[Any, Any, T], *, context: Context | None = None) -> asyncio.Task[T]:
    """Start work that goes on whatever becomes of its caller."""
    task = asyncio.get_running_loop().create_task(work, context=context)
    _tasks.add(task)  # the event loop itself holds tasks weakly
    task.add_done_callback(_tasks.discard)
    return task


async def shielded(work: Callable[[], Coroutine[Any, Any, T]], unheard: Callable[[Exception], object]) -> T:
    """Carry out work and return its result; a cancellation of the caller is raised when the work has ended.

    A caller may be cancelled many times, as anyio does until its task gives in. Once cancelled, now or before the call,
    it waits `PATIENCE` seconds at most. Work that takes longer goes on without it.

    Args:
        work: Starts the work. It is called a second time where the first was itself cancelled together with the
            caller, as `asyncio.run` does with all tasks at its end: it has to be something that can be repeated.
        unheard: Is called with the error of work whose caller was cancelled meanwhile.
    """
    task = in_background(work())
    caller = asyncio.current_task()
    if caller is None or not caller.cancelling():
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task = await _finish(work, task)
            task.add_done_callback(partial(_tell, unheard))
            raise
    task = await _finish(work, task)
    if task.done():
        return task.result()
    task.add_done_callback(partial(_tell, unheard))
    raise asyncio.CancelledError


async def _finish(work: Callable[[], Coroutine[Any, Any, T]], task: asyncio.Task[T]) -> asyncio.Task[T]:
    until = asyncio.get_running_loop().time() + PATIENCE
    await _wait(task, until)
    if task.cancelled():
        task = in_background(work())
        await _wait(task, until)
    return task


async def _wait(task: asyncio.Task[Any], until: float) -> None:
    loop = asyncio.get_running_loop()
    while not task.done() and (left := until - loop.time()) > 0:
        with suppress(asyncio.CancelledError):  # it is raised once, by `shielded`
            await asyncio.wait([task], timeout=left)


def _tell(unheard: Callable[[Exception], object], task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if isinstance(error, Exception):
        unheard(error)
