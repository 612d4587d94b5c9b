"""The rows of PostgreSQLStore: those of earlier releases stay readable, and what is written looks like them."""

import json
import math
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from satchel import IntegrityError
from satchel.stores.postgresql import PostgreSQLStore
from satchel.stores.postgresql.layout import COLUMNS
from satchel.testing import FakeClock
from tests.servers import server_url
from tests.stores.postgresql.tables import table_for

pytestmark = pytest.mark.server("postgresql")

GOLDEN = Path(__file__).parents[2] / "golden" / "postgresql" / "rows.json"
LONG = "k" * 999 + "ä" + "z" * 50
ENTRIES = {
    ("users", "ada"): {"name": "Ada", "born": 1815},
    ("users", "bytes"): b"\x00\xff",
    ("nul\0 and ü", "../x"): None,
    ("long", LONG): "under a key that is stored by its hash",
}
EXPIRING = ("users", "expiring")
NOW = 1_767_268_800.0


def from_json(row: list[Any]) -> list[Any]:
    plain = {"Infinity": math.inf, None: None}
    return [bytes.fromhex(value[2:]) if str(value)[:2] == "\\x" else plain.get(value, value) for value in row]


@pytest.fixture
async def admin() -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server_url("postgresql"), ssl=False)
    yield connection
    await connection.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[PostgreSQLStore]:
    clock = FakeClock()
    clock.advance(NOW - clock())
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table_for(tmp_path), clock=clock) as store:
        await store.put("made", "so that the table is there", 1)
        yield store


async def test_golden_rows_stay_readable(admin: asyncpg.Connection, store: PostgreSQLStore, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))
    places = ", ".join(f"${at}" for at in range(1, len(golden["columns"]) + 1))
    insert = f"INSERT INTO {table_for(tmp_path)} ({', '.join(golden['columns'])}) VALUES ({places})"  # noqa: S608  # ours
    for row in golden["rows"]:
        await admin.execute(insert, *from_json(row))
    for (collection, key), value in ENTRIES.items():
        assert await store.get(collection, key) == value
    entry = await store.get_entry(*EXPIRING)
    assert entry is not None
    assert entry.ttl == 60
    assert entry.updated_at.timestamp() == NOW
    assert entry.version == golden["version_of_expiring"]
    assert [key async for key in store.keys("long", prefix="k" * 999 + "äz")] == [LONG]
    assert await store.compare_and_put(*EXPIRING, 2, version=entry.version)


async def test_rows_are_written_as_the_golden_ones(
    admin: asyncpg.Connection, store: PostgreSQLStore, tmp_path: Path
) -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))
    for (collection, key), value in ENTRIES.items():
        await store.put(collection, key, value)
    await store.put(*EXPIRING, 1, ttl=60)
    rows = await admin.fetch(f"SELECT * FROM {table_for(tmp_path)} WHERE collection <> 'made'")  # noqa: S608  # ours
    written = {(row["collection"], row["key"]): row for row in rows}
    assert len(rows) == len(golden["rows"])
    for old in [dict(zip(golden["columns"], from_json(row), strict=True)) for row in golden["rows"]]:
        new = written[old["collection"], old["key"]]
        for column in set(COLUMNS) - {"version", "checksum"}:  # which no two writes share
            assert new[column] == old[column], column


@pytest.mark.parametrize("change", ["payload = 'x'", "codec = 0", "updated_at = 5", "version = 'x'", "checksum = 7"])
async def test_a_damaged_row_is_refused_until_it_is_replaced(
    admin: asyncpg.Connection, store: PostgreSQLStore, tmp_path: Path, change: str
) -> None:
    await store.put("c", "k", {"a": 1})
    await store.put("c", "other", 2)
    await admin.execute(f"UPDATE {table_for(tmp_path)} SET {change} WHERE key = 'k'")  # noqa: S608  # ours
    with pytest.raises(IntegrityError):
        await store.get("c", "k")
    assert await store.get("c", "other") == 2
    await store.put("c", "k", 3)
    assert await store.get("c", "k") == 3


async def test_a_hashed_name_whose_row_is_damaged_is_refused(
    admin: asyncpg.Connection, store: PostgreSQLStore, tmp_path: Path
) -> None:
    await store.put("c", LONG, 1)
    table = table_for(tmp_path)
    await admin.execute(f"UPDATE {table} SET full_key = 'another' WHERE collection = 'c'")  # noqa: S608  # ours
    with pytest.raises(IntegrityError):
        await store.get("c", LONG)


async def test_a_table_may_have_more_columns(admin: asyncpg.Connection, store: PostgreSQLStore, tmp_path: Path) -> None:
    await admin.execute(f"ALTER TABLE {table_for(tmp_path)} ADD COLUMN note text")
    await store.put("c", "k", 1)
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table_for(tmp_path)) as other:
        assert await other.get("c", "k") == 1


async def test_prefixes_of_long_names_are_exact(store: PostgreSQLStore) -> None:
    keys = ["p" * 999 + "\U0010ffff", "p" * 1000, "p" * 1001, "p" * 1001 + "q", "p" * 4096, "q", "p", "o" * 1001]
    await store.put_many("c", dict.fromkeys(keys, 1))
    for prefix in ("", "p", "p" * 999, "p" * 1000, "p" * 1001, "p" * 1001 + "q", "p" * 4096, "p" * 999 + "\U0010ffff"):
        listed = [key async for key in store.keys("c", prefix=prefix)]
        assert sorted(listed) == sorted(key for key in keys if key.startswith(prefix)), prefix[-2:]


async def test_the_largest_incompressible_names_fit_the_index(store: PostgreSQLStore) -> None:
    chance = random.Random(1)
    name, scrambled = ("".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(1365)) + "x" for _ in range(2))
    await store.put(name, scrambled, 1)
    assert await store.get(name, scrambled) == 1
    assert [key async for key in store.keys(name)] == [scrambled]
    assert name in [collection async for collection in store.collections()]
