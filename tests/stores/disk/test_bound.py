"""A disk store with a `max_size`, and what reading, touching and culling cost."""

import asyncio
import os
import re
import sqlite3
from pathlib import Path

import pytest

from satchel import ValueTooLargeError
from satchel.stores.disk import DiskStore
from satchel.stores.disk import changes as _disk_changes
from satchel.stores.disk import reads as _disk_reads
from satchel.testing import FakeClock

VALUE = b"x" * 100
SIZE = len(VALUE) + len("a") + len("00") + 100


async def keys(store: DiskStore) -> list[str]:
    return sorted([key async for key in store.keys("a")])


async def fill(store: DiskStore, count: int, **options: float) -> None:
    for at in range(count):
        await store.put("a", f"{at:02}", VALUE, **options)


def query(directory: Path, statement: str) -> list[tuple[object, ...]]:
    database = sqlite3.connect(directory / "satchel.sqlite3")
    rows = database.execute(statement).fetchall()
    database.close()
    return rows


async def test_the_one_longest_not_put_goes_first(tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=5 * SIZE) as store:
        await fill(store, 5)
        await store.put("a", "00", VALUE)
        await store.put("a", "05", VALUE)
        assert await keys(store) == ["00", "02", "03", "04", "05"]


async def test_the_one_longest_not_got_goes_first(tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=5 * SIZE) as store:
        await fill(store, 5)
        await store.get("a", "00")
        await store.get_many("a", ["02", "01"])
        await store.put("a", "05", VALUE)
        await store.put("a", "06", VALUE)
        assert await keys(store) == ["00", "01", "02", "05", "06"]


async def test_expired_entries_go_before_any_other(tmp_path: Path) -> None:
    clock = FakeClock()
    async with DiskStore(tmp_path, max_size=6 * SIZE, clock=clock) as store:
        await fill(store, 4)
        for key in ("10", "11"):
            await store.put("a", key, VALUE, ttl=1)
        clock.advance(2)
        await store.put("a", "12", VALUE)
        assert await keys(store) == ["00", "01", "02", "03", "12"]
        await store.put("a", "13", VALUE)
        assert await keys(store) == ["00", "01", "02", "03", "12", "13"]


async def test_replacing_at_the_bound_evicts_nothing(tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=5 * SIZE) as store:
        await fill(store, 5)
        for at in range(5):
            await store.put("a", f"{at:02}", VALUE)
        assert await keys(store) == ["00", "01", "02", "03", "04"]
        await store.put("a", "00", VALUE + b"x")
        assert await keys(store) == ["00", "02", "03", "04"]


async def test_a_batch_larger_than_the_bound_leaves_its_end(tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=5 * SIZE) as store:
        await store.put_many("a", {f"{at:02}": VALUE for at in range(20)})
        assert await keys(store) == ["15", "16", "17", "18", "19"]
        await store.delete_many("a", await keys(store))
        await fill(store, 5)
        assert len(await keys(store)) == 5


async def test_a_value_larger_than_the_bound_is_refused_and_evicts_nothing(tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=5 * SIZE) as store:
        await fill(store, 5)
        for size in (10**6, 5 * SIZE + 1, 5 * SIZE):
            with pytest.raises(ValueTooLargeError):
                await store.put("a", "large", bytes(size))
        with pytest.raises(ValueTooLargeError):
            await store.put_if_absent("a", "large", bytes(5 * SIZE))
        assert len(await keys(store)) == 5


@pytest.mark.parametrize("kind", ["conditional", "touch", "destroy_collection", "destroy"])
async def test_the_count_of_bytes_is_right_after(kind: str, tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=1_000_000) as store:
        await fill(store, 5)
        await store.put("b", "large", b"x" * 5000)
        match kind:
            case "conditional":
                version = await store.put_if_absent("a", "new", "x" * 3000)
                assert version
                assert await store.compare_and_put("a", "new", 1, version=version)
                assert not await store.compare_and_delete("a", "new", version=version)
            case "touch":
                assert await store.touch("a", "00", ttl=5)
            case "destroy_collection":
                await store.destroy_collection("b")
            case "destroy":
                await store.destroy()
                await fill(store, 2)
    ((counted,),) = query(tmp_path, "SELECT value FROM satchel_meta WHERE name = 'bytes'")
    ((summed, right),) = query(
        tmp_path,
        "SELECT sum(size), sum(length(CAST(collection || key AS BLOB)) + 100 + length(coalesce(payload, "
        "(SELECT payload FROM satchel_payloads WHERE id = large)))) FROM satchel_entries",
    )
    assert counted == summed == right


@pytest.mark.parametrize("entries", [0, 8, 600])
async def test_a_count_of_bytes_that_is_too_high_is_put_right(entries: int, tmp_path: Path) -> None:
    bound = 1000 * SIZE
    async with DiskStore(tmp_path, max_size=bound) as store:
        await store.ping()
        await store.put_many("a", {f"{at:03}": VALUE for at in range(entries)})
        database = sqlite3.connect(tmp_path / "satchel.sqlite3", isolation_level=None)
        database.execute("UPDATE satchel_meta SET value = 10000000 WHERE name = 'bytes'")
        database.close()
        async with asyncio.timeout(50):
            await store.put("a", "new", VALUE)
        if entries < 500:
            assert len(await keys(store)) == entries + 1
        assert await store.get("a", "new") == VALUE
        summed = query(tmp_path, "SELECT sum(size) FROM satchel_entries")
        assert query(tmp_path, "SELECT value FROM satchel_meta WHERE name = 'bytes'") == summed


