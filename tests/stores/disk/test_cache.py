"""What a disk store remembers is right at every moment, and asking for it needs no thread and no file."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from satchel import ConfigurationError, IntegrityError, InvalidKeyError, StoreClosedError, StoreError
from satchel.stores.disk import DiskStore
from satchel.stores.disk import commits as _commits
from satchel.stores.disk.reads import Reads
from satchel.stores.disk.thread import SQLiteThread
from satchel.testing import FakeClock
from tests.stores.disk.entries import open_file


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """How busy the machine is decides nothing here."""
    monkeypatch.setattr(_commits, "_SLOW", 1e9)


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What went to a thread of SQLite's."""
    gone: list[object] = []
    run = SQLiteThread.run

    def counted(self: SQLiteThread, function: Callable[..., object], *arguments: object) -> object:
        gone.append(function)
        return run(self, function, *arguments)

    monkeypatch.setattr(SQLiteThread, "run", counted)
    return gone


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    """A store that remembers the value 1 of `k`, which lives for a while."""
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", 1, ttl=1000)
        await store.get("a", "k")
        yield store


# What is remembered.


async def test_what_was_read_or_written_is_answered_without_a_thread(store: DiskStore, hops: list[object]) -> None:
    entry = await store.get_entry("a", "k")
    await store.put("a", "new", [2])
    version = await store.put_if_absent("a", "newer", {"x": 3})
    hops.clear()
    assert [await store.get("a", key) for key in ("k", "new", "newer")] == [1, [2], {"x": 3}]
    assert await store.get_many("a", ["newer", "k"]) == {"newer": {"x": 3}, "k": 1}
    again = await store.get_entry("a", "k")
    assert entry is not None
    assert again is not None
    assert (again.version, again.updated_at, again.expires_at) == (entry.version, entry.updated_at, entry.expires_at)
    newer = await store.get_entry("a", "newer")
    assert newer is not None
    assert newer.version == version
    assert hops == []


async def test_each_get_gives_a_value_of_its_own(store: DiskStore) -> None:
    await store.put("a", "list", [1])
    (await store.get("a", "list")).append(2)
    assert await store.get("a", "list") == [1]


async def test_a_cache_of_nothing_asks_the_database_each_time(tmp_path: Path, hops: list[object]) -> None:
    async with DiskStore(tmp_path, cache_size=0) as store:
        await store.put("a", "k", 1)
        for _ in range(3):
            hops.clear()
            assert await store.get("a", "k") == 1
            assert len(hops) == 1


async def test_as_much_is_remembered_as_was_allowed(tmp_path: Path, hops: list[object]) -> None:
    async with DiskStore(tmp_path, cache_size=10_000) as store:
        for at in range(30):
            await store.put("a", str(at), b"x" * 500)
            await store.get("a", str(at))
            await store.get("a", "0")
        hops.clear()
        found = 0
        for at in reversed(range(30)):
            before = len(hops)
            assert await store.get("a", str(at)) == b"x" * 500
            found += len(hops) == before
        assert 5 <= found <= 10
        await store.get("a", "large")
        await store.put("a", "large", b"x" * 10_000)
        hops.clear()
        assert await store.get("a", "large") == b"x" * 10_000
        assert hops


async def test_a_value_that_is_not_remembered_is_fetched_once(tmp_path: Path, hops: list[object]) -> None:
    async with DiskStore(tmp_path) as store:
        for value in (b"x" * 100_000, "x" * 100_000, b"x" * 2_000_000):
            await store.put("a", "k", value)
            for _ in range(2):
                hops.clear()
                assert await store.get("a", "k") == value
                assert len(hops) == 1
        hops.clear()
        assert await store.get("a", "absent") is None
        assert len(hops) == 1


@pytest.mark.parametrize("size", [-1, 1.5, None, True])
def test_a_wrong_size_is_refused(size: object) -> None:
    with pytest.raises(ConfigurationError, match="cache_size"):
        DiskStore(cache_size=size)


async def test_a_name_that_is_none_is_refused(store: DiskStore) -> None:
    for name in (["a"], 5, "", "\ud800"):
        with pytest.raises(InvalidKeyError):
            await store.get("a", name)
        with pytest.raises(InvalidKeyError):
            await store.get(name, "k")


# Own changes.

