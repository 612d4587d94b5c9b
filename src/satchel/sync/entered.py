"""`Entered`: an async context manager around the `with` of another thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from ..errors import StoreClosedError
from .collection import Listing
from .thread import LoopThread

T = TypeVar("T")


class Entered:
    """Async context manager that is entered and left in one task, as timeouts and task groups inside require."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def enter(self) -> Any:
        """Enter it, in a task of its own, and return what it gives."""
        loop = asyncio.get_running_loop()
        value, self._left = loop.create_future(), loop.create_future()
        self._task = loop.create_task(self._hold(value))
        try:
            await asyncio.wait([self._task, value], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise
        if not value.done():
            await self._task  # it failed
        return value.result()

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Leave it, in the same task, and return whether it took the error."""
        if not self._left.done():
            self._left.set_result((kind, error, trace))
        return await self._task

    async def _hold(self, value: asyncio.Future[Any]) -> bool:
        value.set_result(await self._manager.__aenter__())
        try:
            outcome = await self._left
        except asyncio.CancelledError as error:  # the context manager ended its body, as a lost lock does
            outcome = type(error), error, error.__traceback__
            if not await self._manager.__aexit__(*outcome):
                raise
            return False
        return bool(await self._manager.__aexit__(*outcome))


@contextmanager
def watched(manager: AbstractAsyncContextManager[AsyncIterator[T]], thread: LoopThread) -> Iterator[Iterator[T]]:
    """Enter a watch; closing the store ends a wait for the next change, instead of waiting for it."""
    entered = Entered(manager)
    changes = thread.carry_out("watch", entered.enter)
    try:
        yield _waiting(Listing(changes, size=1), thread)
    finally:
        with suppress(StoreClosedError):  # then nothing is left to be released
            thread.carry_out("watch", partial(entered.leave, None, None, None))


def _waiting(changes: Listing[T], thread: LoopThread) -> Iterator[T]:
    while page := thread.carry_out("watch", changes.page, is_waited_for=False):
        yield from page
