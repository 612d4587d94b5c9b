"""`SQLStore`: entries in one table of a SQL database, through SQLAlchemy (`mysql://host/database`)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, TypeVar

from ..._places import settled
from ..._threads import offload
from ..._url_parts import check_options, split_url
from ...backend.base import UNPROCESSED, BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.network import DEFAULT_TIMEOUT, check_one_way
from ...backend.record import Record
from ...clock import NEVER, Clock, system_clock
from ...codec import Codec
from ...errors import ConfigurationError, SatchelError, ValueTooLargeError, missing_extra
from ...names import Ref
from .._sqllike.rows import is_hashed, name_of, prefix_range, stored, stored_ref, stored_version

try:
    import greenlet  # type: ignore[import-untyped]  # noqa: F401  # SQLAlchemy needs it for async drivers
    from sqlalchemy import text
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
except ModuleNotFoundError as error:
    raise missing_extra("SQLStore", "sql", error) from error

from .connections import Connections, check_engine, make_engine
from .errors import is_existing_table, is_missing_table, is_undone, translate
from .layout import Row, Table, record_of, row_of
from .statements import PAGE, Statements

T = TypeVar("T")
Place = tuple[bytes, bytes]

_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "mysql": "asyncmy", "mariadb": "asyncmy"}
_EXTRAS = {"asyncpg": "postgresql", "asyncmy": "mysql"}
_ESCAPED = b"\0\n\r\x1a\"'\\"
"""The bytes that take two in a statement for MySQL."""
_REST = 16_384
"""The most bytes of a statement apart from the value."""


class SQLStore(BaseStore):
    """Store that keeps entries in one table of a SQLite, PostgreSQL, MySQL or MariaDB database, through SQLAlchemy.

    Any number of processes, and an application with tables of its own, may share the database. The first write creates
    the table if it is missing.

    Args:
        engine: An async engine of SQLAlchemy to take connections from. It stays open.
        url: SQLAlchemy's URL of the database: `mysql://user:password@host/database`, `mariadb://...`,
            `postgresql+asyncpg://...` or `sqlite+aiosqlite:///file`; a relative path of a file is resolved now.
        table_name: `table` or `schema.table`.
        timeout: Seconds that a request may take; None for no limit.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: Not exactly one of engine and url is given, an option is wrong, or the database or driver is
            none of those above. At the first call: there is no such database or user, the password is wrong, or the
            table has other columns.
        MissingExtraError: The driver is not installed.
    """

    url_parts = {"url": "url"}  # noqa: RUF012  # the base says ClassVar
    url_query = frozenset({"ssl", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket"})
    _max_inflight: ClassVar[int] = 2
    _max_value_bytes = 500_000_000

    def __init__(
        self,
        engine: AsyncEngine | None = None,
        *,
        url: str | None = None,
        table_name: str = "satchel_sql",
        timeout: float | None = DEFAULT_TIMEOUT,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        check_one_way("engine", engine, url=url)
        self._callers_engine, self._url = engine, None
        if engine is not None:
            if not isinstance(engine, AsyncEngine):
                raise ConfigurationError(
                    f"engine must be one of SQLAlchemy's create_async_engine, got {type(engine).__name__}"
                )
            check_engine(engine)
            dialect = engine.dialect
            _check_database(dialect.name, dialect.driver)
        else:
            self._url = _read_url(url, self.url_query)
            dialect = self._url.get_dialect()()
        self._lent = None if engine is None else "an engine"
        self._dialect = dialect.name
        self._table = Table(table_name)
        self._creation = self._table.creation(dialect)
        self._statements = Statements(self._table.clause, self._dialect)
        self._largest_statement: int | None = None
        super().__init__(codec=codec, clock=clock, timeout=timeout)

    def __repr__(self) -> str:
        return f"SQLStore({str(self.describe())!r})"

    def _layer(self) -> Any:
        layer = super()._layer()
        if self._callers_engine is None:
            return layer
        return replace(layer, name=f"{self._dialect}+{_DRIVERS[self._dialect]}")

    # Reading.

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._look_up(self._statements.read_one, self._statements.read, refs)

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._look_up(self._statements.read_head_of_one, self._statements.read_heads, refs)

    async def _look_up(self, of_one: Any, of_many: Any, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        places = [stored_ref(ref) for ref in refs]
        try:
            if len(places) == 1:
                rows = await self._find(of_one, _at(places[0]))
                return [record_of(rows[0]) if rows else None]
            nothing: dict[Place, Sequence[Any]] = {}
            reading = partial(self._connections.read, partial(_select, of_many, places))
            found = await self._unless_missing(reading, default=nothing)
        except DBAPIError as error:
            if is_undone(error):
                return [UNPROCESSED] * len(refs)
            raise
        return [record_of(found[place]) if place in found else None for place in places]

    async def _find(self, statement: Any, parameters: Row) -> Sequence[Any]:
        """Return the rows of a statement that reads; none where there is no table: reading creates nothing."""

        async def work(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(statement, parameters)).all()

        return await self._unless_missing(partial(self._connections.read, work), default=())

    # Writing.

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        refused = {ref: error for ref, record in records if (error := self._refusal(record)) is not None}
        rows = [row_of(ref, record) for ref, record in records if ref not in refused]
        done = True
        if rows:
            done = await self._or_again(partial(self._put, sorted(rows, key=_place)), undone=False)
        return [refused.get(ref, None if done else UNPROCESSED) for ref, _ in records]

    async def _put(self, rows: Sequence[Row]) -> bool:
        lone = len(rows) == 1

        async def work(connection: AsyncConnection) -> bool:
            await connection.execute(self._statements.put, rows[0] if lone else rows)
            return True

        return await self._created(lambda: self._connections.write(work, transaction=not lone))

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        if len(refs) == 1:
            return [await self._change_one(self._statements.delete_one, _at(stored_ref(refs[0])) | {"now": now})]
        places = [stored_ref(ref) for ref in refs]

        async def work(connection: AsyncConnection) -> Sequence[ChangeResult]:
            found = await _select(self._statements.lock, places, connection)
            await _remove(self._statements.remove, found, connection)
            return [_lives(found.get(place), now) for place in places]

        return await self._change(work, places)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        refused = [self._refusal(record) for _, record, _ in items]
        rows = [row_of(ref, record) for ref, record, _ in items]
        expected = [stored_version(condition) for _, _, condition in items]
        if len(items) == 1 and refused[0] is None and expected[0] is not None:
            parameters = _at(_place(rows[0])) | _record(rows[0]) | {"expected": expected[0], "now": now}
            return [await self._change_one(self._statements.replace_one_if, parameters)]
        places = [_place(row) for row in rows]

        async def work(connection: AsyncConnection) -> Sequence[ChangeResult]:
            found = await _select(self._statements.lock, places, connection)
            results: list[ChangeResult] = []
            put: list[Row] = []
            add: list[Row] = []
            for place, row, version, error in zip(places, rows, expected, refused, strict=True):
                if error is not None:
                    results.append(error)
                    continue
                there = found.get(place)
                holds = not _lives(there, now) if version is None else _has(there, version, now)
                results.append(holds)
                if holds:
                    (add if there is None else put).append(row)
            if put:
                await connection.execute(self._statements.put, sorted(put, key=_place))
            if add:
                lost = await self._add(sorted(add, key=_place), connection)
                results = [False if place in lost else result for place, result in zip(places, results, strict=True)]
            return results

        return await self._change(work, places, creates=any(version is None for version in expected))

    async def _add(self, rows: Sequence[Row], connection: AsyncConnection) -> set[Place]:
        """Insert rows where none were found, and return the places at which others came first."""
        await connection.execute(self._statements.add, rows)
        found = await _select(self._statements.lock, [_place(row) for row in rows], connection)
        return {_place(row) for row in rows if not _has(found.get(_place(row)), row["version"])}

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        expected = {stored_ref(ref): stored_version(version) for ref, version in items}
        if len(items) == 1:
            ((place, version),) = expected.items()
            return [
                await self._change_one(self._statements.delete_one_if, _at(place) | {"expected": version, "now": now})
            ]

        async def work(connection: AsyncConnection) -> Sequence[ChangeResult]:
            found = await _select(self._statements.lock, list(expected), connection)
            holds = [_has(found.get(place), version, now) for place, version in expected.items()]
            await _remove(
                self._statements.remove,
                [place for place, hold in zip(expected, holds, strict=True) if hold],
                connection,
            )
            return holds

        return await self._change(work, expected)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        deadlines = {stored_ref(ref): None if deadline == NEVER else deadline for ref, deadline in items}
        if len(items) == 1:
            ((place, deadline),) = deadlines.items()
            parameters = _at(place) | {"deadline": deadline, "now": now}
            done = await self._change_one(self._statements.touch_one, parameters)
            if done is not False:
                return [done]
            # MySQL may count only what it changed, and this may have been the deadline already.

        async def work(connection: AsyncConnection) -> Sequence[ChangeResult]:
            found = await _select(self._statements.lock, list(deadlines), connection)
            lives = [_lives(found.get(place), now) for place in deadlines]
            rows = [_at(place) | {"deadline": deadlines[place]} for place in sorted(found) if _lives(found[place], now)]
            if rows:
                await connection.execute(self._statements.touch, rows)
            return lives

        return await self._change(work, deadlines)

    async def _change_one(self, statement: Any, parameters: Row) -> ChangeResult:
        """Run a statement about one entry, and return whether it changed it."""

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(statement, parameters)).rowcount == 1

        writing = partial(self._connections.write, work)
        return await self._or_again(lambda: self._unless_missing(writing, default=False), undone=UNPROCESSED)

    async def _change(
        self,
        work: Callable[[AsyncConnection], Awaitable[Sequence[ChangeResult]]],
        places: Collection[Place],
        *,
        creates: bool = False,
    ) -> Sequence[ChangeResult]:
        """Run a transaction about several entries, which locks their rows, and return the outcome of each.

        Args:
            work: Runs its statements.
            places: The places of the entries.
            creates: Create the table if it is missing; otherwise nothing is done then.
        """
        count = len(places)
        nothing: Sequence[ChangeResult] = [False] * count
        writing = partial(self._connections.write, work, transaction=True)
        request = partial(self._created, writing) if creates else lambda: self._unless_missing(writing, default=nothing)
        return await self._or_again(request, undone=[UNPROCESSED] * count)

    # Listing and reclaiming.

    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._keys_after(collection, prefix, "", now)

    async def _keys_after(self, collection: str, prefix: str, after: str, now: float) -> AsyncIterator[Sequence[str]]:
        start, end = prefix_range(prefix)
        start = max(start, stored(after) + b"\0" if after else start)
        within = {"at_collection": stored(collection), "end": end, "now": now}
        while rows := await self._find(self._statements.keys, within | {"start": start}):
            # Of a hashed name only the beginning was compared.
            yield [name for name in (name_of(*row) for row in rows) if name.startswith(prefix)]
            start = rows[-1][0] + b"\0"

    async def _count(self, collection: str, prefix: str, now: float) -> int:
        start, end = prefix_range(prefix)
        if start == prefix.encode():
            within = {"at_collection": stored(collection), "start": start, "end": end, "now": now}
            rows = await self._with_timeout(self._find(self._statements.count, within))
            return rows[0][0] if rows else 0
        count = 0  # of hashed names only the beginning can be compared there
        pages = self._keys(collection, prefix, now)
        while (page := await self._with_timeout(anext(pages, None))) is not None:
            count += len(page)
        return count

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        after = b""
        while rows := await self._find(self._statements.collections, {"after": after, "now": now}):
            yield [await self._collection_name(short) for (short,) in rows]
            if len(rows) < PAGE:
                return
            after = rows[-1][0]

    async def _collection_name(self, short: bytes) -> str:
        if not is_hashed((short.decode(errors="replace"), "")):
            return name_of(short, None)
        rows = await self._find(self._statements.full_collection, {"at_collection": short})
        return name_of(short, rows[0][0] if rows else None)

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        here = {"at_collection": stored(collection)}
        lived = bool(await self._with_timeout(self._find(self._statements.any_in, here | {"now": now})))
        await self._remove_all(self._statements.some_in, here)
        return lived

    async def _destroy(self, now: float) -> bool:
        lived = bool(await self._with_timeout(self._find(self._statements.any, {"now": now})))
        await self._remove_all(self._statements.some, {})
        return lived

    async def _cull(self, now: float) -> int:
        return await self._remove_all(self._statements.due, {"now": now})

    async def _remove_all(self, statement: Any, parameters: Row) -> int:
        """Remove the rows that a statement finds, some in a transaction, until it finds none; return how many."""

        async def work(connection: AsyncConnection) -> int:
            places = [tuple(row) for row in await connection.execute(statement, parameters)]
            await _remove(self._statements.remove, places, connection)
            return len(places)

        writing = partial(self._connections.write, work, transaction=True)
        count = 0
        while removed := await self._with_timeout(self._unless_missing(writing, default=0)):
            count += removed
        return count

    async def _first_deadline(self) -> float:
        rows = await self._with_timeout(self._find(self._statements.first_deadline, {}))
        return NEVER if not rows or rows[0][0] is None else rows[0][0]

    async def _ping(self) -> None:
        async def work(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql("SELECT 1")

        await self._connections.read(work)

    # A table that may not be there, and transactions that the server undid.

    async def _unless_missing(self, request: Callable[[], Awaitable[T]], *, default: T) -> T:
        try:
            return await request()
        except DBAPIError as error:
            if await self._is_missing(error):
                return default
        return await request()

    async def _is_missing(self, error: DBAPIError) -> bool:
        """Return whether the table is missing; False where it may just have been created, so that asking again helps.

        Raises:
            DBAPIError: The error, if it has another reason.
        """
        missing = is_missing_table(error)
        if missing is False:
            raise error

        async def work(connection: AsyncConnection) -> bool:
            return not (await connection.exec_driver_sql(*self._table.search())).all()

        return missing is True or await self._connections.read(work)

    async def _created(self, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request again when the table was missing, once it is created."""
        try:
            return await request()
        except DBAPIError as error:
            if await self._is_missing(error):
                await self._create()
        return await request()

    async def _create(self) -> None:
        async def work(connection: AsyncConnection) -> None:
            for statement in self._creation:
                await connection.exec_driver_sql(statement)

        try:
            await self._connections.write(work, transaction=len(self._creation) > 1)
        except DBAPIError as error:
            if not is_existing_table(error):
                raise

    async def _or_again(self, request: Callable[[], Awaitable[T]], *, undone: T) -> T:
        """Return what a request does, or `undone` where the server undid it, for the base to send it again."""
        try:
            return await request()
        except DBAPIError as error:
            if is_undone(error):
                return undone
            raise

    def _refusal(self, record: Record) -> SatchelError | None:
        """Return the error for a value that makes a statement that the server does not take."""
        largest, payload = self._largest_statement, record.payload
        if largest is None or 2 * len(payload) + _REST <= largest:
            return None
        escaped = len(payload) + sum(payload.count(byte) for byte in _ESCAPED)
        if escaped + _REST <= largest:
            return None
        return ValueTooLargeError(
            f"the encoded value takes {escaped:,} bytes in a statement, and the max_allowed_packet of {self!r} is "
            f"{largest:,}"
        )

    # Opening and closing.

    async def _open(self) -> None:
        engine = self._callers_engine
        if engine is None:
            assert self._url is not None  # noqa: S101  # the constructor saw to it
            size = 2 * self._max_inflight + 1  # reads, writes, and one for what lists or reclaims
            engine = await offload(make_engine, self._url, size, self._timeout)  # it looks at files
        self._connections = Connections(engine, is_ours=self._callers_engine is None)
        await self._connections.start()
        try:
            await self._connections.read(self._examine)
        except BaseException:
            await self._connections.close()
            raise

    async def _examine(self, connection: AsyncConnection) -> None:
        await connection.run_sync(self._table.check)
        if self._dialect in {"mysql", "mariadb"}:
            row = (await connection.execute(text("SELECT @@max_allowed_packet, @@sql_mode"))).one()
            self._largest_statement = int(row[0])
            if "NO_BACKSLASH_ESCAPES" in str(row[1]):
                raise ConfigurationError("asyncmy cannot be used with the sql_mode NO_BACKSLASH_ESCAPES: remove it")

    async def _close(self) -> None:
        await self._connections.close()

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error, self._dialect, repr(self), self._table.full_name)

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        return ref if is_hashed(ref) else None


