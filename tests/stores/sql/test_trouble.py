"""A MariaDB server that dies, transactions that deadlock, rows that others hold, and statements that are cut off."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncmy
import asyncpg
import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from satchel import SatchelError, StoreTimeoutError
from satchel.stores.sql import SQLStore
from tests.patience import impatient, until
from tests.proxy import FaultyProxy
from tests.servers import private_server, server_url
from tests.stores.killed_under_load import Writers
from tests.stores.sql.tables import postgresql_url, table_for

pytestmark = pytest.mark.server("mariadb")


class Admin:
    """Connection of somebody else to the database, in a transaction of its own."""

    async def connect(self) -> None:
        url = make_url(server_url("mariadb"))
        where: dict[str, Any] = {"host": url.host, "port": url.port, "user": url.username, "db": url.database}
        self._connection = await asyncmy.connect(**where)

    async def run(self, statement: str) -> list[tuple[Any, ...]]:
        async with self._connection.cursor() as cursor:
            await cursor.execute(statement)
            rows: list[tuple[Any, ...]] = list(await cursor.fetchall())
            return rows

    async def at_work(self, table: str) -> set[int]:
        """Return the processes that run a statement on a table; one shows its last statement a little longer."""
        query = "SELECT id, info FROM information_schema.processlist WHERE id <> connection_id() AND info IS NOT NULL"
        return {process for process, info in await self.run(query) if table in info}

    async def deadlocks(self) -> int:
        return int((await self.run("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"))[0][1])

    async def close(self) -> None:
        await self._connection.ensure_closed()


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    admin = Admin()
    await admin.connect()
    yield admin
    await admin.close()


@pytest.mark.long
async def test_what_was_acknowledged_outlives_a_killed_server() -> None:
    with private_server("mariadb") as server:
        async with SQLStore(url=server.url, timeout=5) as store, Writers(store) as writers:
            await writers.write(50)
            await asyncio.to_thread(server.kill)
            await writers.fail()
            await asyncio.to_thread(server.start)
            await writers.write(50)
            await writers.stop()
            assert writers.failures


async def test_a_put_that_timed_out_is_ended_before_the_next_write(admin: Admin, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    async with SQLStore(url=server_url("mariadb"), table_name=table, timeout=10) as store:
        await store.put("c", "k", "old")
        await admin.run("START TRANSACTION")
        await admin.run(f"SELECT 1 FROM {table} WHERE collection = 'c' AND `key` = 'k' FOR UPDATE")  # noqa: S608  # ours
        with impatient(store, 1), pytest.raises(StoreTimeoutError):
            await store.put("c", "k", "late")
        (late,) = await admin.at_work(table)  # the server goes on with what was cut off
        await store.put("c", "other", 1)
        assert late not in await admin.at_work(table)
        await admin.run("ROLLBACK")
        assert await store.get_many("c", ["k", "other"]) == {"k": "old", "other": 1}
        assert store._connections._cut_off == set()


@pytest.mark.server("postgresql")
async def test_a_write_whose_connection_was_lost_does_not_undo_a_later_one_in_postgresql(tmp_path: Path) -> None:
    table = table_for(tmp_path)
    where = make_url(postgresql_url())
    admin = await asyncpg.connect(server_url("postgresql"), ssl=False, password="-")

    async def at_work() -> int:
        await admin.execute("SELECT pg_stat_clear_snapshot()")
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE $1"
        )
        count: int = await admin.fetchval(query, f"INSERT%{table}%")
        return count

    async with FaultyProxy(where.port or 0) as proxy:
        url = where.set(port=proxy.port).render_as_string()
        async with SQLStore(url=url, table_name=table) as store:
            await store.put_many("c", {"a": "old", "b": "old"})
            async with admin.transaction():
                await admin.execute(f"SELECT FROM {table} WHERE key = 'a' FOR UPDATE")
                writing = asyncio.create_task(store.put("c", "a", "late"))
                await until(at_work)
                proxy.cut()
                with pytest.raises(SatchelError):
                    await writing
                # The server may go on with what was cut off until the next write.
                assert await store.delete("c", "b")
                assert await at_work() == 0
            assert await store.get_many("c", ["a", "b"]) == {"a": "old"}
    await admin.close()


async def test_a_transaction_that_is_the_victim_of_a_deadlock_is_made_again(admin: Admin, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    async with SQLStore(url=server_url("mariadb"), table_name=table) as store:
        await store.put_many("c", {f"{number:03}": number for number in range(300)})
        before = await admin.deadlocks()
        await admin.run("START TRANSACTION")
        # It has changed more, so that the other one is the victim.
        await admin.run(f"UPDATE {table} SET deadline = 5e9 WHERE collection = 'c' AND `key` >= '100'")  # noqa: S608  # it is ours
        deleting = asyncio.create_task(store.delete_many("c", ["000", "100"]))

        async def waits() -> bool:
            return len(await admin.at_work(table)) == 1

        await until(waits)
        first = f"SELECT 1 FROM {table} WHERE collection = 'c' AND `key` = '000' FOR UPDATE"  # noqa: S608  # it is ours
        await admin.run(first)
        assert await admin.deadlocks() == before + 1  # the server's error 1213
        await admin.run("COMMIT")
        assert await deleting == 2
        assert await store.count("c") == 298


async def test_a_lock_that_is_not_free_in_time_is_waited_for_again(admin: Admin, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    url = make_url(server_url("mariadb")).set(drivername="mariadb+asyncmy")
    engine = create_async_engine(url, connect_args={"init_command": "SET SESSION innodb_lock_wait_timeout = 1"})
    async with SQLStore(engine, table_name=table) as store:
        await store.put_many("c", {"a": 1, "b": 1})
        await admin.run("START TRANSACTION")
        await admin.run(f"SELECT 1 FROM {table} FOR UPDATE")  # noqa: S608  # it is ours
        putting = [asyncio.create_task(store.put("c", "a", 2)), asyncio.create_task(store.touch("c", "b", ttl=9))]
        await asyncio.sleep(1.5)  # the server has said 1205 to both by now
        assert not any(task.done() for task in putting)
        await admin.run("ROLLBACK")
        assert await asyncio.gather(*putting) == [None, True]
        assert await store.get("c", "a") == 2
    await engine.dispose()


async def test_statements_find_their_rows_by_the_primary_key(admin: Admin, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    async with SQLStore(url=server_url("mariadb"), table_name=table) as store:
        await store.put_many("c", {str(number): number for number in range(2_000)}, ttl=60)
        await admin.run(f"ANALYZE TABLE {table}")
        statements = [store._statements.read, store._statements.lock, store._statements.keys]
        values = {"at_collection": "'c'", "keys": "'1', '2', '3'", "start": "'1'", "end": "'2'", "now": "0"}
        for statement in statements:
            compiled = str(statement.compile(dialect=create_dialect()))
            plain = re.sub(r"\(__\[POSTCOMPILE_(\w+)\]\)|%\((\w+)\)s", lambda m: filled(m, values), compiled)
            (plan,) = await admin.run(f"EXPLAIN {plain}")
            assert plan[3] == "range", plan
            assert plan[5] == "PRIMARY", plan


def create_dialect() -> Any:
    return make_url("mariadb+asyncmy://").get_dialect()(paramstyle="pyformat")


def filled(match: re.Match[str], values: dict[str, str]) -> str:
    name = re.sub(r"_\d+$", "", match[1] or match[2])
    return f"({values[name]})" if match[1] else values.get(name, "500")
