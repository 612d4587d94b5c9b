"""Changes that PostgreSQL reports: by triggers that notify, to a connection that listens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from satchel import Capability, Change, StoreError, StoreUnavailableError, UnsupportedOperationError, open_store
from satchel.stores.postgresql import PostgreSQLStore, notices
from satchel.testing import FakeClock, WatchConformance
from satchel.wrappers import NearCacheWrapper
from tests.patience import until
from tests.proxy import FaultyProxy
from tests.servers import server_url
from tests.stores.postgresql.tables import table_for
from tests.stores.postgresql.test_trouble import port_of_server, url_through
from tests.stores.watched import follows, next_change, reported, seen_until

pytestmark = pytest.mark.server("postgresql")


class TestPostgreSQL(WatchConformance):
    persistent = True
    reports_expiry = False

    def make_store(self, clock: FakeClock, place: Path) -> PostgreSQLStore:
        return PostgreSQLStore(url=server_url("postgresql"), table_name=table_for(place), notify=True, clock=clock)


@pytest.fixture
def table(tmp_path: Path) -> str:
    return table_for(tmp_path)


@pytest.fixture
async def store(table: str) -> AsyncIterator[PostgreSQLStore]:
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table, notify=True) as made:
        yield made


@pytest.fixture
async def other(table: str) -> AsyncIterator[PostgreSQLStore]:
    """Give a store of another process, which knows nothing of watchers."""
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table) as made:
        yield made


@pytest.fixture
async def admin() -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server_url("postgresql"), ssl=False)
    yield connection
    await connection.close()


async def test_every_change_by_anybody_is_reported(store: PostgreSQLStore, other: PostgreSQLStore) -> None:
    async with store.watch("c") as changes:
        assert await next_change(changes) == Change("ready", "c")
        await other.put("c", "k", 1)
        assert await next_change(changes) == Change("changed", "c", "k")
        for change in (
            other.put("c", "k", 2),
            other.touch("c", "k", ttl=60),
            other.delete("c", "k"),
            other.put_if_absent("c", "k", 3),
            other.put_many("c", {"k": 4}),
            other.delete_many("c", ["k"]),
            other.put("c", "k", 5, ttl=0.01),
        ):
            await change
            assert await reported(changes, other) == {"k"}
        await asyncio.sleep(0.02)
        await other.cull()
        assert await reported(changes, other) == {"k"}
        await other.put("d", "k", 1)
        await other.destroy_collection("c")
        assert await reported(changes, other) <= {"the last one"}


async def test_a_watcher_is_told_only_of_keys_with_its_prefix(store: PostgreSQLStore, other: PostgreSQLStore) -> None:
    async with store.watch("c", prefix="eu/") as changes:
        await other.put_many("c", {"eu": 1, "eu/1": 1, "us/1": 1, "eu0": 1})
        assert await seen_until(changes, "changed") == [Change("ready", "c"), Change("changed", "c", "eu/1")]


async def test_of_many_rows_at_once_only_the_collection_is_reported(
    store: PostgreSQLStore, admin: asyncpg.Connection, table: str
) -> None:
    await store.put_many("c", {str(number): number for number in range(notices.MOST_ROWS + 1)})
    async with store.watch("c") as changes, store.watch("d") as others:
        await seen_until(changes, "ready")
        await seen_until(others, "ready")
        await store.put_many("d", {str(number): number for number in range(notices.MOST_ROWS)})
        assert len(await reported(others, store, "d")) == notices.MOST_ROWS
        await admin.execute(f"UPDATE {table} SET deadline = 4102444800 WHERE collection = 'c'")  # noqa: S608  # our own
        assert await seen_until(changes, "ready") == [Change("lost", "c"), Change("ready", "c")]
        assert await reported(others, store, "d") == set()
        await admin.execute(f"TRUNCATE {table}")
        assert await seen_until(others, "ready") == [Change("lost", "d"), Change("ready", "d")]


async def test_a_name_that_is_stored_hashed_is_reported_as_lost(store: PostgreSQLStore) -> None:
    long = "k" * 1100
    async with store.watch("c") as changes, store.watch(long) as others:
        await seen_until(changes, "ready")
        await seen_until(others, "ready")
        await store.put("c", long, 1)
        assert await seen_until(changes, "ready") == [Change("lost", "c"), Change("ready", "c")]
        await store.put(long, "k", 1)
        assert await seen_until(others, "ready") == [Change("lost", long), Change("ready", long)]


async def test_a_connection_that_is_cut_is_told_and_restored(table: str, other: PostgreSQLStore) -> None:
    async with FaultyProxy(port_of_server()) as proxy:
        store = PostgreSQLStore(url=url_through(proxy), table_name=table, notify=True)
        async with store, store.watch("c") as changes:
            await seen_until(changes, "ready")
            proxy.cut()
            await other.put("c", "k", 1)
            assert await seen_until(changes, "ready") == [Change("lost", "c"), Change("ready", "c")]
            await other.put("c", "l", 1)
            assert {change.kind for change in await seen_until(changes, "changed", "l")} == {"changed"}


async def test_a_connection_that_is_silent_is_given_up(
    table: str, other: PostgreSQLStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "PING_EVERY", 0.05)
    async with FaultyProxy(port_of_server()) as proxy:
        store = PostgreSQLStore(url=url_through(proxy), table_name=table, notify=True, timeout=3)
        async with store, store.watch("c") as changes:
            await seen_until(changes, "ready")
            proxy.silent = True
            await other.put("c", "k", 1)
            assert await next_change(changes) == Change("lost", "c")
            proxy.silent = False
            proxy.cut()
            await seen_until(changes, "ready")


async def test_triggers_that_are_dropped_are_made_again(
    store: PostgreSQLStore, admin: asyncpg.Connection, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "PING_EVERY", 0.05)
    async with store.watch("c") as changes:
        await seen_until(changes, "ready")
        await admin.execute(f"DROP TABLE {table}")
        assert await seen_until(changes, "ready") == [Change("lost", "c"), Change("ready", "c")]
        await store.put("c", "k", 1)
        assert await next_change(changes) == Change("changed", "c", "k")
        await admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER satchel_notify_update")
        assert await seen_until(changes, "ready") == [Change("lost", "c"), Change("ready", "c")]
        await store.put("c", "k", 2)
        assert await next_change(changes) == Change("changed", "c", "k")


async def test_two_that_begin_at_once_make_the_triggers_once(table: str) -> None:
    stores = [PostgreSQLStore(url=server_url("postgresql"), table_name=table, notify=True) for _ in range(6)]

    async def listens(store: PostgreSQLStore) -> None:
        async with store, store.watch("c") as changes:
            await seen_until(changes, "ready")
            await store.put("c", "k", 1)
            assert (await next_change(changes)).key == "k"

    await asyncio.gather(*map(listens, stores))


async def listening(admin: asyncpg.Connection, table: str) -> int:
    channel = await admin.fetchval(notices.FIND_CHANNEL, f'"{table}"')
    found: int = await admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%' || $1 || '%'", channel
    )
    return found


async def test_all_watchers_share_one_connection_which_ends_with_the_last(
    store: PostgreSQLStore, admin: asyncpg.Connection, table: str
) -> None:
    async def ended() -> bool:
        return await connections(admin, store, table) == 0

    async with store.watch("c") as changes, store.watch("d") as others:
        await seen_until(changes, "ready")
        await seen_until(others, "ready")
        assert await connections(admin, store, table) == 1
    await until(ended)


async def connections(admin: asyncpg.Connection, store: PostgreSQLStore, table: str) -> int:
    """Return how many connections have a statement about the triggers of the table as their last one, or listen."""
    await store.ping()
    return await listening(admin, table)


@pytest.mark.parametrize("lent", [True, False])
async def test_a_watcher_that_is_cancelled_releases_its_connection(table: str, lent: bool) -> None:
    pool = await asyncpg.create_pool(server_url("postgresql"), min_size=1, max_size=2, ssl=False) if lent else None
    url = None if lent else server_url("postgresql")
    async with PostgreSQLStore(pool, url=url, table_name=table, notify=True) as store:
        for _ in range(3):  # the pool has two connections

            async def watch() -> None:
                async with store.watch("c") as changes:
                    await seen_until(changes, "changed")

            watching = asyncio.create_task(watch())
            await asyncio.sleep(0.05)
            watching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watching
            await store.put("c", "k", 1)
    if pool is not None:
        async with asyncio.timeout(10):
            await pool.close()


async def test_it_has_to_be_asked_for(other: PostgreSQLStore, table: str) -> None:
    assert Capability.WATCH not in other.capabilities
    with pytest.raises(UnsupportedOperationError):
        other.watch("c")
    opened = open_store(f"{server_url('postgresql')}?notify=true&table_name={table}")
    assert Capability.WATCH in opened.capabilities
    await opened.aclose()


@pytest.mark.server("pgbouncer")
async def test_a_pooler_is_refused(table: str) -> None:
    async with PostgreSQLStore(url=server_url("pgbouncer"), table_name=table, notify=True) as store:
        with pytest.raises(UnsupportedOperationError, match="connect to the server"):
            async with store.watch("c"):
                pass


async def test_a_server_that_is_away_is_said_at_the_beginning(table: str) -> None:
    async with FaultyProxy(port_of_server()) as proxy:
        store = PostgreSQLStore(url=url_through(proxy), table_name=table, notify=True)
        await store.ping()
        proxy.refuse = True
        proxy.cut()
        with pytest.raises(StoreUnavailableError):
            async with store.watch("c"):
                pass
        with pytest.raises(StoreError):
            await store.ping()
        await store.aclose()


async def test_a_near_cache_over_it_follows(store: PostgreSQLStore, other: PostgreSQLStore) -> None:
    await follows(NearCacheWrapper(store), other)
