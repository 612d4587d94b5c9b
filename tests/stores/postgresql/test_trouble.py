"""A PostgreSQL server that dies, a network that fails, and rows that others hold."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from satchel import SatchelError, StoreTimeoutError, StoreUnavailableError
from satchel.stores.postgresql import PostgreSQLStore
from satchel.testing import FakeClock
from tests.patience import impatient, until
from tests.proxy import FaultyProxy
from tests.servers import private_server, server_url
from tests.stores.postgresql.tables import table_for

pytestmark = pytest.mark.server("postgresql")

KINDS = ["postgresql", pytest.param("pgbouncer", marks=pytest.mark.server("pgbouncer"))]


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
async def admin(kind: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server_url(kind), ssl=False, statement_cache_size=0)
    yield connection
    await connection.close()


def url_through(proxy: FaultyProxy) -> str:
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"


def port_of_server(name: str = "postgresql") -> int:
    return int(server_url(name).rpartition(":")[2].partition("/")[0])


async def processes_at_work(admin: asyncpg.Connection, table: str, waiting_for: str = "%") -> int:
    """Return how many of the server's processes are at work on a statement over a table, waiting for something."""
    await admin.execute("SELECT pg_stat_clear_snapshot()")  # within a transaction the first look is kept
    query = """
        SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE $1
        AND coalesce(wait_event_type, '') LIKE $2
    """
    count: int = await admin.fetchval(query, f"%{table}%", waiting_for)
    return count


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_acknowledged_outlives_a_killed_server(kind: str) -> None:
    acknowledged: dict[str, int] = {}
    failures: list[SatchelError] = []

    async def write(writer: int) -> None:
        for number in range(10_000):
            if stop.is_set():
                return
            try:
                await store.put("c", f"{writer}", number)
                acknowledged[f"{writer}"] = number
            except SatchelError as error:
                failures.append(error)
                await asyncio.sleep(0.05)

    stop = asyncio.Event()
    with private_server(kind) as server:
        async with PostgreSQLStore(url=server.url, timeout=5) as store:
            await store.put("c", "first", 1)
            writers = [asyncio.create_task(write(number)) for number in range(8)]
            await until(lambda: len(acknowledged) == 8)
            await asyncio.to_thread(server.kill)
            before = dict(acknowledged)
            await until(lambda: failures)
            await asyncio.to_thread(server.start)

            async def goes_on() -> bool:
                return all(acknowledged[name] > before[name] for name in before)

            await until(goes_on)
            stop.set()
            await asyncio.gather(*writers)
            found = await store.get_many("c", acknowledged)
    assert all(isinstance(error, StoreUnavailableError | StoreTimeoutError) for error in failures)
    assert found == acknowledged


async def test_a_put_that_timed_out_never_lands_later(admin: asyncpg.Connection, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table, timeout=10) as store:
        await store.put("c", "k", "old")
        async with admin.transaction():
            await admin.execute(f"SELECT FROM {table} FOR UPDATE")
            with impatient(store, 1), pytest.raises(StoreTimeoutError):
                await store.put("c", "k", "late")
            assert await processes_at_work(admin, table) == 0
        assert await store.get("c", "k") == "old"
        await store.put("c", "k", "new")
        assert await store.get("c", "k") == "new"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_a_pool", [False, True])
async def test_a_cut_off_write_does_not_undo_a_later_delete(
    kind: str, admin: asyncpg.Connection, tmp_path: Path, with_a_pool: bool
) -> None:
    table = table_for(tmp_path)
    async with FaultyProxy(port_of_server(kind)) as proxy:
        how = {"ssl": False, "password": "-", "min_size": 0, "statement_cache_size": 0}
        pool = await asyncpg.create_pool(url_through(proxy), **how) if with_a_pool else None
        url = None if with_a_pool else url_through(proxy)
        async with PostgreSQLStore(pool, url=url, table_name=table) as store:
            await store.put_many("c", {"a": "old", "b": "old"})
            async with admin.transaction():
                await admin.execute(f"SELECT FROM {table} WHERE key = 'a' FOR UPDATE")
                writing = asyncio.create_task(store.put_many("c", {"a": "late", "b": "late"}))

                async def waits() -> bool:
                    return await processes_at_work(admin, table, "Lock") == 1

                await until(waits)
                proxy.cut()
                with pytest.raises(SatchelError):
                    await writing
                assert await processes_at_work(admin, table) == 1  # the server goes on with what was cut off
                assert await store.delete("c", "b")
            await asyncio.sleep(0.2)
            assert await store.get_many("c", ["a", "b"]) == {"a": "old"}
        if pool is not None:
            await pool.close()


async def test_a_process_that_has_the_number_of_an_earlier_one_is_spared(
    admin: asyncpg.Connection, tmp_path: Path
) -> None:
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table_for(tmp_path)) as store:
        await store.put("c", "k", "old")
        store._connections._cut_off[str(admin.get_server_pid())] = time.monotonic() - 60  # before it was there
        await store.put("c", "k", "new")
        assert await admin.fetchval("SELECT 1") == 1
        assert store._connections._cut_off == {}
        store._connections._cut_off[str(admin.get_server_pid())] = time.monotonic()
        await store.put("c", "k", "newer")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await admin.fetchval("SELECT 1")


