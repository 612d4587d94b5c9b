"""A listing costs each page what the page holds, wherever in the collection it begins."""

import pkgutil
import sqlite3
from importlib import import_module

import pytest

import satchel.stores.disk
from satchel import DiskStore

COUNT = 30_000


def listing_statement():
    """Return the statement of a page, from whichever module of the store has it."""
    names = [module.name for module in pkgutil.iter_modules(satchel.stores.disk.__path__, "satchel.stores.disk.")]
    (statement,) = {found for name in names if (found := getattr(import_module(name), "_KEYS", None)) is not None}
    return statement


@pytest.mark.long
@pytest.mark.parametrize("prefix", ["", "key-"])
async def test_a_late_page_costs_what_an_early_one_costs(tmp_path, prefix):
    async with DiskStore(tmp_path) as store:
        await store.put_many("c", {f"key-{number:06}": 1 for number in range(COUNT)})
    (database,) = tmp_path.glob("*.sqlite3")
    connection = sqlite3.connect(database)
    steps = []

    def step():
        steps[-1] += 1

    connection.set_progress_handler(step, 100)
    found = []
    for after in ("", f"key-{COUNT - 150:06}"):
        steps.append(0)
        arguments = ("c", prefix, after, prefix.encode() + b"\xff", after, 0.0, 100)
        found.append(len(connection.execute(listing_statement(), arguments).fetchall()))
    connection.close()
    assert found == [100, 100]
    assert steps[1] <= steps[0] + 2


async def test_a_prefix_in_the_middle_costs_what_it_holds(tmp_path):
    async with DiskStore(tmp_path) as store:
        await store.put_many("c", {f"key-{number:06}": 1 for number in range(COUNT)})
        await store.put_many("c", {"m/a": 1, "m/b": 1, "m": 1, "n": 1})
        assert [key async for key in store.keys("c", prefix="m/")] == ["m/a", "m/b"]
        assert len([key async for key in store.keys("c", prefix="key-0299")]) == 100
