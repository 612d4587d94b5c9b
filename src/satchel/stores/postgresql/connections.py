"""Statements on connections of an asyncpg pool, and what becomes of one that is cut off.

A write that timed out must not be carried out after a later one. So a statement that ended in an error is followed up:
asyncpg asks the server to stop it, and the connection's next answer shows that it has ended. Where that answer does not
come, the server's process is ended before the next write. Behind a pooler nobody says which one that is: there it is
found by a mark that the statement begins with.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import unquote
from weakref import WeakSet

import asyncpg  # type: ignore[import-untyped]  # it has no types

from ..._threads import offload
from ..._url_parts import check_options, read_port, split_url
from ...backend.lifecycle import close_at_end_of_loop
from ...backend.network import in_empty_context
from ...errors import ConfigurationError, StoreUnavailableError
from .._sqllike.asyncpg import Way, connect, connect_to, read
from .._sqllike.codecs import check_returned, is_about_data, refused
from .layout import Table
from .statements import PROBE, TERMINATE


def check_url(url: str, known: Collection[str]) -> None:
    """Refuse a URL whose parts or options are wrong; asyncpg would take an option that it does not know for a setting.

    Args:
        url: The URL.
        known: The options that it may have.

    Raises:
        ConfigurationError: Something is wrong. The message shows nothing that may be a part of a secret.
    """
    parts, _ = split_url(url)
    for name, text in check_options(parts.query, known, "a URL of PostgreSQL"):
        if name == "port":
            for port in unquote(text).split(","):
                read_port(port)


GRACE = 2.0
"""Seconds that a connection has to end in good order, or to answer again after a statement was cut off on it."""

_LONGEST_IDLE = 300.0  # seconds, after which a firewall may have forgotten a connection


class Pool:
    """Connections that are made when they are needed, and kept.

    They end with `close` or at the orderly end of the event loop.

    Args:
        way: The options for `asyncpg.connect`.
        size: Maximum number of connections.
        patience: How many seconds a request may take; None for no limit.
        keeps_statements: Prepare each statement once a connection. A pooler gives each transaction to another process
            of the server, which would not know it.
    """

    def __init__(self, way: Way, size: int, patience: float | None, *, keeps_statements: bool) -> None:
        self._way = way
        self._patience = patience
        self._statements = 100 if keeps_statements else 0
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
            return await self.connect()
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

    async def connect(self) -> Any:
        """Return a new connection, which the caller closes."""
        made: list[Any] = []

        async def connect() -> None:
            caching = {"statement_cache_size": self._statements, "max_cached_statement_lifetime": 0}
            made.append(await connect_to(self._way, self._patience, **caching))

        try:
            await in_empty_context(connect())
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


T = TypeVar("T")

_ENDS_WITHIN = 1000  # milliseconds

_SAMPLES = (b"\0", "a", ["a"], 1, 2, 0.5)
"""Values of the types that statements take and give, as `PROBE` sends them back."""


class Connections:
    """Statements over a pool, each on a connection and in a transaction of its own.

    Args:
        pool: The pool.
        is_pooled: There is a pooler between the pool and the server.
    """

    def __init__(self, pool: Pool | asyncpg.Pool, *, is_pooled: bool) -> None:
        self._pool = pool
        self._is_pooled = is_pooled
        self._cut_off: dict[str, float] = {}
        self._marks: list[str] = []
        self._table: Table | None = None
        self._probed: WeakSet[Any] = WeakSet()

    @classmethod
    async def open(cls, url: str, table: Table, size: int, patience: float | None) -> Connections:
        """Connect to the server of a URL, with a limited number of connections, which `close` ends.

        Args:
            url: The URL.
            table: The table.
            size: Maximum number of connections.
            patience: How many seconds a request may take; None for no limit.
        """
        connection, way = await connect(await offload(read, url), patience)
        try:
            is_pooled, _ = await _probe(connection, table)
            await connection.close(timeout=GRACE)
        finally:
            connection.terminate()
        pool = Pool(way, size, patience, keeps_statements=not is_pooled)
        await pool.start()
        return cls(pool, is_pooled=is_pooled)

    @classmethod
    async def over(cls, pool: asyncpg.Pool, table: Table) -> Connections:
        """Use the caller's pool, which stays open."""
        connections = cls(pool, is_pooled=False)
        is_pooled, names_statements = await connections._run(lambda connection: _probe(connection, table))
        if is_pooled and names_statements:
            raise ConfigurationError(
                "the pool keeps prepared statements, but is connected to a pooler that does not keep them apart; "
                "make it with asyncpg.create_pool(..., statement_cache_size=0)"
            )
        connections = cls(pool, is_pooled=is_pooled)
        connections._table = table
        return connections

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement that changes nothing, or nothing that a later write could meet, and return its rows."""
        return await self._run(lambda connection: connection.fetch(statement, *arguments))

    async def write(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement that writes, once none that was cut off can still be under way; return its rows."""
        if self._cut_off:
            await self._end_what_was_cut_off()
        if not self._is_pooled:
            return await self._run(lambda connection: connection.fetch(statement, *arguments), _process)
        # No two statements under way have the same mark; those that ended leave theirs, so that texts stay the same.
        mark = self._marks.pop() if self._marks else secrets.token_hex(8)
        try:
            return await self._run(
                lambda connection: connection.fetch(f"/*{mark}*/{statement}", *arguments), lambda _: mark
            )
        finally:
            if mark not in self._cut_off:
                self._marks.append(mark)

    @property
    def is_pooled(self) -> bool:
        """Whether there is a pooler between the pool and the server: it passes no notifications on."""
        return self._is_pooled

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Any]:
        """Give a connection for one purpose that takes long: a new one, or one of the caller's pool.

        It is cut off when the purpose fails: that may be its fault.
        """
        own = self._pool if isinstance(self._pool, Pool) else None
        connection = await (self._pool.acquire() if own is None else own.connect())
        try:
            yield connection
        except Exception:
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise
        finally:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await (self._pool.release(connection) if own is None else connection.close(timeout=GRACE))

    async def execute(self, statements: str) -> None:
        """Run statements without arguments as one transaction."""
        await self._run(lambda connection: connection.execute(statements))

    async def close(self) -> None:
        """Close the pool, if `open` made it."""
        if isinstance(self._pool, Pool):
            await self._pool.close()

    async def _run(self, work: Callable[[Any], Awaitable[T]], trace: Callable[[Any], str] | None = None) -> T:
        """Run a statement; by a trace it can be found at the server when it has been cut off."""
        connection = await self._pool.acquire()
        found_by = None if trace is None else trace(connection)
        try:
            if self._table is not None:
                await self._probe_once(connection, self._table)
            result = await work(connection)
        except asyncpg.ReadOnlySQLTransactionError:
            connection.terminate()  # it leads to what is a standby now; a new one may find the primary
            await self._pool.release(connection)
            raise
        except BaseException:
            await self._follow_up(connection, found_by)
            raise
        await self._pool.release(connection)
        return result

    async def _probe_once(self, connection: Any, table: Table) -> None:
        """Check a connection of the caller's pool when it is first used: each may have codecs of its own."""
        own = getattr(connection, "_con", connection)  # each time that it is acquired, it is in another proxy
        if own not in self._probed:
            await _probe(connection, table)
            self._probed.add(own)

    async def _follow_up(self, connection: Any, found_by: str | None) -> None:
        answered = False
        try:
            await connection.execute("SELECT 1", timeout=GRACE)
            answered = True
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass  # what was to be found out: it does not answer
        finally:
            if not answered:
                if found_by is not None:
                    self._cut_off[found_by] = time.monotonic()
                with suppress(asyncpg.InterfaceError):  # asyncpg's pool has parted with it already
                    connection.terminate()
            await self._pool.release(connection)

    async def _end_what_was_cut_off(self) -> None:
        cut_off, now = dict(self._cut_off), time.monotonic()
        ages = [repr(now - since) for since in cut_off.values()]
        ended = await self.fetch(TERMINATE, list(cut_off), ages, _ENDS_WITHIN)
        if not all(row[0] for row in ended):
            raise StoreUnavailableError(
                "the server is still at work on a write that was cut off, and does not end it; try again later"
            )
        for found_by in cut_off:
            self._cut_off.pop(found_by, None)


def _process(connection: Any) -> str:
    return str(connection.get_server_pid())


async def _probe(connection: Any, table: Table) -> tuple[bool, bool]:
    """Check the table if it exists; return whether there is a pooler, and whether statements keep their names."""
    # A text of its own, so that it is not taken for one that another client left behind.
    statement = f"{PROBE} /* {secrets.token_hex(8)} */"
    try:
        row = await connection.fetchrow(statement, table.quoted, *_SAMPLES)
    except Exception as error:
        if not is_about_data(error):
            raise
        raise refused("pool") from error
    process, names_statements, columns, *samples = row
    check_returned([*samples, type(process)], [*_SAMPLES, int], "pool")
    table.check(columns)
    return process != connection.get_server_pid(), names_statements
