"""`Subscription`: a connection on which a simulated server says what nobody has asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from .server import SimulatedServer
    from .world import Process


class Subscription:
    """Connection of a process, on which a server's messages arrive in their order, or not at all once one was lost.

    It is open for the length of an `async with`. The server uses it from when it carries out `server.subscribe`.

    Args:
        server: The server.
        process: The process that listens.
        hear: Is called in the process with each message.
    """

    def __init__(self, server: SimulatedServer, process: Process, hear: Callable[..., object]) -> None:
        self.server, self.process = server, process
        self.topics: set[str | None] = set()
        """What the server tells of; None for all."""
        self.is_open = False
        self.is_broken = False
        """Whether nothing arrives any more. The process knows only if it was told or has asked."""
        self.last_arrival = 0.0
        """When the last message arrives that is on its way."""
        self._hear = hear
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"Subscription({self.server.name!r}, {self.process.name!r}, {self.topics})"

    async def __aenter__(self) -> Self:
        self.is_open = True
        self.server.connections.append(self.process)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_open = False
        self._failure.cancel()
        self.server.connections.remove(self.process)
        with suppress(ValueError):
            self.server.subscriptions.remove(self)

    async def wait(self, seconds: float) -> None:
        """Wait for a while.

        Raises:
            ConnectionResetError: The process is told meanwhile that the connection is broken.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._failure)

    def arrive(self, message: tuple[Any, ...]) -> None:
        """Have the process hear a message, if it is still there to hear it."""
        if self.is_open and not self.is_broken and self.process.is_alive:
            self.process.loop.call_soon(self._heard, message)

    def fail(self) -> None:
        """Have the process hear that the connection is broken."""
        if self.is_open and self.process.is_alive:
            self.process.loop.call_soon(self._failed)

    def _heard(self, message: tuple[Any, ...]) -> None:
        if self.is_open:
            self._hear(*message)

    def _failed(self) -> None:
        if self.is_open and not self._failure.done():
            self._failure.set_exception(ConnectionResetError("the connection broke"))