def _read_url(url: object, known: frozenset[str]) -> URL:
    """Return a URL as SQLAlchemy has it, with the driver that there is for its database."""
    if not isinstance(url, str) or not url:
        raise ConfigurationError("SQLStore needs engine= or url=, such as mysql://user@host/database")
    parts, _ = split_url(url)
    check_options(parts.query, known, "a SQL URL")
    found = _parsed(url)
    name, _, driver = found.drivername.partition("+")
    _check_database(name, driver or _DRIVERS.get(name, ""))
    if name == "sqlite" and found.database in {None, "", ":memory:"}:
        raise ConfigurationError("url names no file: SQLStore needs one for SQLite, as in sqlite+aiosqlite:///file")
    if name == "sqlite":
        found = found.set(database=str(settled(str(found.database), "the path in url")))
    return found.set(drivername=f"{name}+{_DRIVERS[name]}")


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        pass  # what it says may show parts of the URL, and so must not be the context of another error
    raise ConfigurationError("the URL of SQLStore has a part that SQLAlchemy cannot read: correct it")


def _check_database(name: str, driver: str) -> None:
    if _DRIVERS.get(name) != driver:
        known = ", ".join(f"{name} with {driver}" for name, driver in _DRIVERS.items())
        raise ConfigurationError(f"SQLStore does not support this database or driver; it supports {known}")
    if driver in _EXTRAS:
        try:
            __import__(driver)
        except ModuleNotFoundError as error:
            raise missing_extra("SQLStore", _EXTRAS[driver], error) from error


