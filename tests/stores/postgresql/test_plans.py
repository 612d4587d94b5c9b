"""How PostgreSQL carries the statements out: by the indexes that are there for them, whatever it knows of the table."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from satchel.stores._sqllike.rows import prefix_range
from satchel.stores.postgresql import PostgreSQLStore
from satchel.stores.postgresql.layout import Table
from satchel.stores.postgresql.statements import Statements
from tests.servers import server_url
from tests.stores.postgresql.tables import table_for

pytestmark = pytest.mark.server("postgresql")

NOW = 1_800_000_000.0


@pytest.fixture
async def admin() -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server_url("postgresql"), ssl=False)
    yield connection
    await connection.close()


@pytest.fixture(params=[False, True], ids=["nothing known", "analyzed"])
async def table(request: pytest.FixtureRequest, admin: asyncpg.Connection, tmp_path: Path) -> Table:
    """Give a table with ten collections of two thousand entries, one in a hundred of them expired."""
    table = Table(table_for(tmp_path))
    async with PostgreSQLStore(url=server_url("postgresql"), table_name=table_for(tmp_path)) as store:
        await store.put("c", "makes the table", 1)
    await admin.execute(f"ALTER TABLE {table.quoted} SET (autovacuum_enabled = false)")
    await admin.execute(f"""
        INSERT INTO {table.quoted}
        SELECT convert_to('collection ' || n % 10, 'UTF8'), convert_to('key ' || n, 'UTF8'), 1, '', {NOW},
            CASE WHEN n % 100 = 7 THEN {NOW} - n ELSE 'infinity' END, 0, NULL, NULL, '1'
        FROM generate_series(1, 20000) AS n;
    """)  # noqa: S608  # it is ours
    if request.param:
        await admin.execute(f"ANALYZE {table.quoted}")
    return table


async def plan(admin: asyncpg.Connection, statement: str, *arguments: object) -> str:
    return "\n".join(row[0] for row in await admin.fetch(f"EXPLAIN {statement}", *arguments))


async def test_a_listing_reads_a_range_of_the_primary_key(admin: asyncpg.Connection, table: Table) -> None:
    found = await plan(admin, Statements(table.quoted).keys, b"collection 3", *prefix_range("key 12"), NOW)
    assert "_pkey" in found
    assert "Index Cond: " in found
    assert "key >= " in found.replace("ROW(collection, key)", "key")
    assert "Seq Scan" not in found


@pytest.mark.parametrize("table", [True], indirect=True)
async def test_a_page_of_a_listing_reads_no_further_than_it_goes(admin: asyncpg.Connection, table: Table) -> None:
    found = await plan(admin, Statements(table.quoted).keys, b"collection 3", *prefix_range(""), NOW)
    assert "Sort" not in found
    assert "Bitmap" not in found


async def test_collections_are_looked_up_and_not_counted(admin: asyncpg.Connection, table: Table) -> None:
    found = await plan(admin, Statements(table.quoted).collections, b"", NOW)
    assert found.count("_pkey") == 2
    assert "Seq Scan" not in found


async def test_reclaiming_reads_the_index_of_deadlines_alone(admin: asyncpg.Connection, table: Table) -> None:
    found = await plan(admin, Statements(table.quoted).cull, NOW)
    assert table.index.strip('"') in found
    assert "Tid Scan" in found
    assert "Seq Scan" not in found
    first = await plan(admin, Statements(table.quoted).first_deadline)
    assert table.index.strip('"') in first
    assert "Sort" not in first


async def test_a_batch_is_looked_up_entry_by_entry(admin: asyncpg.Connection, table: Table) -> None:
    names = [[b"collection 1".hex()] * 300, [f"key {number}".encode().hex() for number in range(300)]]
    statements = Statements(table.quoted)
    for statement, arguments in ((statements.read, names), (statements.read_one, [b"collection 1", b"key 1"])):
        found = await plan(admin, statement, *arguments)
        assert "_pkey" in found
        assert "Seq Scan" not in found
