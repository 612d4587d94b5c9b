"""The file of a disk store: who may read it, what it refuses, and what happens when it or its disk fails."""

import asyncio
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from satchel import ConfigurationError, SatchelError, StoreError, StoreUnavailableError
from satchel.stores.disk import DiskStore
from satchel.stores.disk import schema as _disk_schema
from satchel.testing import FakeClock
from tests.stores.disk.entries import ENTRIES, contents, fill, listed, open_file

GOLDEN = Path(__file__).parents[2] / "golden" / "disk"
WRITTEN_AT = 1_700_000_000.0


async def make_golden(directory: Path) -> None:
    """Wrote `tests/golden/disk/version-1`, with the release that brought this version of the schema."""
    async with DiskStore(directory, max_size=1_000_000, clock=lambda: WRITTEN_AT) as store:
        await fill(store)


# Making it.


async def test_directories_and_files_are_the_owners_alone(tmp_path: Path) -> None:
    async with DiskStore(tmp_path / "a" / "b") as store:
        await store.put("a", "k", 1)
        paths = [tmp_path / "a/b", *(tmp_path / "a/b" / name for name in listed(tmp_path / "a/b"))]
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert modes == {
        "b": 0o700,
        "satchel.reserve": 0o600,
        "satchel.sqlite3": 0o600,
        "satchel.sqlite3-wal": 0o600,
        "satchel.sqlite3-shm": 0o600,
    }


@pytest.mark.parametrize(("durability", "level"), [("normal", 1), ("full", 2)])
async def test_durability_sets_what_waits_for_the_disk(durability: str, level: int, tmp_path: Path) -> None:
    async with DiskStore(tmp_path, durability=durability) as store:
        await store.put("a", "k", 1)
        pragma = await store._writer.run(lambda: store._writer.database.execute("PRAGMA synchronous").fetchone())
        assert pragma == (level,)


@pytest.mark.parametrize(
    "options",
    [
        {"directory": 5},
        {"directory": ""},
        {"directory": type("Named", (), {"__fspath__": lambda self: b"x"})()},
        {"directory": "a\0b"},
        {"directory": Path("a\0b")},
        {"directory": "a\ud800b"},
        {"directory": "x", "durability": "none"},
        {"max_size": 0},
        {"max_size": 1.5},
        {"max_size": True},
        {"directory": "x", "connection": object()},
        {"durability": "full", "connection": object()},
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="|".join(options)):
        DiskStore(**options)


async def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigurationError, match=r"needs SQLite 3\.35"):
        await DiskStore(tmp_path).put("a", "k", 1)


# Versions of the schema.


async def test_the_golden_database_reads_as_written(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "version-1", tmp_path / "copy")
    clock = FakeClock(WRITTEN_AT + 1)
    async with DiskStore(tmp_path / "copy", clock=clock) as store:
        assert await contents(store) == ENTRIES
        entry = await store.get_entry("sessions", "for an hour")
        assert entry is not None
        assert (entry.updated_at.timestamp(), entry.ttl) == (WRITTEN_AT, 3599)
        clock.advance(3599)
        assert not await store.exists("sessions", "for an hour")


async def test_an_older_database_is_brought_up_to_date_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GOLDEN / "version-1", tmp_path / "copy")
    monkeypatch.setattr(_disk_schema, "_VERSION", 2)
    monkeypatch.setattr(_disk_schema, "UPGRADES", {1: ("CREATE TABLE satchel_new (value)",)})
    for _ in range(2):
        async with DiskStore(tmp_path / "copy", clock=lambda: WRITTEN_AT) as store:
            assert await contents(store) == ENTRIES
    monkeypatch.undo()
    with pytest.raises(
        ConfigurationError, match="version 2, but this release supports up to 1; install a later satchel"
    ):
        await DiskStore(tmp_path / "copy").get("a", "k")


