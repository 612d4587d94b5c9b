"""A SQLite connection in the thread of an aiosqlite connection: work goes there whole, one hop for each piece.

aiosqlite's public methods make one hop for each statement, and what is cut off between two of them leaves a transaction
open. Its own way to run any function in its thread is `Connection._execute`; this module alone uses it and the like.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import aiosqlite

from ..errors import ConfigurationError
from ..lifecycle import close_at_end_of_loop

R = TypeVar("R")

_NEEDED = ("_execute", "_conn", "_connection", "_thread", "_tx", "_running")
_END_THREAD: Any = getattr(aiosqlite.core, "_STOP_RUNNING_SENTINEL", None)


class SQLiteThread:
    """Runs functions over a SQLite connection, in order, in one thread.

    A function that was handed over runs, also when the caller is cancelled meanwhile.

    Args:
        connection: An open connection of the caller's, which is never closed here.

    Raises:
        ConfigurationError: It is not open, or aiosqlite is a release with other inner names.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        _check_inner_names(connection)
        if connection._connection is None:
            raise ConfigurationError("connection must be an open one: connection=await aiosqlite.connect(...)")
        self._connection = connection
        self._guard: AsyncGenerator[None] | None = None
        self.database: sqlite3.Connection = connection._conn

    @classmethod
    async def start(cls, connect: Callable[[], sqlite3.Connection]) -> SQLiteThread:
        """Start a thread and connect in it.

        The thread ends with `close` or `drop`, at the orderly end of the event loop, or when nothing refers to it any
        more; it never holds up the end of the process.
        """
        connection = _DaemonConnection(connect)
        await connection
        started = cls(connection)
        started._guard = close_at_end_of_loop(connection.close)
        await anext(started._guard)
        return started

    def run(self, function: Callable[..., R], *arguments: Any) -> Awaitable[R]:
        """Run a function in the thread, and return its result."""
        running: Awaitable[R] = self._connection._execute(function, *arguments)  # type: ignore[no-untyped-call]  # aiosqlite does not say
        return running

    @property
    def closed(self) -> bool:
        """Whether the connection takes nothing more."""
        return not self._connection._running or self._connection._connection is None

    async def close(self) -> None:
        """Close the connection and end the thread, if `start` made them."""
        if self._guard is not None:
            await self._guard.aclose()

    def drop(self) -> None:
        """Do what `close` does, without waiting and without an event loop."""
        if isinstance(self._connection, _DaemonConnection):
            self._connection.stop()


class _DaemonConnection(aiosqlite.Connection):
    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, iter_chunk_size=64)
        _check_inner_names(self)
        self._thread.daemon = True

    def stop(self) -> None:
        # aiosqlite's own would report to an event loop, which need not be there any more.
        database, self._connection, self._running = self._connection, None, False
        if database is not None:
            self._tx.put_nowait((None, database.close))
        self._tx.put_nowait((None, _end_thread))

    def __del__(self) -> None:
        self.stop()


def _end_thread(result: Any = _END_THREAD) -> Any:
    return result


def _check_inner_names(connection: aiosqlite.Connection) -> None:
    if not isinstance(connection, aiosqlite.Connection):
        raise ConfigurationError(f"connection must be an aiosqlite.Connection, got {type(connection).__name__}")
    if _END_THREAD is None or not all(hasattr(type(connection), name) or name in vars(connection) for name in _NEEDED):
        raise ConfigurationError(
            f"DiskStore does not know release {aiosqlite.__version__} of aiosqlite from inside; "
            'install one that works: pip install "aiosqlite>=0.22,<0.23"'
        )
