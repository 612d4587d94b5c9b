"""Processes that start at once make one table, which has its index."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect

from satchel.stores.sql import SQLStore
from tests.servers import server_url
from tests.stores.sql.tables import postgresql_url, table_for

PROGRAM = """
import asyncio, sys
from satchel.stores.sql import SQLStore

async def main(url, table, me):
    for number in range(10):
        async with SQLStore(url=url, table_name=f"{table}_{number}") as store:
            await store.put_if_absent("c", me, number)
            await store.put("c", "last", me)

sys.stdin.readline()
asyncio.run(main(*sys.argv[1:]))
"""

URLS = {
    "sqlite": lambda place: f"sqlite+aiosqlite:///{place}/data.sqlite3",
    "mariadb": lambda _: server_url("mariadb"),
    "postgresql": lambda _: postgresql_url(),
}
EACH = [
    pytest.param("sqlite", marks=pytest.mark.long),
    *(pytest.param(name, marks=[pytest.mark.long, pytest.mark.server(name)]) for name in ("mariadb", "postgresql")),
]


@pytest.mark.parametrize("name", EACH)
def test_processes_that_create_a_table_at_once_all_write_to_it(name: str, tmp_path: Path) -> None:
    url, table = URLS[name](tmp_path), table_for(tmp_path)
    names = ["one", "two", "three"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, url, table, me], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for me in names
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=50)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    asyncio.run(check(url, table, names))


async def check(url: str, table: str, names: list[str]) -> None:
    for number in range(10):
        async with SQLStore(url=url, table_name=f"{table}_{number}") as store:
            found = await store.get_many("c", [*names, "last"])
            assert found.pop("last") in names
            assert found == dict.fromkeys(names, number)


@pytest.mark.parametrize("name", EACH)
async def test_the_table_has_the_index_of_deadlines(name: str, tmp_path: Path) -> None:
    async with SQLStore(url=URLS[name](tmp_path), table_name=table_for(tmp_path)) as store:
        await store.put("c", "k", 1)
        found = await store._connections.read(lambda c: c.run_sync(lambda s: inspect(s).get_indexes(store._table.name)))
        assert [index["column_names"] for index in found] == [["deadline"]]
