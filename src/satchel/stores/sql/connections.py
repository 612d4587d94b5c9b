"""Statements on connections of a SQLAlchemy engine, and what becomes of one that is cut off.

Connections are in autocommit mode, and transactions are begun and ended by statements: then a lone statement is one
round trip.

A write that timed out must not be carried out after a later one. The driver of SQLite waits for its end. A server may
go on with what was cut off: so each statement carries a mark, by which it is found and ended there before the next
write.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import URL, QueuePool, StaticPool, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ..._threads import in_thread
from ...backend.lifecycle import close_at_end_of_loop
from ...backend.network import in_empty_context
from ...errors import ConfigurationError, StoreUnavailableError
from .statements import BEGIN

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

_LONGEST_LIFE = 300  # seconds, after which a firewall may have forgotten a connection that was idle
_PATIENCE = 5.0  # seconds that SQLite waits for a lock
_LOOKS, _PAUSE = 20, 0.05  # how often, and after how many seconds, a statement that was ended is looked for
_ENDED = "a statement was cut off, and the server does not end it; try again later"

_FIND = {
    "postgresql": text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = session_user "
        "AND pid <> pg_backend_pid() AND state <> 'idle' AND position(:mark in query) > 0"
    ),
    "mysql": text(
        "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND instr(info, :mark) > 0"
    ),
}
_FIND["mariadb"] = _FIND["mysql"]


def make_engine(url: URL, size: int, timeout: float | None) -> AsyncEngine:
    """Return an engine for a URL, whose connections are made when they are needed. This reads files.

    Args:
        url: The URL.
        size: Maximum number of connections.
        timeout: Seconds that the store waits; SQLite waits no longer for a lock. None for no limit.
    """
    options: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        options["async_creator"] = _sqlite_creator(url, _PATIENCE if timeout is None else min(timeout, _PATIENCE))
    else:
        options = {"pool_use_lifo": True, "pool_recycle": _LONGEST_LIFE}
    if url.get_backend_name() == "postgresql":
        options["async_creator"] = _postgresql_creator(url)
    return create_async_engine(
        url,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        pool_size=size,
        max_overflow=0,
        hide_parameters=True,
        **options,
    )


def _sqlite_creator(url: URL, patience: float) -> Callable[[], Awaitable[Any]]:
    async def create() -> Any:
        connecting = aiosqlite.connect(str(url.database), timeout=patience)
        connecting._thread.daemon = True  # as SQLAlchemy does, so that no process waits for a store that is left open
        try:
            connection = await connecting
        except BaseException:
            await in_thread(connecting._thread.join)  # it still reports to the event loop, which may be closed next
            raise
        try:
            async with connection.execute("PRAGMA schema_version"):
                return connection
        except BaseException:  # SQLAlchemy would leave open what turns out to be no database
            await connection.close()
            raise

    return create


def _postgresql_creator(url: URL) -> Callable[[], Awaitable[Any]]:
    from .._sqllike.asyncpg import connect, read  # noqa: PLC0415  # the driver of PostgreSQL alone

    ssl = {"sslmode": url.query["ssl"]} if "ssl" in url.query else {}
    ways = read(url.set(drivername="postgresql", query=ssl).render_as_string(hide_password=False))

    async def create() -> Any:
        connection, way = await connect(ways)
        ways[:] = [way]  # all connections are encrypted or plain, as the first one was
        return connection

    return create


class Connections:
    """Statements over an engine.

    Args:
        engine: The engine.
        is_ours: It is closed by `close`.
    """

    def __init__(self, engine: AsyncEngine, *, is_ours: bool) -> None:
        self._engine = engine if is_ours else engine.execution_options(isolation_level="AUTOCOMMIT")
        self._dialect = engine.dialect.name
        self._cut_off: set[str] = set()
        # SQLite lets one write at a time, and the others look again and again.
        self._turn = asyncio.Lock() if self._dialect == "sqlite" else None
        self._guard = close_at_end_of_loop(engine.dispose) if is_ours else None
        self._has_codecs = not is_ours and self._dialect == "postgresql"
        if self._dialect != "sqlite":
            event.listen(self._engine.sync_engine, "before_cursor_execute", _marked, retval=True)

    async def start(self) -> None:
        """Have the engine closed at the end of the event loop, if it is ours."""
        if self._guard is not None:
            await anext(self._guard)

    async def close(self) -> None:
        """Close the engine, if it is ours."""
        if self._guard is not None:
            await self._guard.aclose()

    async def read(self, work: Work[T]) -> T:
        """Run statements that change nothing."""
        return await self._run(work, ())

    async def write(self, work: Work[T], *, transaction: bool = False) -> T:
        """Run statements that change something, once none that was cut off can still be under way.

        Args:
            work: Runs one statement, or several.
            transaction: They are one transaction.
        """
        if self._cut_off:
            await self._end_what_was_cut_off()
        begin = BEGIN[self._dialect] if transaction else ()
        if self._turn is None:
            return await self._run(work, begin, writes=True)
        async with self._turn:
            return await self._run(work, begin, writes=True)

    async def _run(self, work: Work[T], begin: Any, *, writes: bool = False) -> T:
        connection = await self._connect()
        mark = _mark_of(connection.sync_connection) if writes else ""
        try:
            if self._has_codecs:
                await _check_codecs_once(connection)
            for statement in begin:
                await connection.exec_driver_sql(statement)
            result = await work(connection)
            if begin:
                await connection.exec_driver_sql("COMMIT")
        except BaseException as error:
            await self._follow_up(connection, error, mark, began=bool(begin))
            raise
        finally:
            await connection.close()
        return result

    async def _connect(self) -> AsyncConnection:
        pool = self._engine.pool
        if isinstance(pool, QueuePool) and pool.checkedin():
            return await self._engine.connect()
        made: list[AsyncConnection] = []

        async def connect() -> None:
            made.append(await self._engine.connect())

        try:
            await in_empty_context(connect())
        except BaseException:
            for connection in made:  # it was made at the moment in which the caller was cancelled
                await connection.close()
            raise
        return made[0]

    async def _follow_up(self, connection: AsyncConnection, error: BaseException, mark: str, *, began: bool) -> None:
        if isinstance(error, DBAPIError) and not error.connection_invalidated:
            if not began:
                return  # the server answered, and nothing is under way
            with suppress(Exception):
                await connection.exec_driver_sql("ROLLBACK")
                return
        if mark and self._dialect != "sqlite":
            self._cut_off.add(mark)
        with suppress(Exception):
            await connection.invalidate()

    async def _end_what_was_cut_off(self) -> None:
        marks = list(self._cut_off)
        for _ in range(_LOOKS):
            if not any([await self._end(mark) for mark in marks]):
                self._cut_off.difference_update(marks)
                return
            await asyncio.sleep(_PAUSE)
        raise StoreUnavailableError(_ENDED)

    async def _end(self, mark: str) -> bool:
        """End a statement, and return whether it was still under way."""

        async def work(connection: AsyncConnection) -> bool:
            found = (await connection.execute(_FIND[self._dialect], {"mark": mark})).all()
            for (process,) in found:
                if self._dialect != "postgresql":
                    with suppress(DBAPIError):  # it has just ended by itself
                        await connection.exec_driver_sql(f"KILL {int(process)}")
            return bool(found)

        return await self.read(work)


async def _check_codecs_once(connection: AsyncConnection) -> None:
    """Check a connection of the caller's engine when it is first used."""
    from .._sqllike.codecs import check_returned, is_about_data, refused  # noqa: PLC0415  # the driver of PostgreSQL alone

    assert connection.sync_connection is not None  # noqa: S101  # it is open
    info = connection.sync_connection.info
    if "satchel_codecs" in info:
        return
    try:
        row = (await connection.exec_driver_sql(_SAMPLING, _SAMPLES)).one()
    except Exception as error:
        if not is_about_data(error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else error):
            raise
        raise refused("engine") from error
    check_returned(row, _SAMPLES, "engine")
    info["satchel_codecs"] = "checked"


_SAMPLES = (b"\0", 1, 2, 0.5)
_SAMPLING = "SELECT $1::bytea, $2::smallint, $3::bigint, $4::double precision"


def _mark_of(connection: Any) -> str:
    mark: str = connection.info.setdefault("satchel_mark", secrets.token_hex(8))
    return mark


def _marked(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    """Put the connection's mark behind the first word of a statement, where no list of the server cuts it off."""
    return statement.replace(" ", f" /*{_mark_of(connection)}*/ ", 1), parameters


def check_engine(engine: AsyncEngine) -> None:
    """Refuse an engine whose tasks would share one connection, and so each other's transactions.

    Raises:
        ConfigurationError: It has one connection for all.
    """
    if isinstance(engine.pool, StaticPool):
        raise ConfigurationError(
            "SQLStore cannot use a SQLite database in memory, which has one connection for all: "
            "use a file, or MemoryStore"
        )