async def test_a_late_put_does_not_replace_what_the_process_put_after_it(
    admin: asyncpg.Connection, tmp_path: Path
) -> None:
    table = table_for(tmp_path)
    async with FaultyProxy(port_of_server()) as proxy:
        # Two stores: the second knows nothing of what the first one has under way.
        first = PostgreSQLStore(url=url_through(proxy), table_name=table)
        async with PostgreSQLStore(url=server_url("postgresql"), table_name=table) as second:
            await first.put_many("c", {"a": "old", "b": "old"})
            async with admin.transaction():
                await admin.execute(f"SELECT FROM {table} WHERE key = 'a' FOR UPDATE")
                writing = asyncio.create_task(first.put_many("c", {"a": "late", "b": "late"}))

                async def waits() -> bool:
                    return await processes_at_work(admin, table, "Lock") == 1

                await until(waits)
                proxy.cut()
                with pytest.raises(SatchelError):
                    await writing
                await second.put("c", "b", "new")

            async def ended() -> bool:
                return await processes_at_work(admin, table) == 0

            await until(ended)
            assert await second.get_many("c", ["a", "b"]) == {"a": "late", "b": "new"}
            await first.aclose()


async def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    async with FaultyProxy(port_of_server()) as proxy:
        url = url_through(proxy)
        async with PostgreSQLStore(url=url, table_name=table_for(tmp_path), timeout=10) as store:
            await store.put("c", "k", 1)
            proxy.silent = True
            started = time.monotonic()
            with impatient(store):
                results = await asyncio.gather(
                    store.get("c", "k"), store.put("c", "k", 2), store.ping(), return_exceptions=True
                )
            assert all(isinstance(result, StoreTimeoutError) for result in results), results
            assert time.monotonic() - started < 20
            proxy.silent = False
            await store.put("c", "k", 3)
            assert await store.get("c", "k") == 3


async def test_a_host_that_says_nothing_leaves_time_for_the_next_one(tmp_path: Path) -> None:
    port = urlsplit(server_url("postgresql")).port
    assert port is not None
    async with FaultyProxy(port) as silent:
        silent.silent = True
        url = f"postgresql://postgres@127.0.0.1:{silent.port},127.0.0.1:{port}/postgres?target_session_attrs=read-write"
        async with PostgreSQLStore(url=url, table_name=table_for(tmp_path), timeout=3) as store:
            await asyncio.gather(*(store.put("c", str(number), number) for number in range(20)))
            assert await store.count("c") == 20
            tried = silent.connections
            await asyncio.gather(*(store.get("c", str(number)) for number in range(20)))
            assert silent.connections == tried, "the host that answered is the first to be asked"
            await store.destroy()


async def test_a_cancelled_read_leaves_no_answer_to_the_next_one(tmp_path: Path) -> None:
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table_for(tmp_path)) as store:
        await store.put_many("c", {str(number): number for number in range(50)})
        for number in range(50):
            cut_off = asyncio.create_task(store.get("c", str(49 - number)))
            await asyncio.sleep(number * 1e-5)
            cut_off.cancel()
            assert await store.get("c", str(number)) == number
            await asyncio.gather(cut_off, return_exceptions=True)


async def test_a_reply_that_ends_half_way_is_an_error_and_the_next_one_whole(tmp_path: Path) -> None:
    table = table_for(tmp_path)
    async with (
        FaultyProxy(port_of_server()) as proxy,
        PostgreSQLStore(url=url_through(proxy), table_name=table) as store,
    ):
        await store.put("c", "k", "x" * 10_000)
        proxy.cut_replies_after(500)
        with pytest.raises(StoreUnavailableError):
            await store.get("c", "k")
        assert await store.get("c", "k") == "x" * 10_000


async def test_reclaiming_passes_over_rows_that_others_hold(admin: asyncpg.Connection, tmp_path: Path) -> None:
    table, clock = table_for(tmp_path), FakeClock()
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table, clock=clock, timeout=10) as store:
        await store.put_many("c", {str(number): number for number in range(2_500)}, ttl=10)
        await store.put("c", "stays", 1, ttl=100)
        async with admin.transaction():
            await admin.execute(f"SELECT FROM {table} WHERE key = '7' FOR UPDATE")
            clock.advance(20)
            await store.cull()

            async def only_two_are_left() -> bool:
                left: int = await admin.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608  # it is ours
                return left == 2

            await until(only_two_are_left)  # the writes above may have begun a pass that has some of them
            await admin.execute(f"UPDATE {table} SET deadline = 'infinity' WHERE key = '7'")  # noqa: S608  # it is ours
        assert await store.cull() == 0
        assert await store.get("c", "7") == 7
        assert await admin.fetchval(f"SELECT count(*) FROM {table}") == 2  # noqa: S608  # it is ours


async def test_stores_that_start_at_once_create_one_table(tmp_path: Path) -> None:
    for turn in range(3):
        url, table = server_url("postgresql"), f"{table_for(tmp_path)}_{turn}"
        stores = [PostgreSQLStore(url=url, table_name=table) for _ in range(8)]
        await asyncio.gather(*[store.ping() for store in stores])
        await asyncio.gather(*[store.put("c", str(number), number) for number, store in enumerate(stores)])
        assert len(await stores[0].get_many("c", map(str, range(8)))) == 8
        for store in stores:
            await store.aclose()


async def test_reading_and_removing_create_nothing(admin: asyncpg.Connection, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table) as store:
        assert await store.get("c", "k") is None
        assert await store.get_many("c", ["k", "l"]) == {}
        assert not await store.delete("c", "k")
        assert not await store.compare_and_delete("c", "k", version="00")
        assert await store.compare_and_put("c", "k", 1, version="00") is None
        assert not await store.touch("c", "k", ttl=1)
        assert [name async for name in store.keys("c")] == []
        assert [name async for name in store.collections()] == []
        assert await store.cull() == 0
        assert not await store.destroy_collection("c")
        assert not await store.destroy()
    assert await admin.fetchval("SELECT to_regclass($1)::text", table) is None
