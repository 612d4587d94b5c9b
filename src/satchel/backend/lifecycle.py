"""When a store is open: in which process, on which event loop, opened once, closed when all calls have ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from .._contexts import task_in_empty_context
from .._forks import hold, hold_loop, watch
from .._shielding import shielded
from ..errors import SatchelError, StoreClosedError, StoreError

logger = logging.getLogger("satchel")


async def leave(aclose: Callable[[], Awaitable[None]]) -> None:
    """Close a store at the end of its `async with`, where it may have been closed explicitly."""
    try:
        await aclose()
    except StoreClosedError as error:
        if error.operation != "aclose":  # something that had to be done before closing came too late
            raise


async def finish_and_close(finish: Callable[[], Awaitable[None]], aclose: Callable[[], Awaitable[None]]) -> None:
    """Close a store after what has to be done first, whatever comes of that, also when the caller is cancelled."""
    await shielded(lambda: _finish_and_close(finish, aclose), _tell)


async def _finish_and_close(finish: Callable[[], Awaitable[None]], aclose: Callable[[], Awaitable[None]]) -> None:
    try:
        await finish()
    except BaseException:
        await leave(aclose)  # that it has been closed would hide the failure, and may be its reason
        raise
    await aclose()


def _tell(error: Exception) -> None:
    logger.warning("a store did not close cleanly after its caller was cancelled: %s", error)


class Lifecycle:
    """State of an open store.

    It opens at the first call, counts the calls under way, and closes after the last of them.

    Args:
        name: The name of the store in messages.
        open: Is awaited once before the first call; after a failure the next call tries again.
        close: Is awaited once, when no call is under way any more.
        abandon: Is called when the event loop under the open resources has been closed, before they are opened anew.
        disown: Function called in a child of `fork`, with whether its parent has used the store: drops the parent's
            resources without touching them, and returns the name of the client or connection that was passed in and
            cannot be used in a child, for messages; None if there is none.
    """

    def __init__(
        self,
        name: Callable[[], str],
        *,
        open: Callable[[], Awaitable[None]],  # noqa: A002  # it is the verb for this
        close: Callable[[], Awaitable[None]],
        abandon: Callable[[], None],
        disown: Callable[[bool], str | None],
    ) -> None:
        self._name = name
        self._open = open
        self._close = close
        self._discard = abandon
        self._disown = disown
        self._inherited: asyncio.AbstractEventLoop | None = None
        self._barred_by: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[SatchelError | None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._idle: asyncio.Event | None = None
        self._calls = 0
        self.opened = False
        self.closed = False
        self.ready = False
        """Whether the store is open and not being closed."""
        watch(self)

    def begin(self, operation: str) -> asyncio.AbstractEventLoop:
        """Begin a call: refuse it on a closed store or a second loop. Returns what `leave` wants back."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._check_fork(None, operation)  # a child that goes on in its parent's coroutine has no running loop
            raise
        if loop is not self._loop or self.closed:
            self.check(operation)
        self._calls += 1
        return loop

    async def enter(self, operation: str) -> asyncio.AbstractEventLoop:
        """Begin a call, and open the store if nobody has."""
        loop = self.begin(operation)
        try:
            if not self.opened:
                await self.open()
        except BaseException:
            self.leave(loop)
            raise
        return loop

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """End a call. One that was cut off with its event loop ends too late to count."""
        if loop is not self._loop:
            return
        self._calls -= 1
        if not self._calls and self._idle is not None:
            self._idle.set()

    def check(self, operation: str) -> asyncio.AbstractEventLoop:
        """Refuse a call on a closed store, or on a loop other than the store's own; return the loop."""
        if self.closed:
            raise StoreClosedError(f"{self._name()} is closed", store=self._name(), operation=operation)
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return loop
        self._check_fork(loop, operation)
        if self._loop is not None:
            if not self._loop.is_closed():
                raise StoreError(
                    f"{self._name()} is in use on another event loop; a store belongs to one loop at a time, until it "
                    "is closed, so make one for each loop",
                    store=self._name(),
                    operation=operation,
                )
            _clean_up_after(self._opening)
            self._calls, self.opened, self._opening, self.ready = 0, False, None, False
            self._discard()
        self._loop = loop
        return loop

    def after_fork(self) -> None:
        """In a child of `fork`: drop the parent's resources, and start again."""
        self._barred_by = self._disown(self._loop is not None)
        if self._loop is None:
            return
        hold_loop(self._loop)
        hold(self._opening, self._closing)
        self._inherited, self._loop, self.ready = self._loop, None, False
        self._calls, self.opened, self._opening, self._closing, self._idle = 0, False, None, None, None

    def _check_fork(self, loop: asyncio.AbstractEventLoop | None, operation: str) -> None:
        """Refuse what a child of `fork` has from its parent: what the caller gave to the store, and the loop."""
        if self._barred_by is not None:
            said = (
                f"works over {self._barred_by} of the process from which this one was forked, which would take answers "
                "that are meant for the other one; make both, and the store, anew in each process"
            )
        elif self._inherited is not None and loop in (None, self._inherited):
            said = (
                "was in use on this event loop when this process was forked, and the loop is still its parent's; use "
                "the store on a new event loop, as asyncio.run makes one, or fork before the first use"
            )
        else:
            return
        raise StoreError(f"{self._name()} {said}", store=self._name(), operation=operation)

    async def open(self) -> None:
        """Open the store, once however many call."""
        if self._opening is None or self._opening.done():
            self._opening = task_in_empty_context(self._open_here())
        failure = await asyncio.shield(self._opening)
        if failure is not None:
            raise failure.again() from failure

    async def aclose(self) -> None:
        """Refuse new calls, wait for those under way, then release what was opened.

        Once begun it goes on, also when the caller is cancelled; another call meanwhile waits for the same end.
        """
        if not self._is_closing():
            self.check("aclose")
            self.closed, self.ready = True, False
            self._closing = task_in_empty_context(self._drain_and_close())
        if self._closing is not None:
            await asyncio.shield(self._closing)

    @property
    def ended(self) -> bool:
        """Whether the store has been closed, to the end."""
        return self.closed and not self._is_closing()

    def _is_closing(self) -> bool:
        return self._closing is not None and not self._closing.done() and self._loop is asyncio.get_running_loop()

    async def _drain_and_close(self) -> None:
        if self._calls:
            self._idle = asyncio.Event()
            await self._idle.wait()
        if self._opening is not None:  # it goes on when all who asked for it were cancelled
            await asyncio.wait([self._opening])
        if self.opened:
            await self._close()

    async def _open_here(self) -> SatchelError | None:
        try:
            await self._open()
        except SatchelError as error:
            return error  # raised anew in each caller: one object raised in many would grow with every one
        self.opened = True
        self.ready = True
        if self.closed:  # looked at last, for another thread may close a shared store between any two lines
            self.ready = False
        return None


