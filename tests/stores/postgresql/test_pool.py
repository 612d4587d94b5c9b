"""An asyncpg pool of the caller's, to the server itself and to a transaction pooler."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from satchel import ConfigurationError, StoreError, open_store
from satchel.stores._sqllike.asyncpg import read
from satchel.stores.postgresql import PostgreSQLStore
from satchel.stores.postgresql.connections import Pool
from tests.servers import server_url
from tests.stores.postgresql.tables import table_for

SERVERS = [pytest.param(name, marks=pytest.mark.server(name)) for name in ("postgresql", "pgbouncer")]


def pool_to(server: str, **options: object) -> asyncpg.Pool:
    return asyncpg.create_pool(server_url(server), ssl=False, password="-", min_size=0, max_size=2, **options)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_pool_stays_open(server: str, tmp_path: Path) -> None:
    async with pool_to(server, statement_cache_size=0) as pool:
        async with PostgreSQLStore(pool, table_name=table_for(tmp_path)) as store:
            for number in range(20):
                await store.put("c", "k", number)
                assert await store.get("c", "k") == number
        assert await pool.fetchval("SELECT 1") == 1
        assert pool.get_idle_size() == pool.get_size()


@pytest.mark.server("postgresql")
@pytest.mark.parametrize("kind", ["bytea", "float8", "int2", "int4", "int8", "text"])
async def test_a_pool_whose_codecs_would_change_entries_is_refused(kind: str, tmp_path: Path) -> None:
    """Numbers as Decimal, say: what was put by such a store, or by another one, would seem damaged to it."""

    async def use_decimals(connection: asyncpg.Connection) -> None:
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=str, decoder=lambda text: [text])

    table = table_for(tmp_path)
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table) as store:
        await store.put("c", "k", 1)
    async with pool_to("postgresql", init=use_decimals) as pool, PostgreSQLStore(pool, table_name=table) as store:
        with pytest.raises(
            ConfigurationError, match=r"pool makes connections with a type codec .* give pool without it"
        ):
            await store.get("c", "k")


@pytest.mark.server("postgresql")
async def test_each_connection_of_a_pool_is_checked(tmp_path: Path) -> None:
    """One without such codecs may have been the first."""
    made = []

    async def use_decimals_from_the_second_on(connection: asyncpg.Connection) -> None:
        made.append(connection)
        if len(made) > 1:
            await connection.set_type_codec("float8", schema="pg_catalog", encoder=str, decoder=Decimal, format="text")

    async with (
        pool_to("postgresql", init=use_decimals_from_the_second_on) as pool,
        PostgreSQLStore(pool, table_name=table_for(tmp_path)) as store,
    ):
        await store.put("c", "k", 1)
        async with pool.acquire():  # the first one
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="type codec"):
                    await store.get("c", "k")
        assert await store.get("c", "k") == 1


@pytest.mark.server("postgresql")
async def test_a_codec_for_a_type_that_no_entry_has_does_no_harm(tmp_path: Path) -> None:
    async def use_json(connection: asyncpg.Connection) -> None:
        await connection.set_type_codec("json", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)

    table = table_for(tmp_path)
    async with pool_to("postgresql", init=use_json) as pool, PostgreSQLStore(pool, table_name=table) as store:
        await store.put_many("c", {"k": {"n": 1}, "l": b"x"})
        assert await store.get_many("c", ["k", "l"]) == {"k": {"n": 1}, "l": b"x"}


@pytest.mark.server("pgbouncer")
async def test_a_pool_that_a_pooler_would_confuse_is_refused(tmp_path: Path) -> None:
    async with pool_to("pgbouncer") as pool, PostgreSQLStore(pool, table_name=table_for(tmp_path)) as store:
        with pytest.raises(ConfigurationError, match="statement_cache_size=0"):
            await store.put("c", "k", 1)


@pytest.mark.server("pgbouncer")
async def test_statements_that_other_clients_left_with_a_pooler_do_no_harm(tmp_path: Path) -> None:
    connection = await asyncpg.connect(server_url("pgbouncer"), ssl=False, password="-")
    try:
        for number in range(20):
            await connection.fetch(f"SELECT {number}")
    except asyncpg.PostgresError:
        pass  # the pooler confuses this client, as it does any that names its statements
    finally:
        await connection.close()
    async with PostgreSQLStore(url=server_url("pgbouncer"), table_name=table_for(tmp_path)) as store:
        for number in range(20):
            await store.put_many("c", {"k": number, "l": number})
            assert await store.get("c", "k") == number


@pytest.mark.server("postgresql")
async def test_more_calls_than_connections_wait(tmp_path: Path) -> None:
    async with pool_to("postgresql") as pool, PostgreSQLStore(pool, table_name=table_for(tmp_path)) as store:
        await asyncio.gather(*[store.put("c", str(number), number) for number in range(300)])
        listed = await asyncio.gather(*[_listed(store) for _ in range(20)])
        assert all(len(keys) == 300 for keys in listed)


async def _listed(store: PostgreSQLStore) -> list[str]:
    return [key async for key in store.keys("c")]


@pytest.mark.server("postgresql")
async def test_a_closed_pool_is_said_to_be_closed(tmp_path: Path) -> None:
    pool = await pool_to("postgresql")
    async with PostgreSQLStore(pool, table_name=table_for(tmp_path)) as store:
        await store.put("c", "k", 1)
        await pool.close()
        with pytest.raises(StoreError, match="has been closed"):
            await store.get("c", "k")


async def test_a_pool_that_nobody_opened_is_refused() -> None:
    pool = asyncpg.create_pool("postgresql://a@127.0.0.1:1/b")
    async with PostgreSQLStore(pool) as store:
        with pytest.raises(ConfigurationError, match=r"await asyncpg\.create_pool"):
            await store.get("c", "k")


@pytest.mark.parametrize("options", [{}, {"pool": object()}, {"pool": "postgresql://a"}])
def test_what_is_no_pool_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="pool"):
        PostgreSQLStore(**options)


def test_a_url_beside_a_pool_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="pool excludes url"):
        PostgreSQLStore(object(), url="postgresql://a")


@pytest.mark.server("postgresql")
@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
async def test_a_url_opens_a_store(scheme: str, tmp_path: Path) -> None:
    url = server_url("postgresql").replace("postgresql", scheme, 1)
    table = table_for(tmp_path)
    async with open_store(f"{url}?application_name=mine&sslmode=disable&table_name={table}&timeout=5") as store:
        await store.put("c", "k", 1)
        assert await store.get("c", "k") == 1
    connection = await asyncpg.connect(server_url("postgresql"), ssl=False)
    assert await connection.fetchval("SELECT to_regclass($1)::text", table) == table
    await connection.close()


@pytest.mark.server("postgresql")
async def test_a_connection_that_is_made_as_its_caller_is_cancelled_is_not_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect, made = asyncpg.connect, []

    async def made_too_late(**options: object) -> asyncpg.Connection:
        made.append(await connect(**options))
        acquiring.cancel()
        return made[-1]

    (*_, way) = await asyncio.to_thread(read, f"{server_url('postgresql')}?sslmode=disable")
    pool = Pool(way, 1, None, keeps_statements=True)
    await pool.start()
    monkeypatch.setattr(asyncpg, "connect", made_too_late)
    acquiring = asyncio.create_task(pool.acquire())
    with pytest.raises(asyncio.CancelledError):
        await acquiring
    assert [connection.is_closed() for connection in made] == [True]
    monkeypatch.undo()
    await pool.release(await pool.acquire())
    await pool.close()


def test_no_secret_is_shown() -> None:
    store = PostgreSQLStore(url="postgresql://ada:swordfish@127.0.0.1/b?sslpassword=swordfish")
    assert "ada:***@127.0.0.1" in repr(store)
    assert "swordfish" not in f"{store!r} {store.describe()}"