async def test_a_failed_upgrade_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GOLDEN / "version-1", tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr(_disk_schema, "_VERSION", 2)
        patch.setattr(
            _disk_schema, "UPGRADES", {1: ("CREATE TABLE satchel_new (value)", "CREATE TABLE satchel_new (x)")}
        )
        with pytest.raises(SatchelError):
            await DiskStore(tmp_path / "copy").get("a", "k")
    async with DiskStore(tmp_path / "copy", clock=lambda: WRITTEN_AT) as store:
        assert await contents(store) == ENTRIES


# What can happen to it while it is open.


async def test_a_directory_removed_while_open_is_a_clear_error(tmp_path: Path) -> None:
    async with DiskStore(tmp_path / "data") as store:
        await store.put("a", "k", 1)
        shutil.rmtree(tmp_path / "data")
        for call in (store.get("a", "k"), store.put("a", "k", 2), store.destroy()):
            with pytest.raises(StoreError, match="removed or replaced while it was open"):
                await call
    assert not (tmp_path / "data").exists()
    async with DiskStore(tmp_path / "data") as store:
        assert await store.get("a", "k") is None


async def test_a_lock_held_too_long_is_a_retryable_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_disk_schema, "BUSY_SECONDS", 0.1)
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", 1)
        with open_file(tmp_path) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked by another process") as caught:
                await store.put("a", "k", 2)
            assert caught.value.retryable
            assert await store.get("a", "k") == 1
            other.execute("ROLLBACK")
        await store.put("a", "k", 3)
        assert await store.get("a", "k") == 3


async def test_a_full_disk_is_a_clear_error_and_harms_nothing(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", "old")
        database = store._writer.database
        (pages,) = await store._writer.run(lambda: database.execute("PRAGMA page_count").fetchone())
        await store._writer.run(lambda: database.execute(f"PRAGMA max_page_count = {pages + 3}").fetchone())
        for value in ("x" * 100_000, b"x" * 1_000_000):
            with pytest.raises(StoreError, match="is full: the write was not made"):
                await store.put("a", "k", value)
        assert await store.get("a", "k") == "old"
        await store.put("a", "k", "small")
    async with DiskStore(tmp_path) as store:
        assert await store.get("a", "k") == "small"


FAILING = """
import asyncio, os, resource, signal, sys
from satchel import SatchelError, StoreError
from satchel.stores.disk import DiskStore

async def main(directory):
    async with DiskStore(directory) as store:
        await store.put("a", "k", "old")
    {fail}
    store = DiskStore(directory)
    try:
        await store.put("a", "k", b"x" * 3_000_000)
    except StoreError as error:
        print(error)
    if {reads}:
        print(await store.get("a", "k"))

asyncio.run(main(sys.argv[1]))
"""


def fail_in_a_process(directory: Path, fail: str, reads: bool) -> str:
    script = FAILING.format(fail=fail, reads=reads)
    ended = subprocess.run([sys.executable, "-c", script, directory], capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    return ended.stdout.decode()


async def old_value(directory: Path) -> object:
    async with DiskStore(directory) as store:
        return await store.get("a", "k")


def test_a_disk_that_takes_no_more_is_a_clear_error_and_harms_nothing(tmp_path: Path) -> None:
    limit = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))"
    said = fail_in_a_process(tmp_path, limit, reads=True)
    assert "is full: the write was not made" in said
    assert said.endswith("old\n")
    assert asyncio.run(old_value(tmp_path)) == "old"


def test_a_read_only_directory_is_a_clear_error_and_harms_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    # Root may write anywhere, so it becomes someone else, once all that is imported late has been.
    give_up = (
        "await asyncio.to_thread(os.chmod, directory, 0o555); os.chmod(directory + '/satchel.sqlite3', 0o444);"
        "os.getuid() or os.setuid(65534)"
    )
    said = fail_in_a_process(tmp_path, give_up, reads=False)
    assert "let this user write the directory and the files in it" in said or "make it a writable directory" in said
    tmp_path.chmod(0o700)
    (tmp_path / "satchel.sqlite3").chmod(0o600)
    assert asyncio.run(old_value(tmp_path)) == "old"


async def test_a_file_in_place_of_the_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="make it a writable directory"):
        await DiskStore(tmp_path / "file").put("a", "k", 1)
    assert listed(tmp_path) == ["file"]
