"""What stores say when descriptors, threads or memory are used up: one retryable error that names it."""

import asyncio
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from satchel import MemoryStore, StoreUnavailableError, SyncStore
from satchel import _threads as threads
from satchel.backend.engine import translated
from satchel.stores.disk import DiskStore
from satchel.stores.filetree import FileTreeStore
from tests.servers import server_url

USED_UP = """
import asyncio, os, resource, sys
from satchel import StoreUnavailableError, SyncStore, open_store

def use_up(spare):
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for descriptor in held[:spare]:
            os.close(descriptor)
    return held[spare:]

async def refused(call):
    try:
        await call
    except StoreUnavailableError as error:
        assert error.retryable and "too many open" in str(error), error
        return 1
    return 0

async def main(url):
    warm = open_store(url)  # what is imported late is imported now
    await warm.put("warm", "k", 1)
    await warm.aclose()
    count = 0
    for spare in range(4):
        store = open_store(url)
        held = use_up(spare)
        try:
            count += await refused(store.put("c", "k", 1))
            count += await refused(store.get("c", "k"))
        finally:
            for descriptor in held:
                os.close(descriptor)
        await store.put("c", "k", 2)
        assert await store.get("c", "k") == 2
        await store.aclose()
    print("refused" if count else "never refused")

asyncio.run(main(sys.argv[1]))
blocking = SyncStore(open_store(sys.argv[1]))
held = use_up(0)
try:
    blocking.put("c", "k", 1)
except StoreUnavailableError as error:
    assert error.retryable and "too many open" in str(error), error
    print("refused")
for descriptor in held:
    os.close(descriptor)
blocking.put("c", "k", 3)
assert blocking.get("c", "k") == 3
blocking.close()
"""


def run_used_up(url: str) -> None:
    ended = subprocess.run([sys.executable, "-c", USED_UP, url], capture_output=True, timeout=60, check=False)
    said = [line for line in ended.stderr.decode().splitlines() if "glide_logger" not in line]
    assert (ended.returncode, said) == (0, [])
    assert ended.stdout.decode().split("\n")[:2] == ["refused", "refused"]


@pytest.mark.parametrize("url", ["disk://{}/data", "file://{}/data", "git://{}/data", "sqlite+aiosqlite:///{}/data"])
def test_descriptors_used_up_are_named_and_the_store_goes_on_later(url: str, tmp_path: Path) -> None:
    run_used_up(url.format(tmp_path))


NETWORK = ["redis", "valkey", "memcached", "postgresql", "mariadb", "mongodb", "nats"]


@pytest.mark.long
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.server(name)) for name in NETWORK])
def test_descriptors_used_up_are_named_by_a_store_over_the_network(name: str) -> None:
    patience = "/?serverSelectionTimeoutMS=300&timeout=2" if name == "mongodb" else ""
    run_used_up(server_url(name) + patience)


@pytest.mark.server("dynamodb")
def test_descriptors_used_up_are_named_by_a_store_that_makes_its_client_in_a_thread() -> None:
    keys = "region=us-east-1&aws_access_key_id=any&aws_secret_access_key=any"
    run_used_up(f"dynamodb://used-up-{os.getpid()}?endpoint_url={server_url('dynamodb')}&{keys}&create_table=true")


def test_no_entry_seems_absent_from_an_open_git_repository_for_lack_of_descriptors(tmp_path: Path) -> None:
    program = (
        USED_UP.partition("async def main")[0]
        + """
async def main(url):
    store = open_store(url)
    await store.put("c", "k", 1)
    count = 0
    for spare in range(2):
        held = use_up(spare)
        try:
            for call in (store.get("c", "k"), store.exists("c", "k"), store.delete("c", "x"), store.put("c", "k", 1)):
                count += await refused(call)
        finally:
            for descriptor in held:
                os.close(descriptor)
        assert await store.get("c", "k") == 1
    await store.aclose()
    print(count)

asyncio.run(main(sys.argv[1]))
"""
    )
    command = [sys.executable, "-c", program, f"git://{tmp_path}/data"]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
    assert ended.stdout.decode() == "5\n"


