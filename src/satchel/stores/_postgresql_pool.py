"""The connections that a `PostgreSQLStore` makes for itself.

asyncpg's own pool resets each connection after each call, which costs a round trip, and sets timers that keep what a
caller's context variables hold.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types

from ..backend.lifecycle import close_at_end_of_loop
from ..backend.network import apart
from ._postgresql_address import Way

GRACE = 2.0
"""Seconds that a connection has to end in good order, or to answer again after a statement was cut off on it."""

_LONGEST_IDLE = 300.0  # seconds, after which a firewall may have forgotten a connection


class Pool:
    """Makes connections when they are needed, and keeps them. They end with `close` or at the event loop's orderly end.

    Args:
        way: The options for `asyncpg.connect`.
        size: So many connections at most.
        keeps_statements: Prepare each statement once a connection. A pooler gives each transaction to another process
            of the server, which would not know it.
    """

    def __init__(self, way: Way, size: int, *, keeps_statements: bool) -> None:
        self._options = way | {"statement_cache_size": 100 if keeps_statements else 0}
        self._free = asyncio.Semaphore(size)
        self._idle: list[tuple[Any, float]] = []
        self._guard = close_at_end_of_loop(self._end)

    async def start(self) -> None:
        """Have it closed at the end of the event loop."""
        await anext(self._guard)

    async def acquire(self) -> Any:
        """Return a connection, when there is one."""
        await self._free.acquire()
        try:
            while self._idle:
                connection, since = self._idle.pop()
                if asyncio.get_running_loop().time() - since > _LONGEST_IDLE:
                    connection.terminate()
                elif not connection.is_closed():
                    return connection
            return await self._connect()
        except BaseException:
            self._free.release()
            raise

    async def release(self, connection: Any) -> None:
        """Take a connection back."""
        if not connection.is_closed():
            self._idle.append((connection, asyncio.get_running_loop().time()))
        self._free.release()

    async def close(self) -> None:
        """End the connections, none of which is in use any more."""
        await self._guard.aclose()

    async def _connect(self) -> Any:
        made: list[Any] = []

        async def connect() -> None:
            made.append(await asyncpg.connect(**self._options, max_cached_statement_lifetime=0))

        try:
            await apart(connect())
        except BaseException:
            for connection in made:  # it was made at the moment in which the caller was cancelled
                connection.terminate()
            raise
        return made[0]

    async def _end(self) -> None:
        for connection, _ in self._idle:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=GRACE)  # which aborts it when it fails
        self._idle.clear()
