"""`Calls`: the calls of a `TieredStore` that are under way, for which its closing waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._forks import hold
from ..backend.lifecycle import Lifecycle


class Calls:
    """Counts the calls under way on one event loop, and refuses new ones once closing has begun.

    Args:
        name: How messages call the store.
        abandon: Is called on the next event loop when the one of what is under way has been closed.
        disown: Is called in a child of `fork`: what is under way is its parent's.

    Attributes:
        quick: Reads that ask hot at once, which count themselves: a hit costs little more than that.
        closing: Is not empty once closing has begun: what is `quick` then ends with `wake`, and no more begin.
    """

    def __init__(self, name: Callable[[], str], abandon: Callable[[], None], disown: Callable[[], None]) -> None:
        self.quick = 0
        self.closing: list[asyncio.Future[None]] = []
        self._lifecycle = Lifecycle(name, open=_nothing, close=_nothing, abandon=self._abandon, disown=self._disown)
        self._abandon_more, self._disown_more = abandon, disown

    def begin(self, operation: str) -> UnderWay:
        """Begin a call, for the length of a block."""
        return UnderWay(self._lifecycle, operation)

    def check(self, operation: str) -> None:
        """Refuse a call on another event loop than that of what is under way; go on on the next one."""
        self._lifecycle.check(operation)

    async def end(self) -> None:
        """Refuse new calls, and return when none is under way any more."""
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closing.append(end)
        await self._lifecycle.aclose()
        self.wake()
        await end

    def wake(self) -> None:
        """Note that a quick read has ended."""
        for end in self.closing:
            if self.quick <= 0:
                # The read may have been one on another event loop, in another thread.
                end.get_loop().call_soon_threadsafe(_tell, end)

    def _abandon(self) -> None:
        self.quick = 0
        self._abandon_more()

    def _disown(self, used: bool) -> None:
        if used:
            hold(*self.closing)
            self.quick, self.closing = 0, []
            self._disown_more()


class UnderWay:
    """Is one call, from its beginning to its end."""

    __slots__ = ("_lifecycle", "_loop")

    def __init__(self, lifecycle: Lifecycle, operation: str) -> None:
        self._lifecycle = lifecycle
        self._loop = lifecycle.begin(operation)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._lifecycle.leave(self._loop)


def _tell(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)


async def _nothing() -> None:
    """Stand for opening and closing: the tiers do that themselves."""
