"""What is wrong with a PostgreSQL server, a role or a table is said by name, with what to do."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from satchel import ConfigurationError, SatchelError, StoreError, StoreTimeoutError, StoreUnavailableError
from satchel.stores.postgresql import PostgreSQLStore
from scripts.test_servers.server import Server
from tests.patience import until
from tests.servers import private_server, server_url
from tests.stores.postgresql.tables import table_for

pytestmark = pytest.mark.server("postgresql")


def url_as(role: str, url: str | None = None, **parts: object) -> str:
    where = urlsplit(url or server_url("postgresql"))
    port, database = parts.get("port", where.port), parts.get("database", "postgres")
    return f"postgresql://{role}@{where.hostname}:{port}/{database}"


@pytest.fixture
async def admin() -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server_url("postgresql"), ssl=False)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """Give a server without TLS, whose settings may be changed."""
    with private_server("postgresql") as server:
        yield server


@pytest.fixture
async def role(admin: asyncpg.Connection) -> AsyncIterator[str]:
    name = f"role_{secrets.token_hex(6)}"
    await admin.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    await admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
async def table(admin: asyncpg.Connection, tmp_path: Path) -> str:
    name = table_for(tmp_path)
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=name) as store:
        await store.put("c", "k", 1)
    return name


async def failure_of(url: str, table: str = "never_made", *, put: bool = False) -> SatchelError:
    async with PostgreSQLStore(url=url, table_name=table) as store:
        with pytest.raises(SatchelError) as caught:
            await (store.put("c", "k", "precious") if put else store.get("c", "k"))
    assert "precious" not in str(caught.value)
    return caught.value


async def test_a_missing_database_is_named_as_the_trouble() -> None:
    error = await failure_of(url_as("postgres", database="nowhere"))
    assert isinstance(error, ConfigurationError)
    assert "no such database" in str(error)
    assert "nowhere" in str(error)


async def test_an_unknown_role_is_refused_by_name() -> None:
    error = await failure_of(url_as("nobody_at_all"))
    assert isinstance(error, ConfigurationError)
    assert "pg_hba.conf" in str(error)


async def test_a_wrong_port_is_a_server_that_cannot_be_reached() -> None:
    error = await failure_of(url_as("postgres", port=1))
    assert isinstance(error, StoreUnavailableError)
    assert error.retryable
    assert "check host and port" in str(error)


async def test_a_server_without_tls_of_which_it_is_asked_is_no_matter_of_trying_again(own_server: Server) -> None:
    error = await failure_of(f"{own_server.url}?sslmode=require")
    assert isinstance(error, ConfigurationError)
    assert "sslmode" in str(error)


async def test_a_role_that_may_not_create_is_told_what_to_grant(role: str) -> None:
    error = await failure_of(url_as(role), put=True)
    assert type(error) is StoreError
    assert not error.retryable
    assert "CREATE on its schema" in str(error)


@pytest.mark.parametrize("put", [False, True])
async def test_a_role_without_privileges_is_told_what_to_grant(role: str, table: str, put: bool) -> None:
    error = await failure_of(url_as(role), table, put=put)
    assert type(error) is StoreError
    assert "GRANT SELECT, INSERT, UPDATE, DELETE" in str(error)


async def test_a_role_needs_nothing_but_the_privileges_of_the_documentation(
    admin: asyncpg.Connection, role: str, table: str
) -> None:
    await admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}")
    async with PostgreSQLStore(url=url_as(role), table_name=table) as store:
        await store.put("c", "other", 2, ttl=60)
        assert await store.get_many("c", ["k", "other"]) == {"k": 1, "other": 2}
        assert await store.touch("c", "other", ttl=None)
        assert await store.put_if_absent("c", "third", 3)
        assert [name async for name in store.collections()] == ["c"]
        assert await store.cull() == 0
        assert await store.destroy()


async def test_too_many_connections_are_retryable(admin: asyncpg.Connection, role: str) -> None:
    await admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    error = await failure_of(url_as(role))
    assert isinstance(error, StoreUnavailableError)
    assert "no connection left" in str(error)


async def test_a_read_only_server_refuses_writes_alone(admin: asyncpg.Connection, role: str, table: str) -> None:
    await admin.execute(f"GRANT ALL ON {table} TO {role}")
    await admin.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    error = await failure_of(url_as(role), table, put=True)
    assert type(error) is StoreError
    assert "connect to the primary" in str(error)
    async with PostgreSQLStore(url=url_as(role), table_name=table) as store:
        assert await store.get("c", "k") == 1


@pytest.mark.parametrize("with_a_pool", [False, True])
async def test_a_connection_to_what_became_a_standby_is_not_kept(
    admin: asyncpg.Connection, role: str, table: str, with_a_pool: bool
) -> None:
    await admin.execute(f"GRANT ALL ON {table} TO {role}")
    how = {"ssl": False, "password": "-", "min_size": 0, "max_size": 1}
    pool = await asyncpg.create_pool(url_as(role), **how) if with_a_pool else None
    async with PostgreSQLStore(pool, url=None if pool else url_as(role), table_name=table) as store:
        await admin.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
        with pytest.raises(StoreError, match="connect to the primary"):
            await store.put("c", "k", 2)
        await admin.execute(f"ALTER ROLE {role} RESET default_transaction_read_only")
        await store.put("c", "k", 3)  # on a new connection, which may be to another host
        assert await store.get("c", "k") == 3
    if pool is not None:
        await pool.close()


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
async def test_a_limit_of_the_server_is_a_timeout(
    admin: asyncpg.Connection, role: str, table: str, setting: str
) -> None:
    await admin.execute(f"GRANT ALL ON {table} TO {role}")
    await admin.execute(f"ALTER ROLE {role} SET {setting} = 50")
    async with admin.transaction():
        await admin.execute(f"SELECT FROM {table} FOR UPDATE")
        error = await failure_of(url_as(role), table, put=True)
    assert isinstance(error, StoreTimeoutError)
    assert error.retryable


async def test_a_transaction_that_is_undone_for_another_is_made_again(
    admin: asyncpg.Connection, role: str, table: str
) -> None:
    await admin.execute(f"GRANT ALL ON {table} TO {role}")
    await admin.execute(f"ALTER ROLE {role} SET default_transaction_isolation = 'repeatable read'")
    async with PostgreSQLStore(url=url_as(role), table_name=table) as store:
        await store.ping()
        async with admin.transaction():
            await admin.execute(f"UPDATE {table} SET deadline = 5e9")  # noqa: S608  # it is ours
            putting = asyncio.create_task(store.put("c", "k", 2))
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            await until(lambda: admin.fetchval(waiting))
        await putting
        assert await store.get("c", "k") == 2


@pytest.mark.parametrize(
    "columns",
    ["id integer", "collection text, key text, value jsonb, PRIMARY KEY (collection, key)"],
)
async def test_a_table_of_another_program_is_refused_untouched(
    admin: asyncpg.Connection, tmp_path: Path, columns: str
) -> None:
    name = table_for(tmp_path)
    await admin.execute(f"CREATE TABLE {name} ({columns})")
    error = await failure_of(server_url("postgresql"), name, put=True)
    assert isinstance(error, ConfigurationError)
    assert "give another table_name" in str(error)
    assert await admin.fetchval(f"SELECT count(*) FROM {name}") == 0  # noqa: S608  # it is ours


async def test_a_table_without_its_primary_key_is_refused(admin: asyncpg.Connection, table: str) -> None:
    await admin.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
    error = await failure_of(server_url("postgresql"), table, put=True)
    assert isinstance(error, ConfigurationError)
    assert "primary key" in str(error)


async def test_a_missing_schema_is_named() -> None:
    error = await failure_of(server_url("postgresql"), "nowhere.entries", put=True)
    assert isinstance(error, ConfigurationError)
    assert "CREATE SCHEMA" in str(error)


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a;DROP TABLE b", "a.b.c", ".a", "1a", "ä", "a" * 55, None, 5])
def test_a_table_name_that_is_none_is_refused_before_any_request(name: str) -> None:
    with pytest.raises(ConfigurationError, match="table_name"):
        PostgreSQLStore(url="postgresql://postgres@127.0.0.1:1/postgres", table_name=name)


@pytest.mark.parametrize("url", ["mysql://a", "", 5, None])
def test_a_url_that_is_none_is_refused_before_any_request(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://"):
        PostgreSQLStore(url=url)


async def test_a_url_that_asyncpg_cannot_read_is_a_wrong_configuration() -> None:
    error = await failure_of("postgresql://a@127.0.0.1:1/b?sslmode=hidden")
    assert isinstance(error, ConfigurationError)


async def test_a_wrong_password_is_said_and_not_shown(own_server: Server) -> None:
    admin = await asyncpg.connect(own_server.url, ssl=False)
    await admin.execute("SET password_encryption = 'scram-sha-256'; CREATE ROLE careful LOGIN PASSWORD 'right'")
    await admin.execute("GRANT ALL ON SCHEMA public TO careful")
    rules = Path(await admin.fetchval("SHOW hba_file"))
    rules.write_text("host all careful 127.0.0.1/32 scram-sha-256\n" + rules.read_text())  # noqa: ASYNC240  # a test
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()
    async with PostgreSQLStore(url=url_as("careful:right", own_server.url)) as store:
        await store.put("c", "k", 1)
        assert "right" not in repr(store)
    error = await failure_of(url_as("careful:mistaken", own_server.url))
    assert isinstance(error, ConfigurationError)
    assert "refuses the password" in str(error)
    assert "mistaken" not in str(error)
