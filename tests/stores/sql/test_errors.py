"""What is wrong with a database, a user or a table is said by name, with what to do."""

import asyncio
import secrets
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncmy
import pytest

from satchel import (
    ConfigurationError,
    IntegrityError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from satchel.stores.sql import SQLStore
from tests.servers import private_server, server_url
from tests.stores.sql.tables import table_for

mariadb = pytest.mark.server("mariadb")


def url_as(user: str, **parts: object) -> str:
    where = urlsplit(server_url("mariadb"))
    port, database = parts.get("port", where.port), parts.get("database", "satchel")
    return f"mariadb://{user}@{where.hostname}:{port}/{database}"


class Admin:
    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def run(self, statement: str) -> None:
        async with self.connection.cursor() as cursor:
            await cursor.execute(statement)


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    where = urlsplit(server_url("mariadb"))
    connection = await asyncmy.connect(
        host=where.hostname, port=where.port, user="satchel", db="satchel", autocommit=True
    )
    yield Admin(connection)
    await connection.ensure_closed()


@pytest.fixture
async def user(admin: Admin) -> AsyncIterator[str]:
    name = f"user_{secrets.token_hex(6)}"
    await admin.run(f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'right'")
    yield name
    await admin.run(f"DROP USER {name}@'127.0.0.1'")


async def failure_of(url: str, table: str = "never_made", *, put: bool = False) -> SatchelError:
    async with SQLStore(url=url, table_name=table) as store:
        with pytest.raises(SatchelError) as caught:
            await (store.put("c", "k", "precious") if put else store.get("c", "k"))
    assert "precious" not in str(caught.value)
    return caught.value


@mariadb
async def test_a_missing_database_is_named_as_the_trouble() -> None:
    error = await failure_of(url_as("satchel", database="nowhere"))
    assert isinstance(error, ConfigurationError)
    assert "no such database" in str(error)
    assert "nowhere" in str(error)


@mariadb
async def test_a_wrong_password_is_said_and_not_shown(user: str) -> None:
    error = await failure_of(url_as(f"{user}:mistaken"))
    assert isinstance(error, ConfigurationError)
    assert "password" in str(error)
    assert "mistaken" not in str(error)


@mariadb
async def test_a_wrong_port_is_a_server_that_cannot_be_reached() -> None:
    error = await failure_of(url_as("satchel", port=1))
    assert isinstance(error, StoreUnavailableError)
    assert error.retryable


@mariadb
async def test_a_user_needs_nothing_but_the_privileges_of_the_documentation(
    admin: Admin, user: str, tmp_path: Path
) -> None:
    table = table_for(tmp_path)
    async with SQLStore(url=server_url("mariadb"), table_name=table) as store:
        await store.put("c", "k", 1)
    await admin.run(f"GRANT SELECT ON satchel.{table} TO {user}@'127.0.0.1'")
    error = await failure_of(url_as(f"{user}:right"), table, put=True)
    assert type(error) is StoreError
    assert "GRANT SELECT, INSERT, UPDATE, DELETE" in str(error)
    assert "right" not in str(error)
    await admin.run(f"GRANT INSERT, UPDATE, DELETE ON satchel.{table} TO {user}@'127.0.0.1'")
    async with SQLStore(url=url_as(f"{user}:right"), table_name=table) as store:
        await store.put_many("c", {"a": 1, "b": 2}, ttl=60)
        assert await store.put_if_absent("c", "a", 3) is None
        assert await store.touch("c", "a", ttl=None)
        assert [name async for name in store.collections()] == ["c"]
        assert await store.cull() == 0
        assert await store.destroy()


@mariadb
async def test_a_user_that_may_not_create_is_told_what_to_grant(admin: Admin, user: str, tmp_path: Path) -> None:
    await admin.run(f"GRANT SELECT, INSERT ON satchel.* TO {user}@'127.0.0.1'")
    error = await failure_of(url_as(f"{user}:right"), table_for(tmp_path), put=True)
    assert type(error) is StoreError
    assert "for the first write CREATE" in str(error)


@mariadb
async def test_a_value_that_no_packet_holds_is_refused_alone(tmp_path: Path) -> None:
    with private_server("mariadb") as server:
        where = urlsplit(server.url)
        connection = await asyncmy.connect(host=where.hostname, port=where.port, user="satchel", autocommit=True)
        await Admin(connection).run("SET GLOBAL max_allowed_packet = 1048576")
        await connection.ensure_closed()
        async with SQLStore(url=server.url) as store:
            with pytest.raises(ValueTooLargeError, match="max_allowed_packet"):
                await store.put("c", "k", b"x" * 1_040_000)
            with pytest.raises(ValueTooLargeError):
                await store.put("c", "k", b"\0" * 600_000)  # each takes two bytes in a statement
            with pytest.raises(ValueTooLargeError):
                await store.put_if_absent("c", "k", b"x" * 1_040_000)
            with pytest.raises(SatchelError):
                await store.put_many("c", {"a": b"x" * 2_000_000, "b": b"x" * 700_000, "c": b"x" * 700_000})
            assert [len(value) for value in (await store.get_many("c", ["b", "c"])).values()] == [700_000] * 2
            await store.put("c", "k", b"x" * 1_030_000)
            assert await store.get("c", "k") == b"x" * 1_030_000


@mariadb
async def test_a_mode_in_which_asyncmy_writes_wrong_bytes_is_refused() -> None:
    mode = "NO_BACKSLASH_ESCAPES"
    with private_server("mariadb") as server:
        where = urlsplit(server.url)
        connection = await asyncmy.connect(host=where.hostname, port=where.port, user="satchel", autocommit=True)
        await Admin(connection).run(f"SET GLOBAL sql_mode = '{mode}'")
        await connection.ensure_closed()
        error = await failure_of(server.url, put=True)
        assert isinstance(error, ConfigurationError)
        assert mode in str(error)


@mariadb
async def test_a_read_only_server_refuses_writes_alone() -> None:
    with private_server("mariadb") as server:
        where = urlsplit(server.url)
        async with SQLStore(url=server.url) as store:
            await store.put("c", "k", 1)
        connection = await asyncmy.connect(host=where.hostname, port=where.port, user="satchel", autocommit=True)
        own = Admin(connection)
        await own.run("CREATE USER plain@'127.0.0.1'")
        await own.run("GRANT ALL ON satchel.* TO plain@'127.0.0.1'")
        await own.run("SET GLOBAL read_only = 1")
        await connection.ensure_closed()
        async with SQLStore(url=f"mariadb://plain@127.0.0.1:{where.port}/satchel") as store:
            with pytest.raises(StoreError, match="read-only"):
                await store.put("c", "k", 2)
            assert await store.get("c", "k") == 1


def url_in(place: Path) -> str:
    return f"sqlite+aiosqlite:///{place}/data.sqlite3"


def test_no_thread_outlives_the_loop_on_which_a_file_could_not_be_opened(tmp_path: Path) -> None:
    async def main() -> int:
        await failure_of(url_in(tmp_path / "nowhere"))
        return sum("connection_worker" in thread.name for thread in threading.enumerate())

    assert asyncio.run(main()) == 0


async def test_a_directory_that_is_not_there_is_a_wrong_configuration(tmp_path: Path) -> None:
    error = await failure_of(url_in(tmp_path / "nowhere"))
    assert isinstance(error, ConfigurationError)
    assert "check its directory" in str(error)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.sqlite3").write_bytes(b"something else" * 100)
    with pytest.raises(ConfigurationError, match="no SQLite database"):
        run(failing(url_in(tmp_path)))


@pytest.mark.parametrize("change", ["payload = X'00'", "payload = 'x'", "codec = 0", "updated_at = 5", "version = 'x'"])
def test_a_damaged_row_is_said_to_be_one_and_can_be_replaced(tmp_path: Path, change: str) -> None:
    async def main() -> None:
        async with SQLStore(url=url_in(tmp_path)) as store:
            with pytest.raises(IntegrityError, match="damaged"):
                await store.get("c", "k")
            await store.put("c", "k", "new")
            assert await store.get("c", "k") == "new"

    async def fill() -> None:
        async with SQLStore(url=url_in(tmp_path)) as store:
            await store.put("c", "k", "precious")

    run(fill())
    connection = sqlite3.connect(tmp_path / "data.sqlite3")
    connection.execute(f"UPDATE satchel_sql SET {change}")  # noqa: S608  # they are ours
    connection.commit()
    connection.close()
    run(main())


def test_a_lock_of_another_program_is_a_timeout(tmp_path: Path) -> None:
    async def put(seconds: float) -> None:
        async with SQLStore(url=url_in(tmp_path), timeout=seconds) as store:
            await store.put("c", "k", 1)

    run(put(60))
    connection = sqlite3.connect(tmp_path / "data.sqlite3", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StoreTimeoutError) as caught:
            run(put(0.5))
    finally:
        connection.close()
    assert caught.value.retryable


async def failing(url: str) -> None:
    async with SQLStore(url=url) as store:
        await store.get("c", "k")


def run(work: Any) -> None:
    asyncio.run(work)
