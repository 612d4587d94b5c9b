"""The rows of SQLStore: those of earlier releases stay readable, and what is written looks like them."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from satchel.stores.sql import SQLStore
from satchel.stores.sql.layout import COLUMNS
from satchel.testing import FakeClock
from tests.servers import server_url
from tests.stores.sql.tables import postgresql_url, table_for

GOLDEN = Path(__file__).parents[2] / "golden" / "sql" / "rows.json"
LONG = "k" * 999 + "ä" + "z" * 50
ENTRIES = {
    ("users", "ada"): {"name": "Ada", "born": 1815},
    ("users", "Ada "): "another name, by its case and its blank",
    ("users", "bytes"): b"\x00\xff'\\",
    ("nul\0 and ü", "../x"): None,
    ("long", LONG): "under a key that is stored by its hash",
}
EXPIRING = ("users", "expiring")
NOW = 1_767_268_800.1

URLS = {
    "sqlite": lambda place: f"sqlite+aiosqlite:///{place}/data.sqlite3",
    "mariadb": lambda _: server_url("mariadb"),
    "postgresql": lambda _: postgresql_url(),
}
EACH = ["sqlite", *(pytest.param(name, marks=pytest.mark.server(name)) for name in ("mariadb", "postgresql"))]
BYTES = {"collection", "key", "version", "full_collection", "full_key", "payload"}


def from_json(row: list[Any]) -> dict[str, Any]:
    return {
        name: bytes.fromhex(value) if name in BYTES and value is not None else value
        for name, value in zip(COLUMNS, row, strict=True)
    }


def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
    return found


GOLDEN_ROWS = golden()


def store_in(name: str, place: Path) -> SQLStore:
    clock = FakeClock()
    clock.advance(NOW - clock())
    return SQLStore(url=URLS[name](place), table_name=table_for(place), clock=clock)


@pytest.mark.parametrize("name", EACH)
async def test_golden_rows_stay_readable(name: str, tmp_path: Path) -> None:
    async with store_in(name, tmp_path) as store:
        await store.put("made", "so that the table is there", 1)
        rows = [from_json(row) for row in GOLDEN_ROWS["rows"]]
        await store._connections.write(lambda connection: connection.execute(insert(store._table.clause), rows))
        for (collection, key), value in ENTRIES.items():
            assert await store.get(collection, key) == value
        entry = await store.get_entry(*EXPIRING)
        assert entry is not None
        assert entry.ttl == 60
        assert entry.version == GOLDEN_ROWS["version_of_expiring"]
        assert [key async for key in store.keys("long", prefix="k" * 999 + "äz")] == [LONG]
        assert await store.compare_and_put(*EXPIRING, 2, version=entry.version)


@pytest.mark.parametrize("name", EACH)
async def test_rows_are_written_as_the_golden_ones(name: str, tmp_path: Path) -> None:
    async with store_in(name, tmp_path) as store:
        for (collection, key), value in ENTRIES.items():
            await store.put(collection, key, value)
        await store.put(*EXPIRING, 1, ttl=60)

        async def read(connection: Any) -> list[dict[str, Any]]:
            found = await connection.execute(select(store._table.clause).order_by("collection", "key"))
            return [dict(row) for row in found.mappings()]

        written = await store._connections.read(read)
    expected = [from_json(row) for row in GOLDEN_ROWS["rows"]]
    assert len(written) == len(expected)
    for new, old in zip(written, expected, strict=True):
        for column in set(COLUMNS) - {"version", "checksum"}:  # which no two writes share
            assert new[column] == old[column], column
