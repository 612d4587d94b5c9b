"""A store on the application's own engine shares its database, and leaves the engine open."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncmy
import pytest
from sqlalchemy import Column, Integer, MetaData, NullPool, Table, event, make_url, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from satchel import ConfigurationError, MissingExtraError
from satchel.stores.sql import SQLStore
from tests.servers import server_url
from tests.stores.sql.tables import postgresql_url, table_for

EACH = ["sqlite", *(pytest.param(name, marks=pytest.mark.server(name)) for name in ("mariadb", "postgresql"))]
THEIRS = Table("theirs", MetaData(), Column("id", Integer, primary_key=True))


def url_of(name: str, place: Path) -> str:
    if name == "sqlite":
        return f"sqlite+aiosqlite:///{place}/data.sqlite3"
    return server_url("mariadb").replace("mariadb:", "mariadb+asyncmy:") if name == "mariadb" else postgresql_url()


@pytest.fixture(params=EACH)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    # asyncpg would look for a file with passwords on the event loop
    options = {"connect_args": {"password": "-", "ssl": False}} if request.param == "postgresql" else {}
    engine = engine_for(url_of(request.param, tmp_path), options)
    yield engine
    await engine.dispose()


def engine_for(url: str, options: dict[str, object]) -> AsyncEngine:
    return create_async_engine(url, **options)


@pytest.fixture(autouse=True)
def seen_by_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.abspath", str)  # SQLAlchemy asks for it where an engine is made, here on the loop


async def test_an_application_goes_on_with_its_engine_and_tables(engine: AsyncEngine, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    theirs = THEIRS.to_metadata(MetaData(), name=f"{table}_theirs")
    async with engine.begin() as connection:
        await connection.run_sync(theirs.create)
        await connection.execute(theirs.insert().values(id=1))
    async with SQLStore(engine, table_name=table) as store:
        assert repr(store).startswith(
            f"SQLStore('{engine.dialect.name}+{engine.dialect.driver}://?engine=<AsyncEngine>"
        )
        await store.put_many("c", {"a": 1, "b": 2})
        assert await store.put_if_absent("c", "a", 3) is None
        assert await store.touch("c", "a", ttl=60)
        async with engine.connect() as connection:  # in a transaction, as the application has it, not in autocommit
            await connection.execute(theirs.insert().values(id=2))
            await connection.rollback()
        assert await store.destroy()
    async with engine.connect() as connection:
        assert (await connection.execute(select(theirs.c.id))).scalars().all() == [1]
        count = await connection.execute(text(f"SELECT count(*) FROM {table}"))  # noqa: S608  # it is ours
        assert count.scalar_one() == 0


async def test_a_store_is_refused_when_its_table_is_another_programs(engine: AsyncEngine, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    async with engine.begin() as connection:
        await connection.run_sync(THEIRS.to_metadata(MetaData(), name=table).create)
    async with SQLStore(engine, table_name=table) as store:
        with pytest.raises(ConfigurationError, match=r"collection, key, codec.*give another table_name"):
            await store.put("c", "k", 1)


async def test_text_columns_which_take_two_names_for_one_are_refused(engine: AsyncEngine, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    kinds = "codec integer, version varchar(99), updated_at float, deadline float, checksum integer"
    names = "collection varchar(99), full_collection varchar(99), full_key varchar(99), payload varchar(99)"
    quoted = engine.dialect.identifier_preparer.quote("key")
    async with engine.begin() as connection:
        await connection.execute(
            text(f"CREATE TABLE {table} ({names}, {quoted} varchar(99), {kinds}, PRIMARY KEY (collection, {quoted}))")
        )
    async with SQLStore(engine, table_name=table) as store:
        with pytest.raises(ConfigurationError, match="collection, key, version"):
            await store.get("c", "k")


@pytest.mark.server("mariadb")
async def test_a_touch_that_changes_nothing_is_done_where_mysql_counts_changes(tmp_path: Path) -> None:
    # SQLAlchemy asks for the other way of counting, FOUND_ROWS, but an engine may have its own connections.
    url = make_url(url_of("mariadb", tmp_path))
    where = {"host": url.host, "port": url.port, "user": url.username, "db": url.database}
    engine = create_async_engine("mariadb+asyncmy://", async_creator=lambda: connection_without_found_rows(where))
    async with SQLStore(engine, table_name=table_for(tmp_path)) as store:
        await store.put("c", "k", 1)
        assert await store.touch("c", "k", ttl=None)
        assert await store.touch("c", "k", ttl=None)
        assert not await store.touch("c", "missing", ttl=None)
    await engine.dispose()


async def connection_without_found_rows(where: dict[str, object]) -> object:
    return await asyncmy.connect(**where)


async def test_an_engine_without_a_pool_makes_a_connection_for_each_statement(tmp_path: Path) -> None:
    engine = create_async_engine(url_of("sqlite", tmp_path), poolclass=NullPool)
    async with SQLStore(engine) as store:
        await store.put_many("c", {"a": 1, "b": 2})
        assert await store.get_many("c", ["a", "b"]) == {"a": 1, "b": 2}


async def test_the_applications_own_statements_stay_as_they_are(engine: AsyncEngine, tmp_path: Path) -> None:
    seen: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    async with SQLStore(engine, table_name=table_for(tmp_path)) as store:
        await store.put("c", "k", 1)
        seen.clear()
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    assert seen == ["SELECT 1"]


async def test_an_engine_that_was_closed_makes_new_connections(engine: AsyncEngine, tmp_path: Path) -> None:
    async with SQLStore(engine, table_name=table_for(tmp_path)) as store:
        await store.put("c", "k", 1)
        await engine.dispose()
        assert await store.get("c", "k") == 1


@pytest.mark.parametrize("given", ["sqlite+aiosqlite:///x", 5, object()])
def test_what_is_no_engine_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match="create_async_engine"):
        SQLStore(given)


@pytest.mark.parametrize(("driver", "extra"), [("asyncmy", "mysql"), ("asyncpg", "postgresql")])
def test_a_driver_that_is_missing_is_named_with_its_extra(
    driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(MissingExtraError, match=rf'pip install "satchel\[{extra}\]"'):
        SQLStore(url=f"{extra}://h/b")


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="one connection for all"):
        SQLStore(create_async_engine("sqlite+aiosqlite://"))
    with pytest.raises(ConfigurationError, match="names no file"):
        SQLStore(url="sqlite+aiosqlite://")


@pytest.mark.parametrize("url", ["oracle://h/b", "mssql+aioodbc://h/b", "mysql+aiomysql://h/b", "sqlite+pysqlite:///x"])
def test_another_database_or_driver_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match="it supports sqlite with aiosqlite, postgresql with asyncpg, mysql"):
        SQLStore(url=url)


@pytest.mark.parametrize("name", ["", "a b", "a`b", "a;DROP TABLE b", "a.b.c", ".a", "1a", "ä", "a" * 55, None, 5])
def test_a_table_name_that_is_none_is_refused_before_any_request(name: str) -> None:
    with pytest.raises(ConfigurationError, match="table_name"):
        SQLStore(url="mysql://me@127.0.0.1:1/base", table_name=name)


@pytest.mark.parametrize(
    "options", [{}, {"url": ""}, {"url": 5}, {"url": "mysql://h:x/b"}, {"url": "mysql://h/b?user=me"}]
)
def test_a_url_that_is_none_is_refused_before_any_request(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        SQLStore(**options)


@pytest.mark.server("postgresql")
async def test_a_table_may_be_in_another_schema(tmp_path: Path) -> None:
    schema = table_for(tmp_path)
    admin = engine_for(postgresql_url(), {"connect_args": {"password": "-", "ssl": False}})
    async with SQLStore(url=postgresql_url(), table_name=f"{schema}.entries") as store:
        with pytest.raises(ConfigurationError, match="CREATE SCHEMA"):
            await store.put("c", "k", 1)
        async with admin.begin() as connection:
            await connection.execute(text(f"CREATE SCHEMA {schema}"))
        await store.put("c", "k", 1)
        assert await store.get("c", "k") == 1
    async with admin.connect() as connection:
        count = await connection.execute(text(f"SELECT count(*) FROM {schema}.entries"))  # noqa: S608  # it is ours
        assert count.scalar_one() == 1
    await admin.dispose()


@pytest.mark.server("mariadb")
async def test_a_table_may_be_in_another_database(tmp_path: Path) -> None:
    database = table_for(tmp_path)
    admin = engine_for(url_of("mariadb", tmp_path), {})
    async with admin.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {database}"))
        async with SQLStore(url=server_url("mariadb"), table_name=f"{database}.entries") as store:
            await store.put("c", "k", 1)
            assert [key async for key in store.keys("c")] == ["k"]
        await connection.execute(text(f"DROP DATABASE {database}"))
    await admin.dispose()


@pytest.mark.server("postgresql")
@pytest.mark.parametrize("kind", ["bytea", "float8", "int2", "int8"])
async def test_an_engine_whose_codecs_would_change_entries_is_refused(kind: str, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    engine = engine_for(url_of("postgresql", tmp_path), {"connect_args": {"password": "-", "ssl": False}})
    async with SQLStore(engine, table_name=table) as store:
        await store.put("c", "k", 1)

        @event.listens_for(engine.sync_engine, "connect")
        def use_text(connection: Any, _record: object) -> None:
            connection.run_async(
                lambda own: own.set_type_codec(kind, schema="pg_catalog", encoder=str, decoder=lambda text: [text])
            )

        await engine.dispose()
        for call in (store.get("c", "k"), store.put("c", "k", 2), store.delete("c", "k")):
            with pytest.raises(ConfigurationError, match="engine makes connections with a type codec"):
                await call
    await engine.dispose()
