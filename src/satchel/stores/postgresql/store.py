"""`PostgreSQLStore`: entries in one table of a PostgreSQL database (`postgresql://host/database`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from msgspec.structs import replace

from ..._checks import check_bool
from ..._threads import offload
from ...backend.base import UNPROCESSED, BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.network import DEFAULT_TIMEOUT, check_one_way
from ...backend.record import Record, new_version
from ...backend.watching import Feed
from ...capability import Capability
from ...clock import NEVER, Clock, system_clock
from ...codec import Codec
from ...errors import ConfigurationError, SatchelError, UnsupportedOperationError, missing_extra
from ...names import Ref
from .._sqllike.rows import is_hashed, name_of, prefix_range, record_of, row_of, stored, stored_ref, stored_version
from .layout import Table

try:
    import asyncpg  # type: ignore[import-untyped]  # it has no types
except ModuleNotFoundError as error:
    raise missing_extra("PostgreSQLStore", "postgresql", error) from error

from .connections import Connections, check_url
from .errors import translate
from .notices import listen
from .statements import Statements

# The server carried out nothing of what these ended, whatever it was: the base sends it again.
_UNDONE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class PostgreSQLStore(BaseStore):
    """Store that keeps entries in one table of a PostgreSQL database. Any number of processes and hosts may share it.

    The first write creates the table if it is missing. Transaction poolers such as PgBouncer are detected and
    supported.

    Args:
        pool: An asyncpg pool to take connections from. It stays open.
        url: URL of the server: `postgresql://user:password@host:5432/database`, with asyncpg's options after a `?`.
        table_name: `table` or `schema.table`, case-sensitive.
        notify: Have `WATCH`. The first watcher creates triggers that notify of each change of the table, by any
            client: `docs/stores/postgresql.md` says what that costs each write.
        timeout: Seconds that a request may take; None for no limit.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: Not exactly one of pool and url is given, or an option is wrong. At the first call: there is
            no such database or user, the password is wrong, or the table has other columns.
    """

    url_parts = {"url": "url"}  # noqa: RUF012  # the base says ClassVar
    url_query = frozenset(
        {
            "host",
            "port",
            "user",
            "password",
            "database",
            "dbname",
            "passfile",
            "application_name",
            "options",
            "search_path",
        }
        | {"sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "target_session_attrs"}
        | {"ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib"}
    )
    _max_inflight: ClassVar[int] = 2
    _max_value_bytes = 500_000_000

    def __init__(
        self,
        pool: asyncpg.Pool | None = None,
        *,
        url: str | None = None,
        table_name: str = "satchel_entries",
        notify: bool = False,
        timeout: float | None = DEFAULT_TIMEOUT,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        check_one_way("pool", pool, url=url)
        if pool is None and url is None:
            raise ConfigurationError("PostgreSQLStore needs pool= or url=, such as postgresql://user@host/database")
        if pool is not None and not isinstance(pool, asyncpg.Pool):
            raise ConfigurationError(f"pool must be an asyncpg pool, got {type(pool).__name__}")
        if url is not None and not (isinstance(url, str) and url.startswith(("postgresql://", "postgres://"))):
            raise ConfigurationError("url must be a str that starts with postgresql:// or postgres://")
        if url is not None:
            check_url(url, self.url_query)
        check_bool("notify", notify)
        self._notify = notify
        self._missing = Capability.NONE if notify else Capability.WATCH
        self._pool = pool
        self._lent = None if pool is None else "a pool"
        self._url = url
        self._table = Table(table_name)
        self._statements = Statements(self._table.quoted)
        super().__init__(codec=codec, clock=clock, timeout=timeout)

    def __repr__(self) -> str:
        return f"PostgreSQLStore({str(self.describe())!r})"

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._look_up(self._statements.read_one, self._statements.read, refs)

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._look_up(self._statements.read_head_of_one, self._statements.read_heads, refs)

    async def _look_up(self, of_one: str, of_many: str, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        try:
            if len(refs) == 1:
                rows = await self._connections.fetch(of_one, *stored_ref(refs[0]))
                return [record_of(rows[0]) if rows else None]
            rows = await self._connections.fetch(of_many, *_columns(map(stored_ref, refs)))
        except asyncpg.UndefinedTableError:
            return [None] * len(refs)
        except _UNDONE:
            return [UNPROCESSED] * len(refs)
        found = {row[-1]: row for row in rows}
        return [record_of(found[at][:-1]) if at in found else None for at in range(1, len(refs) + 1)]

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        left = records
        try:
            left = await self._upsert(records)
            if left:
                # Their callers wait, so they are not the late ones that the statement is on its guard against.
                left = await self._upsert(await offload(_renewed, left))
        except _UNDONE:
            pass  # what was left before is so still
        if not left:
            return [None] * len(records)
        again = {ref for ref, _ in left}
        return [UNPROCESSED if ref in again else None for ref, _ in records]

    async def _upsert(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[tuple[Ref, Record]]:
        """Send puts, and return those that were passed over, since the process had made a later version by then."""
        if len(records) == 1:
            rows = await self._put(self._statements.put_one, *row_of(*records[0]))
        else:
            rows = await self._put(self._statements.put, *_columns(sorted(row_of(*item) for item in records)))
        if len(rows) == len(records):
            return ()
        written = {row[0].hex() for row in rows}
        return [(ref, record) for ref, record in records if record.version not in written]

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        return await self._change(self._statements.delete, refs, map(stored_ref, refs), now)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        rows = [(*row_of(ref, record), stored_version(condition)) for ref, record, condition in items]
        change = self._put if any(condition is None for _, _, condition in items) else self._remove
        return await self._change(self._statements.put_if, [ref for ref, _, _ in items], rows, now, change)

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        rows = [(*stored_ref(ref), stored_version(version)) for ref, version in items]
        return await self._change(self._statements.delete_if, [ref for ref, _ in items], rows, now)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        rows = [(*stored_ref(ref), deadline) for ref, deadline in items]
        return await self._change(self._statements.touch, [ref for ref, _ in items], rows, now)

    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._keys_after(collection, prefix, "", now)

    async def _count(self, collection: str, prefix: str, now: float) -> int:
        start, end = prefix_range(prefix)
        if start == prefix.encode():
            rows = await self._with_timeout(self._find(self._statements.count, stored(collection), start, end, now))
            return rows[0][0] if rows else 0
        count = 0  # of hashed names only the beginning can be compared there
        pages = self._keys(collection, prefix, now)
        while (page := await self._with_timeout(anext(pages, None))) is not None:
            count += len(page)
        return count

    async def _keys_after(self, collection: str, prefix: str, after: str, now: float) -> AsyncIterator[Sequence[str]]:
        start, end = prefix_range(prefix)
        start = max(start, stored(after) + b"\0" if after else start)
        while rows := await self._find(self._statements.keys, stored(collection), start, end, now):
            # Of a hashed name only the beginning was compared.
            yield [name for name in (name_of(*row) for row in rows) if name.startswith(prefix)]
            start = rows[-1][0] + b"\0"

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        after = b""
        while rows := await self._find(self._statements.collections, after, now):
            yield [name_of(*row) for row in rows]
            after = rows[-1][0]

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        name = stored(collection)
        lived = bool(await self._with_timeout(self._find(self._statements.any_in, name, now)))
        while await self._with_timeout(self._remove(self._statements.empty_collection, name)):
            pass
        return lived

    async def _destroy(self, now: float) -> bool:
        lived = bool(await self._with_timeout(self._find(self._statements.any, now)))
        while await self._with_timeout(self._remove(self._statements.empty)):
            pass
        return lived

    async def _cull(self, now: float) -> int:
        count = 0
        while culled := len(await self._with_timeout(self._find(self._statements.cull, now))):
            count += culled
        return count

    async def _first_deadline(self) -> float:
        rows = await self._with_timeout(self._find(self._statements.first_deadline))
        return rows[0][0] if rows else NEVER

    async def _watch(self, feed: Feed) -> None:
        if self._connections.is_pooled:
            raise UnsupportedOperationError(
                f"{self!r} cannot be watched through a pooler, which passes no notifications on: connect to the server"
            )
        async with self._connections.single() as connection:
            await listen(connection, self._table, feed, self._timeout)

    async def _ping(self) -> None:
        await self._connections.fetch("SELECT 1")

    # Statements over a table that may not be there: reading creates nothing.

    async def _find(self, statement: str, *arguments: object) -> list[Any]:
        try:
            return await self._connections.fetch(statement, *arguments)
        except asyncpg.UndefinedTableError:
            return []

    async def _remove(self, statement: str, *arguments: object) -> list[Any]:
        try:
            return await self._connections.write(statement, *arguments)
        except asyncpg.UndefinedTableError:
            return []

    async def _put(self, statement: str, *arguments: object) -> list[Any]:
        try:
            return await self._connections.write(statement, *arguments)
        except asyncpg.UndefinedTableError:
            await self._create()
        return await self._connections.write(statement, *arguments)

    async def _create(self) -> None:
        # Of two that create at once one is told so in spite of IF NOT EXISTS, and then the table is there.
        with suppress(asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
            await self._connections.execute(self._table.creation)

    async def _change(
        self,
        statement: str,
        refs: Sequence[Ref],
        rows: Iterable[tuple[Any, ...]],
        now: float,
        run: Callable[..., Awaitable[list[Any]]] | None = None,
    ) -> Sequence[ChangeResult]:
        """Run a statement that returns the names of what it changed, and in a third column whether that lived."""
        try:
            # In order of names, so that two processes do not wait for each other's rows.
            changed = await (run or self._remove)(statement, *_columns(sorted(rows)), now)
        except _UNDONE:
            return [UNPROCESSED] * len(refs)
        done = {(row[0], row[1]): len(row) < 3 or row[2] for row in changed}
        return [done.get(stored_ref(ref), False) for ref in refs]

    # Opening and closing.

    async def _open(self) -> None:
        if self._pool is not None:
            self._connections = await Connections.over(self._pool, self._table)
        else:
            assert self._url is not None  # noqa: S101  # the constructor saw to it
            size = 2 * self._max_inflight + 1  # reads, writes, and one for what lists or reclaims
            self._connections = await Connections.open(self._url, self._table, size, self._timeout)

    async def _close(self) -> None:
        await self._connections.close()

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error, repr(self), self._table.quoted, self._pool)

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        return ref if is_hashed(ref) else None


def _renewed(records: Sequence[tuple[Ref, Record]]) -> list[tuple[Ref, Record]]:
    """Return records with versions that are later than all that the process has made."""
    return [(ref, replace(record, version=new_version()).sealed(record.names)) for ref, record in records]


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[str | None]]:
    """Return rows as an array of text for each column."""
    return [[_text(value) for value in column] for column in zip(*rows, strict=True)]


def _text(value: bytes | float | None) -> str | None:
    if type(value) is bytes:
        return value.hex()
    return None if value is None else repr(value)
