"""When a disk store's connection, thread and temporary directory begin and end."""

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path

import aiosqlite
import pytest

from satchel import ConfigurationError, StoreClosedError, StoreError, StoreUnavailableError
from satchel.stores.disk import DiskStore
from satchel.stores.disk import lent as _lent
from tests.patience import until, wait_until

FORGOTTEN = """
import asyncio, logging
logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine is slow, which the development mode reports
from satchel.stores.disk import DiskStore

store = DiskStore({directory})

async def main():
    await store.put("a", "k", 1)
    print(store._directory)

{run}
"""
RUNS = {
    "asyncio.run": "asyncio.run(main())",
    "asyncio.run twice": "asyncio.run(main()); asyncio.run(main())",
    "a bare loop, closed": "loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()",
    "a bare loop, left open": "loop = asyncio.new_event_loop(); loop.run_until_complete(main())",
}


def listed(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def run_script(script: str, *options: str) -> str:
    ended = subprocess.run([sys.executable, *options, "-c", script], capture_output=True, timeout=50, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    return ended.stdout.decode()


@pytest.mark.parametrize("run", RUNS)
def test_a_script_that_forgets_to_close_ends_at_once(run: str, tmp_path: Path) -> None:
    # A loop that is left open warns for itself in the development mode.
    options = [] if run == "a bare loop, left open" else ["-X", "dev"]
    run_script(FORGOTTEN.format(directory=repr(str(tmp_path)), run=RUNS[run]), *options)
    assert asyncio.run(value_in(tmp_path)) == 1


@pytest.mark.parametrize("run", RUNS)
def test_a_forgotten_temporary_directory_goes_with_the_process(run: str) -> None:
    directories = run_script(FORGOTTEN.format(directory="None", run=RUNS[run])).split()
    assert len(set(directories)) == 1
    assert not Path(directories[0]).exists()


async def value_in(directory: Path) -> object:
    async with DiskStore(directory) as store:
        return await store.get("a", "k")


async def test_closing_ends_the_thread_and_leaves_the_database_and_the_reserve(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", 1)
        thread = store._writer.thread
    await until(lambda: not thread.is_alive())
    assert sorted(listed(tmp_path)) == ["satchel.reserve", "satchel.sqlite3"]


async def test_closing_after_a_failed_write_closes_the_files(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", 1)
        await store._writer.run(lambda: store._writer.database.execute("PRAGMA max_page_count = 1").fetchall())
        with pytest.raises(StoreUnavailableError, match="is full"):
            await store.put("a", "big", b"x" * 1_000_000)
        database = store._writer.database
    database.close()  # a second time, as in a child of fork
    assert sorted(listed(tmp_path)) == ["satchel.reserve", "satchel.sqlite3"]


async def test_a_store_that_nothing_refers_to_ends_its_thread(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    await store.put("a", "k", 1)
    thread = store._writer.thread
    del store

    def has_ended() -> bool:
        gc.collect()
        return not thread.is_alive()

    await until(has_ended)


def test_a_store_reopens_on_a_new_loop_after_a_bare_one_was_closed(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.put("a", "k", 1))
    thread = store._writer.thread
    loop.close()

    async def again() -> object:
        async with store:
            return await store.get("a", "k")

    assert asyncio.run(again()) == 1
    wait_until(lambda: not thread.is_alive())


def test_a_temporary_store_keeps_its_entries_from_loop_to_loop() -> None:
    store = DiskStore()
    asyncio.run(store.put("a", "k", 1))
    directory = store._directory

    async def again() -> object:
        async with store:
            return await store.get("a", "k")

    assert asyncio.run(again()) == 1
    assert directory is not None
    assert not directory.exists()


async def test_two_temporary_stores_share_nothing() -> None:
    async with DiskStore() as one, DiskStore() as other:
        await one.put("a", "k", 1)
        assert await other.get("a", "k") is None


async def test_making_a_store_touches_no_file_and_starts_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # some may be about to end
    DiskStore(tmp_path / "new")
    assert listed(tmp_path) == []
    assert set(threading.enumerate()) <= before


def test_a_relative_directory_is_settled_when_the_store_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = DiskStore("data")
    monkeypatch.chdir(tmp_path / "elsewhere")
    asyncio.run(store.put("a", "k", 1))
    assert asyncio.run(store.get("a", "k")) == 1
    assert asyncio.run(value_in(tmp_path / "data")) == 1


async def test_a_cancelled_write_leaves_no_transaction_open(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store, DiskStore(tmp_path) as other:
        await store.ping()
        await other.ping()
        for pause in range(40):
            put = asyncio.create_task(store.put_many("a", {str(at): "x" * 2000 for at in range(300)}))
            for _ in range(pause % 8):
                await asyncio.sleep(0.0005)
            put.cancel()
            await asyncio.wait([put])
            await other.put("b", "k", pause)
            await store.put("a", "0", pause)
            assert await other.get("a", "0") == pause


# A connection of the caller's.


async def test_a_connection_given_stays_open_with_all_it_had(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "own.db") as connection:
        await connection.execute("CREATE TABLE own (value)")
        await connection.execute("INSERT INTO own VALUES ('mine')")
        await connection.execute("PRAGMA user_version = 7")
        await connection.commit()
        async with DiskStore(connection=connection, max_size=10_000) as store:
            await store.put("a", "k", {"x": 1}, ttl=100)
            await store.put("a", "large", b"x" * 3000)
            assert await store.get("a", "k") == {"x": 1}
            assert await store.get("a", "large") == b"x" * 3000
            assert [key async for key in store.keys("a", prefix="l")] == ["large"]
            assert await store.destroy()
            assert await store.get("a", "k") is None
            await store.put("a", "k", 2)
        for statement, row in (("SELECT value FROM own", ("mine",)), ("PRAGMA user_version", (7,))):
            assert await (await connection.execute(statement)).fetchone() == row
        assert await (await connection.execute("PRAGMA application_id")).fetchone() == (0,)
        async with DiskStore(connection=connection) as store:
            assert await store.get("a", "k") == 2


@pytest.mark.parametrize("factory", ["Row", "dict", "bytes"])
async def test_a_connection_may_have_its_own_way_with_rows(factory: str, tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "own.db", isolation_level=None) as connection:
        if factory == "bytes":
            connection.text_factory = bytes
        else:
            connection.row_factory = aiosqlite.Row if factory == "Row" else lambda cursor, row: {"row": row}
        async with DiskStore(connection=connection, max_size=2000) as store:
            for at in range(30):
                await store.put("ä", f"ö{at}", at)
            assert await store.get("ä", "ö29") == 29
            assert [name async for name in store.collections()] == ["ä"]
            assert {key async for key in store.keys("ä")} == {f"ö{at}" for at in range(12, 30)}


async def test_an_open_transaction_of_the_callers_is_refused(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "own.db") as connection:
        await connection.execute("CREATE TABLE own (value)")
        async with DiskStore(connection=connection) as store:
            await store.put("a", "k", 1)
            await connection.execute("INSERT INTO own VALUES (1)")
            with pytest.raises(StoreUnavailableError, match="has a transaction open"):
                await store.put("a", "k", 2)
            await connection.rollback()
            assert await store.get("a", "k") == 1


async def test_a_connection_that_was_closed_is_an_error(tmp_path: Path) -> None:
    connection = await aiosqlite.connect(tmp_path / "own.db")
    store = DiskStore(connection=connection)
    await store.put("a", "k", 1)
    await connection.close()
    with pytest.raises(StoreError, match="has been closed"):
        await store.put("a", "k", 2)
    await store.aclose()
    with pytest.raises(StoreClosedError):
        await store.get("a", "k")


async def test_a_failure_in_the_thread_is_not_said_to_be_a_closed_connection(tmp_path: Path) -> None:
    def clock() -> float:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("no time there")
        return 1_700_000_000.0

    async with DiskStore(tmp_path, max_size=300, clock=clock) as store:
        await store.put("a", "k", b"x" * 100)
        with pytest.raises(StoreError, match="failed") as caught:
            await store.put("a", "other", b"x" * 100)
        assert "closed" not in str(caught.value)
        assert await store.get("a", "k") == b"x" * 100


async def test_a_connection_must_be_an_open_one_of_aiosqlite(tmp_path: Path) -> None:
    connection = aiosqlite.connect(tmp_path / "own.db")
    for given, message in ((connection, "must be open"), (object(), "aiosqlite.Connection, got object")):
        with pytest.raises(ConfigurationError, match=message):
            await DiskStore(connection=given).get("a", "k")


async def test_a_release_of_aiosqlite_with_other_inner_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lent, "_NEEDED", (*_lent._NEEDED, "_of_the_future"))
    async with aiosqlite.connect(tmp_path / "own.db") as connection:
        with pytest.raises(ConfigurationError, match="pip install"):
            await DiskStore(connection=connection).get("a", "k")


async def test_closing_waits_for_what_was_sent(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    puts = [asyncio.create_task(store.put("a", str(at), "x" * 10_000)) for at in range(50)]
    await asyncio.sleep(0)
    await store.aclose()
    await asyncio.gather(*puts)
    async with DiskStore(tmp_path) as again:
        assert len([key async for key in again.keys("a")]) == 50


def test_an_event_loop_that_ends_while_the_database_is_being_opened_leaves_no_traceback(tmp_path: Path):
    program = f"""
import asyncio, sqlite3, threading, time
from satchel.stores.disk import store as disk
from satchel.stores.disk import DiskStore
go_on, connect = threading.Event(), disk.connect
def connect_late(*given):
    go_on.wait()
    return connect(*given)
disk.connect = connect_late
async def main():
    asyncio.create_task(store.put("c", "k", 1))
    await asyncio.sleep(0.05)
store = DiskStore({str(tmp_path)!r})
asyncio.run(main())
go_on.set()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join()
async def again():
    await store.put("c", "k", 2)
    print(await store.get("c", "k"))
    await store.aclose()
asyncio.run(again())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], timeout=60, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


@pytest.mark.parametrize("verb", ["put", "get"])
def test_a_store_that_was_open_on_a_loop_that_just_ended_opens_anew(verb: str, tmp_path: Path) -> None:
    """Unlike `asyncio.run`, a bare loop closes nothing: the thread is still there, and idle."""
    store = DiskStore(tmp_path / "data")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.put("c", "k", 1))
    loop.close()

    async def again() -> object:
        if verb == "put":
            await store.put("c", "k", 2)
        found = await store.get("c", "k")
        await store.aclose()
        return found

    assert asyncio.run(again()) == (2 if verb == "put" else 1)