CHANGES: dict[str, Callable[[DiskStore, str], object]] = {
    "put": lambda store, version: store.put("a", "k", 2),
    "put_many": lambda store, version: store.put_many("a", {"k": 2, "l": 3}),
    "compare_and_put": lambda store, version: store.compare_and_put("a", "k", 2, version=version),
    "delete": lambda store, version: store.delete("a", "k"),
    "delete_many": lambda store, version: store.delete_many("a", ["k", "l"]),
    "compare_and_delete": lambda store, version: store.compare_and_delete("a", "k", version=version),
    "destroy_collection": lambda store, version: store.destroy_collection("a"),
    "destroy": lambda store, version: store.destroy(),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_what_the_store_changes_is_seen(name: str, store: DiskStore) -> None:
    entry = await store.get_entry("a", "k")
    assert entry is not None
    await CHANGES[name](store, entry.version)
    for _ in range(2):
        assert await store.get("a", "k") == (2 if "put" in name else None)


async def test_a_touch_is_seen(tmp_path: Path) -> None:
    clock = FakeClock()
    async with DiskStore(tmp_path, clock=clock) as store:
        await store.put("a", "k", 1, ttl=10)
        for ttl, left in ((100, 1), (5, None)):
            assert await store.get("a", "k") == 1
            assert await store.touch("a", "k", ttl=ttl)
            assert await store.get("a", "k") == 1
            clock.advance(11)
            assert await store.get("a", "k") == left


async def test_what_has_expired_is_gone_also_when_the_clock_goes_back(tmp_path: Path) -> None:
    clock = FakeClock()
    async with DiskStore(tmp_path, clock=clock) as store:
        for key in ("asked", "culled"):
            await store.put("a", key, 1, ttl=10)
            assert await store.get("a", key) == 1
        clock.advance(11)
        assert await store.get("a", "asked") is None
        assert await store.cull() == 2
        clock.advance(-11)
        assert await store.get("a", "asked") is None
        assert await store.get("a", "culled") is None


async def test_what_was_evicted_is_gone_and_what_was_asked_for_stays(tmp_path: Path, hops: list[object]) -> None:
    value = b"x" * 100
    async with DiskStore(tmp_path, max_size=5 * 203) as store:
        for at in range(5):
            await store.put("a", f"{at:02}", value)
            assert await store.get("a", f"{at:02}") == value
        hops.clear()
        assert await store.get("a", "00") == value
        assert hops == []
        await store.put("a", "05", value)
        assert await store.get("a", "00") == value
        assert await store.get("a", "01") is None
        assert sorted([key async for key in store.keys("a")]) == ["00", "02", "03", "04", "05"]


async def test_uses_of_very_many_remembered_entries_are_written_down(tmp_path: Path) -> None:
    async with DiskStore(tmp_path, max_size=10_000_000) as store:
        names = [str(at) for at in range(1500)]
        await store.put_many("a", dict.fromkeys(names, 1))
        for name in names * 2:
            await store.get("a", name)
        await store.ping()
        assert len(store._read_times) <= 1001


async def test_a_cancelled_write_is_seen_when_it_has_landed(store: DiskStore) -> None:
    for value in range(2, 30):
        put = asyncio.create_task(store.put("a", "k", value))
        await asyncio.sleep(0)
        put.cancel()
        await asyncio.wait([put])
        await store.put("a", "other", value)  # what was handed over before has landed
        assert await store.get("a", "k") == value


# Reads and writes that cross.


async def test_a_read_that_a_write_has_overtaken_is_not_remembered(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_reader(store)
    has_read, may_end = threading.Event(), threading.Event()
    read_one = Reads.read_one

    def slow(self: Reads, ref: tuple[str, str]) -> object:
        found = read_one(self, ref)
        has_read.set()
        assert may_end.wait(50)
        return found

    await store.put("b", "k", "old")
    store._cache.forget_all()
    with monkeypatch.context() as patch:
        patch.setattr(Reads, "read_one", slow)
        reading = asyncio.create_task(store.get("b", "k"))
        await asyncio.to_thread(has_read.wait, 50)
        await store.put("b", "k", "new")
        may_end.set()
        assert await reading == "old"  # it began before the write ended
    for _ in range(2):
        assert await store.get("b", "k") == "new"


async def test_a_read_beside_a_change_under_way_is_not_remembered(store: DiskStore, tmp_path: Path) -> None:
    await with_reader(store)
    with open_file(tmp_path) as other:
        other.execute("BEGIN IMMEDIATE")
        delete = asyncio.create_task(store.delete("a", "k"))
        await asyncio.sleep(0.05)
        assert await store.get("a", "k") == 1
        other.execute("ROLLBACK")
    assert await delete
    assert await store.get("a", "k") is None


async def test_a_write_that_was_destroyed_at_once_is_not_remembered(store: DiskStore) -> None:
    for _ in range(20):
        await asyncio.gather(store.put("a", "k", 1), store.destroy())
        assert await store.get("a", "k") is None
        await store.put("a", "k", 1)
        assert await store.get("a", "k") == 1


async def test_a_commit_between_the_two_numbers_is_seen(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocking_detector: BlockBuster
) -> None:
    blocking_detector.functions["sqlite3.Connection.execute"].can_block_in("test_cache.py", "and_another_commits")
    await with_reader(store)
    await store.put("b", "k", "changes the number of the reading connection")
    written = store._foreign_commits._written
    number = written.now

    def and_another_commits() -> int | None:
        answer = number()
        with open_file(tmp_path) as other:
            other.execute("DELETE FROM satchel_entries")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(written, "now", and_another_commits)
        assert await store.get("a", "k") == 1
    assert await store.get("a", "k") is None


async def test_a_read_during_which_another_wrote_is_not_remembered(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_one = Reads.read_one

    def crossed(self: Reads, ref: tuple[str, str]) -> object:
        found = read_one(self, ref)
        with open_file(tmp_path) as other:
            other.execute("DELETE FROM satchel_entries")
        return found

    store._cache.forget_all()
    with monkeypatch.context() as patch:
        patch.setattr(Reads, "read_one", crossed)
        assert await store.get("a", "k") == 1
    assert await store.get("a", "k") is None


async def with_reader(store: DiskStore) -> None:
    """Let the store have its second connection."""
    while store._reader is None:
        await asyncio.gather(*(store.put("b", str(at), at) for at in range(20)), store.get("b", "none"))


async def test_reads_and_listings_go_on_beside_a_write_that_waits(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        await store.put_many("a", {"k": 1, "l": 2})
        with open_file(tmp_path) as other:
            other.execute("BEGIN IMMEDIATE")
            put = asyncio.create_task(store.put("a", "k", 3))
            await asyncio.sleep(0.05)
            async with asyncio.timeout(9):  # a write waits for 10
                for _ in range(2):
                    assert await store.get("a", "k") == 1
                    assert await store.get_many("a", ["k", "l"]) == {"k": 1, "l": 2}
                assert sorted([key async for key in store.keys("a")]) == ["k", "l"]
                assert [name async for name in store.collections()] == ["a"]
                assert await store.exists("a", "l")
                await store.ping()
            assert not put.done()
            other.execute("ROLLBACK")
        await put
        assert await store.get("a", "k") == 3


async def test_what_is_remembered_is_right_beside_a_write_that_waits(
    store: DiskStore, tmp_path: Path, hops: list[object]
) -> None:
    await with_reader(store)
    assert await store.get("a", "k") == 1
    assert await store.get("a", "k") == 1
    with open_file(tmp_path) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM satchel_entries WHERE key = 'k'")
        put = asyncio.create_task(store.put("a", "l", 3))
        await asyncio.sleep(0.05)
        hops.clear()
        assert await store.get("a", "k") == 1
        assert hops == []
        other.execute("COMMIT")
        assert await store.get("a", "k") is None
    await put


async def test_a_second_connection_that_cannot_be_had_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", 1)

        def no_thread(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", no_thread)
        values = await asyncio.gather(*(store.put("b", str(at), at) for at in range(20)), store.get("a", "k"))
        assert values[-1] == 1
        assert store._reader is None


# What others do.


async def test_what_another_connection_commits_is_seen(store: DiskStore, tmp_path: Path) -> None:
    with open_file(tmp_path) as other:
        other.execute("UPDATE satchel_entries SET payload = NULL")
        with pytest.raises(IntegrityError):
            await store.get("a", "k")
        other.execute("DELETE FROM satchel_entries")
        assert await store.get("a", "k") is None
    async with DiskStore(tmp_path) as second:
        for value in range(50):
            await second.put("a", "k", value)
            assert await store.get("a", "k") == value
            await store.put("a", "l", value)
            assert await second.get("a", "l") == value
            assert await store.get("a", "k") == value


@pytest.mark.parametrize("mode", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
async def test_nothing_holds_back_a_checkpoint_and_none_is_missed(mode: str, store: DiskStore, tmp_path: Path) -> None:
    await with_reader(store)
    with open_file(tmp_path) as other:
        for value in range(5):
            assert await store.get("a", "k") == (value or 1)
            assert await store.get("a", "k") == (value or 1)
            busy, frames, done = other.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            assert busy == 0
            assert frames == done
            async with DiskStore(tmp_path) as second:
                await second.put("a", "k", value + 1)
            assert await store.get("a", "k") == value + 1


@pytest.mark.parametrize("way", ["removed", "replaced", "moved away"])
async def test_a_file_that_is_gone_is_noticed(way: str, store: DiskStore, tmp_path: Path) -> None:
    assert await store.get("a", "k") == 1
    file = tmp_path / "satchel.sqlite3"
    if way == "removed":
        await asyncio.to_thread(file.unlink)
    elif way == "replaced":
        await asyncio.to_thread(shutil.copy, file, tmp_path / "copy")
        await asyncio.to_thread((tmp_path / "copy").rename, file)
    else:
        await asyncio.to_thread(file.rename, tmp_path / "elsewhere")
    await asyncio.sleep(2 * _commits._GLANCE)
    for _ in range(2):
        with pytest.raises(StoreError, match="removed or replaced while it was open"):
            await store.get("a", "k")


async def test_a_number_that_comes_slowly_is_not_asked_for_a_while(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch, hops: list[object]
) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr(_commits, "_SLOW", 0.001)
    monkeypatch.setattr(_commits, "perf_counter", lambda: now[0])
    asked = []

    def slow(self: object) -> int:
        asked.append(1)
        now[0] += 0.01
        return 5

    monkeypatch.setattr(_commits._Number, "now", slow)
    rests = []
    for _ in range(15):
        await store.get("a", "k")
        asked.clear()
        rests.append(0.0)
        while not asked:
            now[0] += 0.01
            rests[-1] += 0.01
            await store.get("a", "k")
    assert rests[0] < 0.1
    assert rests == sorted(rests)
    assert 5 < rests[-1] < 15
    assert hops


# What it costs.


def file_calls() -> tuple[int, int]:
    """Return how often this thread has read and written; where the system does not count that, it stays the same."""
    counted = Path("/proc/thread-self/io")
    if not counted.exists():
        return 0, 0
    lines = dict(line.split(": ") for line in counted.read_text("ascii").splitlines())
    return int(lines["syscr"]), int(lines["syscw"])


async def test_a_get_of_what_is_remembered_reads_and_writes_no_file(store: DiskStore) -> None:
    await store.get("a", "k")
    first, second = file_calls(), file_calls()
    for _ in range(1000):
        assert await store.get("a", "k") == 1
    after = file_calls()
    assert [c - b for b, c in zip(second, after, strict=True)] == [b - a for a, b in zip(first, second, strict=True)]


# Where it ends.


def test_another_event_loop_is_refused(tmp_path: Path) -> None:
    async def get(store: DiskStore) -> object:
        return await store.get("a", "k")

    async def main() -> None:
        async with DiskStore(tmp_path) as store:
            await store.put("a", "k", 1)
            assert await store.get("a", "k") == await store.get("a", "k") == 1
            with pytest.raises(StoreError, match="another event loop"):
                await asyncio.to_thread(lambda: asyncio.run(get(store)))
        with pytest.raises(StoreClosedError):
            await store.get("a", "k")

    asyncio.run(main())


def test_a_new_event_loop_begins_anew(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)

    async def get() -> object:
        await store.get("a", "k")
        return await store.get("a", "k")

    asyncio.run(store.put("a", "k", 1))
    assert asyncio.run(get()) == 1
    other = sqlite3.connect(tmp_path / "satchel.sqlite3", isolation_level=None)
    other.execute("DELETE FROM satchel_entries")
    other.close()
    assert asyncio.run(get()) is None
    asyncio.run(store.aclose())


FORKED = """
import asyncio, os, sys
from satchel.stores.disk import DiskStore

store = DiskStore(sys.argv[1])
to_child, to_parent = os.pipe(), os.pipe()

async def get():
    return await store.get("a", "k"), await store.get("a", "k")

async def main():
    await store.put("a", "k", "before")
    assert await get() == ("before", "before")
    if os.fork() == 0:
        return True
    for value in ("one", "two"):
        await store.put("a", "k", value)
        assert await get() == (value, value)
        os.write(to_child[1], b"x")
        assert os.read(to_parent[0], 1) == b"x"
        assert await get() == (value + " of child",) * 2
    await store.aclose()

if asyncio.run(main()):
    async def child():
        for value in ("one", "two"):
            assert os.read(to_child[0], 1) == b"x"
            assert await get() == (value, value)
            await store.put("a", "k", value + " of child")
            assert await get() == (value + " of child",) * 2
            os.write(to_parent[1], b"x")
        await store.aclose()
    asyncio.run(child())
    os._exit(0)
assert os.wait()[1] == 0
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_fork_remembers_nothing_of_its_parents(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False, env={**os.environ})
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
