"""A child of `fork` goes on with a store that its parent had open, and takes nothing from it."""

import os
import subprocess
import sys

import pytest

from tests.servers import server_url
from tests.stores.http.processes import Process

SERVERS = ["redis", "valkey", "memcached", "postgresql", "mariadb", "mongodb", "elasticsearch", "nats"]

PRELUDE = """
import asyncio, os, sys, warnings
from satchel import MemoryStore, StoreError, open_store
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def in_child(work):
    child = os.fork()
    if child == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def go_through(url: str) -> None:
    program = [sys.executable, "-m", "tests.stores.forking", url]
    done = subprocess.run(program, timeout=120, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def outcome(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], timeout=60, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("scheme", ["disk", "file", pytest.param("git", marks=pytest.mark.long)])
def test_two_children_and_their_parent_work_with_one_embedded_store(scheme, tmp_path):
    go_through(f"{scheme}://{tmp_path}/data")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.server(name)) for name in SERVERS])
def test_two_children_and_their_parent_work_with_one_store_over(name):
    go_through(server_url(name))


@pytest.mark.server("dynamodb")
def test_two_children_and_their_parent_work_with_one_table():
    keys = "region=us-east-1&aws_access_key_id=any&aws_secret_access_key=any"
    go_through(f"dynamodb://forked-{os.getpid()}?endpoint_url={server_url('dynamodb')}&{keys}&create_table=true")


@pytest.mark.long
def test_two_children_and_their_parent_work_with_one_store_over_http():
    with Process("memory://") as server:
        go_through(server.url)


def test_a_child_that_goes_on_in_its_parents_coroutine_is_refused(tmp_path):
    program = f"""
