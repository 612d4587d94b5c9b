"""How processes end that use a `SyncStore`: none hangs, none loses what was put, none warns."""

import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest

from satchel.sync import SyncStore
from tests.servers import server_url

BEGINNING = """
import asyncio, logging, os, signal, sys, threading, time
logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine is slow, which the development mode reports
from satchel import MemoryStore, StoreClosedError, StoreError
from satchel.sync import SyncStore

class Telling(MemoryStore):
    async def _close(self):
        print("closed", flush=True)
"""


def run(program: str, *arguments: str, status: int = 0) -> tuple[str, str]:
    """Run a program with all warnings as errors; return what it printed, and what it complained of."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", BEGINNING + textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def check_forgotten(url: str) -> None:
    program = """
        store = SyncStore(sys.argv[1])
        store.put("c", "small", 1)
        store.put("c", "large", "x" * 500_000)
        keys = store.keys("c")
        next(keys)
    """
    assert run(program, url) == ("", "")
    with SyncStore(url) as store:
        assert store.get("c", "small") == 1
        assert len(store.get("c", "large")) == 500_000
        store.destroy()


@pytest.mark.parametrize("scheme", ["disk", "file"])
def test_a_forgotten_store(scheme: str, tmp_path: Path) -> None:
    check_forgotten(f"{scheme}://{tmp_path}/store")


@pytest.mark.server("redis")
def test_a_forgotten_store_over_a_network() -> None:
    check_forgotten(f"{server_url('redis')}?prefix=sync-{uuid.uuid4().hex}")


def test_a_forgotten_store_is_closed() -> None:
    assert run("store = SyncStore(Telling()); store.put('c', 'k', 1)") == ("closed\n", "")
    assert run("SyncStore(Telling()).put('c', 'k', 1)") == ("closed\n", "")
    assert run("store = SyncStore(Telling())") == ("", "")


def test_a_store_that_fails_to_close_at_the_end_tells_of_it() -> None:
    program = """
        class Failing(MemoryStore):
            async def _close(self):
                raise OSError("the last writes are lost")

        store = SyncStore(Failing())
        store.ping()
    """
    _, complaint = run(program)
    assert "the last writes are lost" in complaint


def test_a_store_that_never_closes_does_not_hang_the_end() -> None:
    program = """
        import satchel.sync.thread
        satchel.sync.thread._LAST_SECONDS = 0.1

        class Hanging(MemoryStore):
            async def _close(self):
                await asyncio.sleep(1000)

        store = SyncStore(Hanging())
        store.ping()
    """
    assert run(program)[0] == ""


@pytest.mark.parametrize("leaving", ["with SyncStore(Telling()) as store:", "store = SyncStore(Telling())\nif True:"])
def test_an_error_ends_the_process_with_that_error_alone(leaving: str) -> None:
    printed, complaint = run(f"{leaving}\n    store.put('c', 'k', 1)\n    1 / 0", status=1)
    assert printed == "closed\n"
    assert complaint.count("Traceback") == 1
    assert complaint.endswith("ZeroDivisionError: division by zero\n")


def test_daemon_threads_in_the_middle_of_calls() -> None:
    program = """
        def work(number):
            try:
                while True:
                    store.put("c", str(number), number)
            except StoreClosedError:
                pass

        store = SyncStore(Telling())
        for number in range(8):
            threading.Thread(target=work, args=(number,), daemon=True).start()
        while len(list(store.keys("c"))) < 8:
            pass
    """
    assert run(program) == ("closed\n", "")


def test_threads_that_go_on_after_the_main_one() -> None:
    program = """
        def work():
            main.join()
            for number in range(100):
                store.put("c", str(number), number)
            print(len(list(store.keys("c"))), flush=True)

        main = threading.main_thread()
        store = SyncStore(Telling())
        store.ping()
        threading.Thread(target=work).start()
    """
    assert run(program) == ("100\nclosed\n", "")


def test_a_keyboard_interrupt_cancels_the_call_and_nothing_else() -> None:
    program = """
        class Slow(Telling):
            async def get(self, collection, key, default=None):
                if key == "slow":
                    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
                try:
                    await asyncio.sleep(1000 if key == "slow" else 0)
                except asyncio.CancelledError:
                    print("cancelled", flush=True)
                    raise
                return await super().get(collection, key, default)

        with SyncStore(Slow()) as store:
            store.put("c", "k", 1)
            try:
                store.get("c", "slow")
            except KeyboardInterrupt:
                print(store.get("c", "k"), flush=True)
    """
    assert run(program) == ("cancelled\n1\nclosed\n", "")


def test_a_fork_of_a_process_with_an_open_store_is_refused_in_the_child_alone() -> None:
    program = """
        import warnings
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        unused = SyncStore(Telling())
        with SyncStore(Telling()) as store:
            store.put("c", "k", 1)
            keys = store.keys("c")
            next(keys)
            child = os.fork()
            if not child:
                for call in (lambda: store.get("c", "k"), lambda: store.put("c", "k", 2), store.close):
                    try:
                        call()
                    except StoreError as error:
                        print(str(error).partition(";")[2], flush=True)
                del keys
                unused.put("c", "k", 1)
                unused.close()
                sys.exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            print(store.get("c", "k"), flush=True)
    """
    advice = " make a SyncStore in each process\n"
    assert run(program) == (3 * advice + "closed\n" + "1\nclosed\n", "")


def test_importing_the_package_imports_nothing_of_this() -> None:
    program = "import sys, satchel; print(*[name for name in sys.modules if 'sync' in name and 'satchel' in name])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_large_values_after_the_interpreter_has_begun_to_end() -> None:
    program = """
        import atexit

        def work():
            threading.main_thread().join()
            for _ in range(20):
                store.put("c", "late", "x" * 500_000)
            print(len(store.get("c", "late")), flush=True)

        def at_exit():
            store.put("c", "last", "x" * 500_000)
            print(len(store.get("c", "last")), flush=True)

        store = SyncStore(Telling())
        store.ping()
        atexit.register(at_exit)
        threading.Thread(target=work).start()
    """
    assert run(program) == ("500000\n500000\nclosed\n", "")


def test_what_a_forgotten_tiered_store_has_queued(tmp_path: Path) -> None:
    program = """
        from satchel import DiskStore
        from satchel.wrappers import TieredStore

        store = SyncStore(TieredStore(MemoryStore(), DiskStore(sys.argv[1]), write="back"))
        for number in range(20):
            store.put("c", str(number), "x" * 500_000)
    """
    assert run(program, str(tmp_path)) == ("", "")
    with SyncStore(f"disk://{tmp_path}") as store:
        assert len(store.get_many("c", map(str, range(20)))) == 20


def test_a_forgotten_temporary_store_removes_its_directory(tmp_path: Path) -> None:
    program = """
        import tempfile
        from satchel import DiskStore

        tempfile.tempdir = sys.argv[1]
        store = SyncStore(DiskStore())
        store.put("c", "k", "x" * 500_000)
    """
    assert run(program, str(tmp_path)) == ("", "")
    assert list(tmp_path.iterdir()) == []
