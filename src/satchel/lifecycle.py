"""When a store is open: on which event loop, opened once however many ask, closed once all calls have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from .errors import SatchelError, StoreClosedError, StoreError


class Lifecycle:
    """Opens at the first call, counts the calls under way, and closes after the last of them.

    Args:
        name: How messages call the store.
        open: Is awaited once before the first call; after a failure the next call tries again.
        close: Is awaited once, when no call is under way any more.
        abandon: Is called when the event loop under the open resources has been closed, before they are opened anew.
    """

    def __init__(
        self,
        name: Callable[[], str],
        *,
        open: Callable[[], Awaitable[None]],  # noqa: A002  # it is the verb for this
        close: Callable[[], Awaitable[None]],
        abandon: Callable[[], None],
    ) -> None:
        self._name = name
        self._open = open
        self._close = close
        self._abandon = abandon
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[None] | None = None
        self._idle: asyncio.Event | None = None
        self._calls = 0
        self._opened = False
        self.closed = False
        self.ready_on: asyncio.AbstractEventLoop | None = None
        """The loop on which the store is open now: a call there may begin at once."""

    async def enter(self, operation: str) -> None:
        """Begin a call: refuse it on a closed store or a second loop, open the store if nobody has."""
        self.check(operation)
        self._calls += 1
        try:
            if not self._opened:
                await self._open_once()
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """End a call."""
        self._calls -= 1
        if not self._calls and self._idle is not None:
            self._idle.set()

    def check(self, operation: str) -> None:
        """Refuse a call on a closed store, or on a loop other than the store's own."""
        if self.closed:
            raise StoreClosedError(f"{self._name()} is closed", store=self._name(), operation=operation)
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise StoreError(
                f"{self._name()} is in use on another event loop; a store belongs to one loop at a time, "
                "so make one for each loop, or use SyncStore from threads",
                store=self._name(),
                operation=operation,
            )
        if self._loop is not None:
            self._calls, self._opened, self._opening, self.ready_on = 0, False, None, None
            self._abandon()
        self._loop = loop

    async def aclose(self) -> None:
        """Refuse new calls, wait for those under way, then release what was opened.

        Once begun it goes on, also when the caller is cancelled.
        """
        self.check("aclose")
        self.closed, self.ready_on = True, None
        await asyncio.shield(asyncio.create_task(self._drain_and_close(), context=Context()))

    async def _drain_and_close(self) -> None:
        if self._calls:
            self._idle = asyncio.Event()
            await self._idle.wait()
        if self._opening is not None:  # it goes on when all who asked for it were cancelled
            await asyncio.wait([self._opening])
        if self._opened:
            await self._close()

    async def _open_once(self) -> None:
        if self._opening is None:
            self._opening = asyncio.create_task(self._open_here(), context=Context())
        opening = self._opening
        try:
            await asyncio.shield(opening)
        except SatchelError as error:
            if self._opening is opening:
                self._opening = None
            raise error.again() from error

    async def _open_here(self) -> None:
        await self._open()
        self._opened = True
        if not self.closed:
            self.ready_on = self._loop
