"""An aiosqlite connection of the caller, used like a `SQLiteThread`: each piece of work is one hop to its thread.

aiosqlite's public methods make one hop for each statement, and a cancellation between two of them leaves a transaction
open. Only this module uses private names of aiosqlite.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import aiosqlite

from ..._forks import hold
from ...errors import ConfigurationError

R = TypeVar("R")

_NEEDED = ("_conn", "_connection", "_tx", "_running")


class LentConnection:
    """Thread of the caller's open connection, which is never closed here.

    Args:
        connection: The connection.

    Raises:
        ConfigurationError: The connection is not open, or this release of aiosqlite has other private names.
    """

    busy = False
    """Reads and writes take turns on the one connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        if not isinstance(connection, aiosqlite.Connection):
            raise ConfigurationError(f"connection must be an aiosqlite.Connection, got {type(connection).__name__}")
        if not all(hasattr(type(connection), name) or name in vars(connection) for name in _NEEDED):
            raise ConfigurationError(
                f"DiskStore does not support release {aiosqlite.__version__} of aiosqlite; "
                'install one that works: pip install "aiosqlite>=0.22,<0.23"'
            )
        if connection._connection is None:
            raise ConfigurationError("connection must be open: connection=await aiosqlite.connect(...)")
        self._connection = connection
        self.database: sqlite3.Connection = connection._conn

    def run(self, function: Callable[..., R], *arguments: Any) -> asyncio.Future[R]:
        """Run a function in the connection's thread; the returned future may be awaited for its result.

        Raises:
            sqlite3.ProgrammingError: The connection has been closed.
        """
        if self.closed:
            raise sqlite3.ProgrammingError("the connection has been closed")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._connection._tx.put_nowait((future, partial(function, *arguments)))
        return future

    @property
    def closed(self) -> bool:
        """Whether the caller has closed the connection."""
        return not self._connection._running or self._connection._connection is None

    async def close(self) -> None:
        """Leave the connection open."""

    def drop(self) -> None:
        """Leave the connection open."""

    def disown(self) -> bool:
        """In a child of `fork`: keep the connection referenced, and do not touch it."""
        hold(self._connection)
        return False