async def test_a_database_made_without_a_bound_takes_one_later(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        await fill(store, 10)
    async with DiskStore(tmp_path, max_size=5 * SIZE) as store:
        assert len(await keys(store)) == 10
        await store.put("a", "10", VALUE)
        assert await keys(store) == ["06", "07", "08", "09", "10"]
    async with DiskStore(tmp_path) as store:
        await fill(store, 20)
        assert len(await keys(store)) == 20
    async with DiskStore(tmp_path, max_size=5 * SIZE) as store:
        await store.put("a", "20", VALUE)
        assert await keys(store) == ["16", "17", "18", "19", "20"]


async def test_reads_are_remembered_past_closing(tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=5 * SIZE) as store:
        await fill(store, 5)
        await store.get("a", "00")
    async with DiskStore(tmp_path, max_size=5 * SIZE) as store:
        await store.put("a", "05", VALUE)
        assert await keys(store) == ["00", "02", "03", "04", "05"]


async def test_reads_of_very_many_entries_are_written_down_now_and_then(tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=10_000_000) as store:
        names = [str(at) for at in range(1500)]
        await store.put_many("a", dict.fromkeys(names, 1))
        for start in (0, 500, 1000):
            await store.get_many("a", names[start : start + 500])
        await store._writer.run(lambda: None)  # reads do not wait for it
        assert len(store._read_times) == 0


async def test_reading_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=10_000_000) as store:
        names = [str(at) for at in range(1500)]
        await store.put_many("a", dict.fromkeys(names, 1))
        other = sqlite3.connect(tmp_path / "satchel.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for start in (0, 500, 1000):  # within the lock's 10 seconds, or the timeout of the test
            async with asyncio.timeout(9):
                await store.get_many("a", names[start : start + 500])
        other.execute("ROLLBACK")
        other.close()
        database = store._writer.database
        assert await store._writer.run(lambda: database.execute("PRAGMA busy_timeout").fetchone()) == (10_000,)


# What things cost, in bytes written.


async def log_grows_by(directory: Path, work: object) -> int:
    log = directory / "satchel.sqlite3-wal"
    before = await asyncio.to_thread(os.path.getsize, log)
    await work
    return await asyncio.to_thread(os.path.getsize, log) - before


@pytest.mark.parametrize("bound", [None, 10**9])
async def test_a_touch_writes_no_more_for_a_large_value(bound: int | None, tmp_path: Path) -> None:
    written = {}
    for size in (100, 512, 513, 1_000_000):
        directory = tmp_path / str(size)
        async with DiskStore(directory, max_size=bound) as store:
            await store.put("a", "k", b"x" * size)
        async with DiskStore(directory, max_size=bound) as store:
            await store.touch("a", "k", ttl=50)
            written[size] = await log_grows_by(directory, store.touch("a", "k", ttl=100))
            assert await store.get("a", "k") == b"x" * size
    assert len(set(written.values())) == 1
    assert 0 < written[1_000_000] < 20_000


@pytest.mark.parametrize("bound", [None, 10**9])
async def test_a_get_writes_nothing(bound: int | None, tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=bound) as store:
        await fill(store, 20)

        async def read() -> None:
            for at in range(100):
                await store.get("a", f"{at % 20:02}")

        assert await log_grows_by(tmp_path, read()) == 0


async def test_the_log_stays_bounded(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        for at in range(60):
            await store.put("a", str(at % 3), b"x" * 1_000_000)
        size = await asyncio.to_thread(os.path.getsize, tmp_path / "satchel.sqlite3-wal")
        assert size < 10_000_000
    ((pages,),) = query(tmp_path, "PRAGMA page_count")
    assert pages * 4096 < 6_000_000


async def test_culling_removes_what_expired_and_its_values(tmp_path: Path) -> None:
    clock = FakeClock()
    async with DiskStore(tmp_path, clock=clock) as store:
        await store.put_many("a", {str(at): "x" * 2000 for at in range(1200)}, ttl=10)
        await store.put("a", "stays", "x" * 2000)
        await store.put("a", "later", 1, ttl=1000)
        clock.advance(11)
        assert await store.cull() == 1200
        assert await store.cull() == 0
        assert await keys(store) == ["later", "stays"]
    assert query(tmp_path, "SELECT count(*) FROM satchel_payloads") == [(1,)]


async def test_destroying_gives_the_space_back(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        await store.put_many("a", {str(at): "x" * 20_000 for at in range(200)})
        await store.destroy()
    assert (tmp_path / "satchel.sqlite3").stat().st_size < 60_000


def test_each_query_that_a_call_makes_uses_an_index(tmp_path: Path) -> None:
    async def make() -> None:
        async with DiskStore(tmp_path, max_size=1000) as store:
            await store.ping()

    asyncio.run(make())
    constants = vars(_disk_changes) | vars(_disk_reads)
    statements = {name: text for name, text in constants.items() if name.startswith("_") and type(text) is str}
    plans = {}
    for name, statement in statements.items():
        if name != "_ANY" and any(verb in statement for verb in ("SELECT", "DELETE", "UPDATE")) and "(" not in name:
            marks = max(map(int, re.findall(r"\?(\d)", statement)), default=statement.count("?"))
            database = sqlite3.connect(tmp_path / "satchel.sqlite3")
            plan = database.execute(f"EXPLAIN QUERY PLAN {statement}", [b"1"] * marks).fetchall()
            database.close()
            plans[name] = " / ".join(str(row[3]) for row in plan)
    assert len(plans) > 10
    assert {name: plan for name, plan in plans.items() if "SCAN" in plan and "USING" not in plan} == {}