def _clean_up_after(opening: asyncio.Task[SatchelError | None] | None) -> None:
    """Let an opening that its event loop left unfinished clean up.

    The garbage collector would do so later, when the store's attributes are those of the next opening.
    """
    if opening is not None:
        with suppress(Exception):  # cleaning up may need the loop that has ended
            opening.get_coro().close()


class SharedLifecycle(Lifecycle):
    """Lifecycle of a store that any number of event loops use, also in several threads at once."""

    def __init__(
        self,
        name: Callable[[], str],
        *,
        open: Callable[[], Awaitable[None]],  # noqa: A002  # as above
        close: Callable[[], Awaitable[None]],
        abandon: Callable[[], None],
        disown: Callable[[bool], str | None],
    ) -> None:
        super().__init__(name, open=open, close=close, abandon=abandon, disown=disown)
        self._under_way: dict[asyncio.AbstractEventLoop, int] = {}  # a loop's own thread alone changes its number

    def begin(self, operation: str) -> asyncio.AbstractEventLoop:
        """Begin a call: refuse it on a closed store."""
        loop = asyncio.get_running_loop()
        if self.closed:
            self.check(operation)
        self._under_way[loop] = self._under_way.get(loop, 0) + 1
        return loop

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """End a call."""
        left = self._under_way.get(loop, 0) - 1
        if left > 0:
            self._under_way[loop] = left
        else:
            self._under_way.pop(loop, None)

    def check(self, operation: str) -> asyncio.AbstractEventLoop:
        """Refuse a call on a closed store; return the loop."""
        if self.closed:
            raise StoreClosedError(f"{self._name()} is closed", store=self._name(), operation=operation)
        return asyncio.get_running_loop()

    def after_fork(self) -> None:
        """In a child of `fork`: what the store holds is there, and what is under way is its parent's."""
        hold(self._opening, self._closing)
        for loop in self._under_way:
            hold_loop(loop)
        self._under_way, self._opening, self._closing = {}, None, None
        self._disown(True)

    async def open(self) -> None:
        """Open the store, unless it is."""
        opening = self._opening
        if opening is not None and opening.get_loop() is not asyncio.get_running_loop():
            self._opening = None
        await super().open()

    def _is_closing(self) -> bool:
        closing = self._closing
        return closing is not None and not closing.done() and closing.get_loop() is asyncio.get_running_loop()

    async def _drain_and_close(self) -> None:
        # Nothing tells this loop when a call on another one has ended.
        while self._is_opening() or any(loop.is_running() for loop in list(self._under_way)):  # noqa: ASYNC110  # as just said
            await asyncio.sleep(0.001)
        if self.opened:
            await self._close()

    def _is_opening(self) -> bool:
        # It goes on when all who asked for it were cancelled.
        opening = self._opening
        return opening is not None and not opening.done() and opening.get_loop().is_running()


async def close_at_end_of_loop(close: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Close something when this generator is closed: `asyncio.run` does that to all of them at its end.

    It has to be started by `anext`, and is closed by its `aclose` where the store is.

    Args:
        close: Is called and awaited once.
    """
    try:
        yield
    finally:
        await close()