def _at(place: Place) -> Row:
    return {"at_collection": place[0], "at_key": place[1]}


def _place(row: Mapping[str, Any]) -> Place:
    return row["collection"], row["key"]


def _record(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in {"collection", "key"}}


def _lives(found: Sequence[Any] | None, now: float) -> bool:
    return found is not None and (found[1] is None or found[1] > now)


def _has(found: Sequence[Any] | None, version: bytes | None, now: float = -math.inf) -> bool:
    return found is not None and found[0] == version and _lives(found, now)


def _grouped(places: Iterable[Place]) -> Mapping[bytes, list[bytes]]:
    """Return the keys of each collection, all in order: all lock rows in the same one."""
    groups: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for collection, key in sorted(places):
        groups[collection].append(key)
    return groups


async def _select(statement: Any, places: Iterable[Place], connection: AsyncConnection) -> dict[Place, Sequence[Any]]:
    """Return the rows at some places, without their keys, which the statement has in front."""
    found: dict[Place, Sequence[Any]] = {}
    for collection, keys in _grouped(places).items():
        for key, *rest in await connection.execute(statement, {"at_collection": collection, "keys": keys}):
            found[collection, key] = rest
    return found


async def _remove(statement: Any, places: Iterable[Place], connection: AsyncConnection) -> None:
    for collection, keys in _grouped(places).items():
        await connection.execute(statement, {"at_collection": collection, "keys": keys})
