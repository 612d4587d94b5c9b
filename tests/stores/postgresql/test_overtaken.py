"""Puts that another store of the process overtakes, which take effect all the same while their callers wait."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from satchel.stores.postgresql import PostgreSQLStore
from tests.servers import server_url
from tests.stores.postgresql.tables import table_for

pytestmark = pytest.mark.server("postgresql")

LARGE = "x" * 1_000_000


@pytest.fixture
async def pool() -> AsyncIterator[asyncpg.Pool]:
    """Give a pool of one connection: who holds that holds back whatever a store would send."""
    async with asyncpg.create_pool(server_url("postgresql"), ssl=False, min_size=1, max_size=1) as pool:
        yield pool


async def add(store: PostgreSQLStore) -> None:
    assert await store.put_if_absent("c", "a", "overtakes") is not None


async def replace(store: PostgreSQLStore) -> None:
    old = await store.get_entry("c", "old")
    assert old is not None
    assert await store.compare_and_put("c", "old", "overtakes", version=old.version) is not None


@pytest.mark.parametrize(
    ("overtake", "items"),
    [(add, {"a": 1}), (replace, {"old": 1}), (add, {"a": LARGE, "old": 2, "z": 3}), (replace, {"a": 1, "old": LARGE})],
    ids=["add", "replace", "add one of many", "replace one of many"],
)
async def test_a_put_takes_effect_after_what_had_not_seen_it(
    pool: asyncpg.Pool,
    tmp_path: Path,
    overtake: Callable[[PostgreSQLStore], Awaitable[None]],
    items: dict[str, object],
) -> None:
    table = table_for(tmp_path)
    one = PostgreSQLStore(pool, table_name=table)
    async with one, PostgreSQLStore(url=server_url("postgresql"), table_name=table) as two:
        await two.put("c", "old", "old")
        await one.put("c", "z", "opens the store")
        async with pool.acquire():
            putting = asyncio.create_task(one.put_many("c", items))
            await asyncio.sleep(0.1)  # it has made its versions
            await overtake(two)
        await putting
        assert await one.get_many("c", items) == items
        await two.put_many("c", dict.fromkeys(items, "later"))
        assert await one.get_many("c", items) == dict.fromkeys(items, "later")


async def test_only_what_was_not_written_is_sent_again(pool: asyncpg.Pool, tmp_path: Path) -> None:
    table = table_for(tmp_path)
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table) as store:
        await store.put("c", "creates", "the table")
        # A stand-in for others that overtake a put again and again: its first three rows are dropped.
        await pool.execute(f"""
            CREATE SEQUENCE {table}_a;
            CREATE SEQUENCE {table}_b;
            CREATE FUNCTION {table}_drop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('{table}_' || convert_from(NEW.key, 'UTF8')) <= 3 AND NEW.key = 'a' THEN RETURN NULL; END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER dropping BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_drop();
        """)
        await store.put_many("c", {"a": 1, "b": 2})
        assert await store.get_many("c", ["a", "b"]) == {"a": 1, "b": 2}
    assert await pool.fetchval(f"SELECT last_value FROM {table}_a") == 4  # noqa: S608  # it is ours
    assert await pool.fetchval(f"SELECT last_value FROM {table}_b") == 1  # noqa: S608  # it is ours