async def main():
    store = open_store("disk://{tmp_path}/data")
    await store.put("c", "k", 1)
    child = os.fork()
    if child == 0:
        try:
            await store.get("c", "k")
        except StoreError as error:
            print("use the store on a new event loop" in str(error), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(await store.get("c", "k"))
    await store.aclose()
asyncio.run(main())
"""
    assert outcome(program) == "True\n1\n"


def test_a_connection_of_the_callers_is_refused_in_a_child(tmp_path):
    program = f"""
import aiosqlite
from satchel.stores.disk import DiskStore
async def make():
    connection = await aiosqlite.connect("{tmp_path}/db")
    return connection, DiskStore(connection=connection)
loop = asyncio.new_event_loop()
connection, store = loop.run_until_complete(make())
def child():
    try:
        asyncio.run(store.get("c", "k"))
    except StoreError as error:
        print("works over a connection of the process" in str(error))
in_child(child)
loop.run_until_complete(store.put("c", "k", 1))
loop.run_until_complete(connection.close())
"""
    assert outcome(program) == "True\n"


def test_the_log_of_a_database_outlives_a_parent_that_closes_it_before_its_child(tmp_path):
    program = f"""
store = open_store("disk://{tmp_path}/data")
loop = asyncio.new_event_loop()
loop.run_until_complete(store.put("c", "k", 1))
(ready, opened), (go, closed) = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    own = asyncio.new_event_loop()
    own.run_until_complete(store.put("c", "before", 1))
    os.write(opened, b"1")
    os.read(go, 1)
    own.run_until_complete(store.put("c", "after", 1))
    own.run_until_complete(store.aclose())
    os._exit(0)
os.read(ready, 1)
loop.run_until_complete(store.aclose())
os.write(closed, b"1")
assert os.waitpid(child, 0)[1] == 0
print(sorted(asyncio.run(open_store("disk://{tmp_path}/data").get_many("c", ["k", "before", "after"]))))
"""
    assert outcome(program) == "['after', 'before', 'k']\n"


def test_a_fork_in_the_middle_of_writing_harms_nobody(tmp_path):
    program = f"""
store = open_store("disk://{tmp_path}/data")
async def write(name):
    for number in range(100):
        await store.put("c", f"{{name}}{{number}}", "x" * 1000)
async def parent():
    writing = asyncio.create_task(write("parent"))
    children = []
    for at in range(3):
        await asyncio.sleep(0.005)
        child = os.fork()
        if child == 0:  # as multiprocessing does it
            asyncio.run(be_child(at))
            os._exit(0)
        children.append(child)
    await writing
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    found = await store.get_many("c", [f"{{name}}{{n}}" for name in ("parent", 0, 1, 2) for n in range(100)])
    print(len(found))
    await store.aclose()
async def be_child(at):
    await write(at)
    await store.aclose()
asyncio.run(parent())
"""
    assert outcome(program) == "400\n"


def test_children_draw_random_numbers_and_versions_of_their_own():
    program = """
from satchel.wrappers.ttl import TTLWrapper
from satchel._single_flight import SingleFlight
store = TTLWrapper(MemoryStore(), default=1000, jitter=0.9)
flights = SingleFlight(store)
def child():
    print(store._random.random(), flights._random.random())
in_child(child)
in_child(child)
"""
    first, second = outcome(program).splitlines()
    assert first != second


def test_what_waits_in_a_queue_is_sent_by_the_parent_alone():
    program = """
from satchel.wrappers.tiered import TieredStore
class Telling(MemoryStore):
    async def _put(self): ...
    async def put(self, *given, **named):
        print(os.getpid() == parent, flush=True)
        await super().put(*given, **named)
parent = os.getpid()
store = TieredStore(MemoryStore(), Telling(), write="back")
loop = asyncio.new_event_loop()
loop.run_until_complete(store.put("c", "k", 1))
assert store.snapshot().queued == 1
in_child(lambda: asyncio.run(store.flush()))
loop.run_until_complete(store.flush())
"""
    assert outcome(program) == "True\n"


def test_a_probe_of_the_parents_does_not_keep_a_breaker_half_open_in_a_child():
    program = """
from satchel.testing.flaky import FlakyStore
from satchel.wrappers.circuit_breaker import CircuitBreakerWrapper
now = 0.0
held = asyncio.Event()
flaky = FlakyStore()
store = CircuitBreakerWrapper(flaky, failures=1, clock=lambda: now)
async def fail():
    flaky.fail_next()
    try:
        await store.get("c", "k")
    except StoreError:
        pass
asyncio.run(fail())
now = 100.0
flaky._latency, flaky._sleep = 1, lambda _: held.wait()
loop = asyncio.new_event_loop()
loop.create_task(store.get("c", "k"))
loop.run_until_complete(asyncio.sleep(0.01))
flaky._latency = 0
in_child(lambda: print(asyncio.run(store.get("c", "k", "absent"))))
os._exit(0)
"""
    # The FlakyStore is in use on the parent's loop, of which the child knows nothing.
    assert outcome(program) == "absent\n"


def test_an_object_store_that_the_parent_used_is_refused_in_a_child():
    program = """
import obstore.store
from satchel.stores.objectstore import ObjectStore
store = ObjectStore(client=obstore.store.MemoryStore())
loop = asyncio.new_event_loop()
loop.run_until_complete(store.put("c", "k", 1))
def child():
    try:
        asyncio.run(store.get("c", "k"))
    except StoreError as error:
        print("fork before the first use of an ObjectStore" in str(error))
in_child(child)
print(loop.run_until_complete(store.get("c", "k")), flush=True)
os._exit(0)  # now and then obstore aborts a process that ends otherwise, forked or not
"""
    assert outcome(program) == "True\n1\n"


@pytest.mark.parametrize("url", ["memory://", "disk://{}/data", "file://{}/data"])
def test_a_child_uses_a_sync_store_of_its_own(url, tmp_path):
    use_sync_stores(url.format(tmp_path))


@pytest.mark.server("redis")
def test_a_child_uses_a_sync_store_of_its_own_over_redis():
    use_sync_stores(server_url("redis"))


def use_sync_stores(url: str) -> None:
    """Use a store in a parent, and other ones in its children, for a value that is small and one that is large."""
    program = f"""
from satchel import SyncStore
name = f"forked{{os.getpid()}}"
store = SyncStore(open_store({url!r}))
store.put(name, "of the parent", "x" * 70_000)
def child():
    with SyncStore(open_store({url!r})) as own:
        own.put(name, "k", "y" * 70_000)
        own.put(name, "small", 1)
        print(len(own.get(name, "k")), own.get(name, "small"))
in_child(child)
in_child(child)
print(len(store.get(name, "of the parent")))
store.destroy_collection(name)
store.close()
"""
    assert outcome(program) == "70000 1\n70000 1\n70000\n"


def test_a_child_puts_a_large_value_into_the_store_of_its_parent():
    program = """
store = MemoryStore()
large = {"text": "x" * 70_000}
asyncio.run(store.put("c", "k", large))
async def go_on():
    assert await store.get("c", "k") == large
    await store.put("c", "own", large)
    print(await store.get("c", "own") == large)
in_child(lambda: asyncio.run(asyncio.wait_for(go_on(), 20)))
"""
    assert outcome(program) == "True\n"


@pytest.mark.parametrize("url", ["memory://", "disk://{}/data"])
def test_coordination_of_a_module_works_in_a_child(url, tmp_path):
    coordinate(url.format(tmp_path))


@pytest.mark.server("redis")
def test_coordination_of_a_module_works_in_a_child_over_redis():
    coordinate(server_url("redis"))


def coordinate(url: str) -> None:
    """Use a lock and a counter in a parent and its children, one after another, each on a loop of its own."""
    program = f"""
from satchel.coordination import Counter, Lock
store = open_store({url!r})
name = f"forked{{os.getpid()}}"
lock, counter = Lock(store, "door", collection=name), Counter(store, "hits", collection=name)
async def work():
    async with lock:
        assert lock.held
        await counter.increment()
    assert not lock.held
    return await counter.value()
loop = asyncio.new_event_loop()
loop.run_until_complete(work())
def child():
    print(asyncio.run(asyncio.wait_for(work(), 20)))
in_child(child)
in_child(child)
print(loop.run_until_complete(work()))
loop.run_until_complete(store.destroy_collection(name))
"""
    # What is in memory is the parent's own: its children count in copies.
    assert outcome(program) == ("2\n2\n2\n" if url == "memory://" else "2\n3\n4\n")


@pytest.mark.parametrize("way", ["acquired", "async with"])
def test_a_child_does_not_hold_its_parents_lock(way, tmp_path):
    program = f"""
from satchel.coordination import Lock

async def main():
    store = open_store("disk://{tmp_path}/data")
    lock = Lock(store, "name")
    forked = 1
    async def fork():
        nonlocal forked
        forked = os.fork()
        if forked == 0:
            print(lock.held)
            try:
                await lock.release()
            except RuntimeError as error:
                print("is not held" in str(error), flush=True)
    if {way == "acquired"}:
        await lock.acquire()
        await fork()
    else:
        async with lock:
            await fork()
            if forked:
                os.waitpid(forked, 0)
                print(lock.held, await Lock(store, "name").locked())
        print("left", flush=True)
    if forked == 0:
        os._exit(0)
    if {way == "acquired"}:
        os.waitpid(forked, 0)
        print(lock.held, await Lock(store, "name").locked())
        await lock.release()
    print(await lock.locked())
    await store.aclose()
asyncio.run(main())
"""
    left = "left\n" * (way == "async with")
    assert outcome(program) == f"False\nTrue\n{left}True True\n{left}False\n"


def test_a_child_takes_a_lock_of_its_parents_on_its_own(tmp_path):
    program = """
from satchel.coordination import Lock

store = MemoryStore()
lock = Lock(store, "name")

async def take():
    print(lock.held, await lock.acquire(timeout=0))
    await store.destroy()
    print(lock.held, await lock.acquire(timeout=0), lock.held, flush=True)
    await lock.release()

parent = asyncio.new_event_loop()
parent.run_until_complete(lock.acquire())
in_child(lambda: asyncio.run(take()))
async def held():
    return lock.held
print(parent.run_until_complete(held()))
parent.run_until_complete(lock.release())
parent.close()
"""
    assert outcome(program) == "False False\nFalse True True\nTrue\n"


def test_a_near_cache_in_the_child_reads_nothing_that_the_parent_remembered():
    program = """
from satchel.wrappers import NearCacheWrapper
store = NearCacheWrapper(MemoryStore())

async def fill():
    while not store.snapshot().hot.hits:
        await store.put("c", "k", "old")
        await asyncio.sleep(0.01)
        await store.get("c", "k")

async def child():
    await store.inner.put("c", "k", "new")
    print(await store.get("c", "k"))
    hits = store.snapshot().hot.hits
    while store.snapshot().hot.hits == hits:
        await asyncio.sleep(0.01)
        await store.get("c", "k")
    await store.inner.put("c", "k", "newer")
    while await store.get("c", "k") == "new":
        await asyncio.sleep(0.01)
    print(await store.get("c", "k"), store.snapshot().changes > 0)
    await store.aclose()

async def parent():
    print(await store.get("c", "k"))
    await store.aclose()

loop = asyncio.new_event_loop()
loop.run_until_complete(fill())
in_child(lambda: asyncio.run(child()))
loop.run_until_complete(parent())
loop.close()
"""
    assert outcome(program) == "new\nnewer True\nold\n"


NEVER_DONE_IN_THE_PARENT = """
parent, never = os.getpid(), asyncio.Event()
class Slow(MemoryStore):
    async def put(self, *given, **named):
        if os.getpid() == parent:
            await never.wait()
        await super().put(*given, **named)
"""


def test_a_call_under_way_in_the_parent_keeps_no_call_of_a_child_waiting():
    program = (
        NEVER_DONE_IN_THE_PARENT
        + """
from satchel.wrappers import SerializingWrapper
store = SerializingWrapper(Slow())
loop = asyncio.new_event_loop()
calls = [loop.create_task(store.put("c", "k", number)) for number in range(2)]
loop.run_until_complete(asyncio.sleep(0))
async def child():
    await asyncio.wait_for(store.put("c", "k", "of the child"), 30)
    print(await store.get("c", "k"))
in_child(lambda: asyncio.run(child()))
os._exit(0)
"""
    )
    assert outcome(program) == "of the child\n"


def test_a_file_system_with_one_connection_is_refused_in_a_child():
    program = """
import threading
from fsspec.spec import AbstractFileSystem
from satchel.blobs import FsspecBlobs
began, end = threading.Event(), threading.Event()
class Slow(AbstractFileSystem):
    def info(self, path, **_):
        began.set()
        end.wait()
        return {"name": path, "size": 1, "type": "file"}
blobs = FsspecBlobs(Slow())
loop = asyncio.new_event_loop()
call = loop.create_task(blobs.info("k"))
while not began.is_set():
    loop.run_until_complete(asyncio.sleep(0.001))
def child():
    end.set()
    try:
        asyncio.run(asyncio.wait_for(blobs.info("k"), 30))
    except StoreError as error:
        print("anew in each process" in str(error))
in_child(child)
end.set()
print(loop.run_until_complete(call).size)
"""
    assert outcome(program) == "True\n1\n"


def test_a_server_app_is_another_run_of_the_server_in_a_child():
    program = (
        NEVER_DONE_IN_THE_PARENT
        + """
import httpx
from satchel.server import create_app
app = create_app(Slow())
async def put():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.put("/v1/c/a/k", json=1, headers={"Satchel-Request-Id": "one"})
        health = await client.get("/health")
        return answer.status_code, health.status_code, answer.headers["satchel-instance"]
async def instance():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return (await client.get("/v1")).headers["satchel-instance"]
loop = asyncio.new_event_loop()
call = loop.create_task(put())
loop.run_until_complete(asyncio.sleep(0.1))
own = loop.run_until_complete(instance())
def child():
    *codes, other = asyncio.run(asyncio.wait_for(put(), 30))
    print(*codes, own != other)
in_child(child)
print(loop.run_until_complete(instance()) == own, flush=True)
os._exit(0)
"""
    )
    assert outcome(program) == "204 200 True\nTrue\n"