def test_descriptors_used_up_are_named_by_blobs_from_and_to_files(tmp_path: Path) -> None:
    program = (
        USED_UP.partition("async def main")[0]
        + """
import fsspec
from satchel import MemoryStore
from satchel.blobs import FsspecBlobs, StoreBlobs

async def main(place):
    files = FsspecBlobs(fsspec.filesystem("file"), f"{place}/files")
    blobs = StoreBlobs(MemoryStore())
    with open(f"{place}/source", "wb") as source:
        source.write(b"x" * 100_000)
    for target in (files, blobs):
        await target.put_file("k", f"{place}/source")
        await target.get_file("k", f"{place}/target")
    held = use_up(0)
    async def listed():
        return [key async for key in files.keys()]
    count = 0
    for call in (files.get("k"), files.put("k", b"1"), listed(), blobs.put_file("k", f"{place}/source"),
                 blobs.get_file("k", f"{place}/target")):
        count += await refused(call)
    for descriptor in held:
        os.close(descriptor)
    print(count, await listed())

asyncio.run(main(sys.argv[1]))
"""
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
    assert ended.stdout.decode() == "5 ['k']\n"


NO_ROOM = """
import asyncio, os, resource, signal, sys
from satchel import StoreUnavailableError, open_store

async def main(url):
    store = open_store(url)
    await store.put("c", "k", "old")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
    try:
        await store.put("c", "k", os.urandom(3_000_000))
    except StoreUnavailableError as error:
        print(error.retryable, "room" in str(error))
    print(await store.get("c", "k"))
    await store.put("c", "k", "new")
    await store.aclose()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("url", ["disk://{}/data", "file://{}/data", "git://{}/data", "sqlite+aiosqlite:///{}/data"])
def test_a_limit_that_leaves_no_room_is_named(url: str, tmp_path: Path) -> None:
    program = [sys.executable, "-c", NO_ROOM, url.format(tmp_path)]
    ended = subprocess.run(program, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
    assert ended.stdout.decode() == "True True\nold\n"


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.EMFILE, "x"), "too many open"),
        (OSError(errno.ENFILE, "x"), "too many open"),
        (OSError(errno.ENOSPC, "x"), "no room"),
        (OSError(errno.EDQUOT, "x"), "no room"),
        (OSError(errno.ENOMEM, "x"), "no more memory"),
        (MemoryError(), "no more memory"),
        (RuntimeError("can't start new thread"), "no thread can be started"),
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_is_used_up_is_found_below_what_a_driver_makes_of_it(error: Exception, named: str, depth: int) -> None:
    for _ in range(depth):
        wrapper = ConnectionError("a driver's own words")
        wrapper.__cause__ = error
        error = wrapper
    failure = translated(MemoryStore(), error, "put")
    assert isinstance(failure, StoreUnavailableError)
    assert failure.retryable
    assert named in str(failure)
    assert failure.__cause__ is error


def no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("kind", [DiskStore, FileTreeStore])
async def test_a_thread_that_cannot_be_started_is_named_and_the_store_goes_on_later(
    kind: type[DiskStore | FileTreeStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kind(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(StoreUnavailableError, match="no thread can be started"):
                await store.put("c", "k", 1)
        await store.put("c", "k", 2)
        assert await store.get("c", "k") == 2


def test_a_blocking_store_names_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SyncStore(MemoryStore())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(StoreUnavailableError, match="no thread can be started"):
            store.put("c", "k", 1)
    store.put("c", "k", 2)
    assert store.get("c", "k") == 2
    store.close()


def test_a_large_value_is_encoded_in_place_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    value = "x" * 1_000_000

    async def put() -> None:
        async with MemoryStore() as store:
            monkeypatch.setattr(threads, "_pool", threads.ThreadPool())  # it has no idle thread
            monkeypatch.setattr(threading.Thread, "start", no_thread)
            await store.put("c", "k", value)
            assert await store.get("c", "k") == value

    asyncio.run(put())
