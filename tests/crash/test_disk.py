"""A killed writer loses nothing that it was told is done, tears nothing, and leaves no litter."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from satchel.stores.disk import DiskStore
from tests.crash.harness import write_and_kill

STORE = "satchel.stores.disk:DiskStore"
MAX_SIZE = 300_000
QUICK = range(2)
LONG = range(100, 122)
NIGHT = range(120, 200)

modes = pytest.mark.parametrize("mode", ["changes", "destroys", "culls", "evicts"])


def crash(mode: str, seed: int, directory: Path) -> None:
    bound = {"max_size": MAX_SIZE} if mode == "evicts" else {}
    journal = write_and_kill(mode, STORE, seed, directory=str(directory), **bound)

    async def check() -> None:
        async with DiskStore(directory, **bound) as store:
            await journal.check(store, may_be_gone=mode == "evicts")

    asyncio.run(check())
    check_database(directory)


def check_database(directory: Path) -> None:
    assert sorted(file.name for file in directory.iterdir()) == ["satchel.reserve", "satchel.sqlite3"]
    with closing(sqlite3.connect(directory / "satchel.sqlite3")) as database:
        check_contents(database)


def check_contents(database: sqlite3.Connection) -> None:
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    stray = "SELECT count(*) FROM satchel_payloads WHERE id NOT IN (SELECT large FROM satchel_entries WHERE large)"
    assert database.execute(stray).fetchone() == (0,)
    counted = database.execute("SELECT value FROM satchel_meta WHERE name = 'bytes'").fetchone()
    if counted is not None:
        assert counted == database.execute("SELECT coalesce(sum(size), 0) FROM satchel_entries").fetchone()
        assert counted[0] <= MAX_SIZE


@modes
@pytest.mark.parametrize("seed", QUICK)
def test_a_killed_writer_loses_nothing(mode: str, seed: int, tmp_path: Path) -> None:
    crash(mode, seed, tmp_path)


@pytest.mark.long
@modes
@pytest.mark.parametrize("seed", LONG)
def test_killed_writers_lose_nothing(mode: str, seed: int, tmp_path: Path) -> None:
    crash(mode, seed, tmp_path)


@pytest.mark.night
@modes
@pytest.mark.parametrize("seed", NIGHT)
def test_killed_writers_lose_nothing_in_a_hundred_rounds(mode: str, seed: int, tmp_path: Path) -> None:
    crash(mode, seed, tmp_path)
