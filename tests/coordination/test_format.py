"""What locks, semaphores, queues, rate limits and idempotency keys write, as every release reads it."""

import json
from pathlib import Path

import pytest

from satchel import MemoryStore, ResultUnknownError, SerializationError
from satchel.coordination import Lock, Once, Queue, RateLimit, Recorded, Semaphore

GOLDEN = Path(__file__).parents[1] / "golden" / "coordination"
OWNER = "8f14e45fceea167a5a36dedd4bea2543"


def golden(name):
    path = GOLDEN / name
    return path.read_bytes() if path.suffix == ".bin" else json.loads(path.read_text("utf-8"))


@pytest.fixture
def fixed_owner(monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _: OWNER)


def clock():
    return 1_767_225_600.0


async def test_a_lock_writes_the_golden_records(fixed_owner):
    store = MemoryStore()
    async with Lock(store, "name", ttl=30, clock=clock):
        assert await store.get("locks", "name") == golden("lock-held.json")
    assert await store.get("locks", "name") == golden("lock-released.json")


async def test_a_lock_goes_on_from_the_golden_records():
    store = MemoryStore()
    await store.put("locks", "held", golden("lock-held.json"))
    await store.put("locks", "released", golden("lock-released.json"))
    assert await Lock(store, "held", clock=clock).locked()
    assert not await Lock(store, "held").acquire(timeout=0)
    async with Lock(store, "released") as lock:
        assert lock.fencing_token == golden("lock-released.json")["fencing_token"] + 1


@pytest.mark.parametrize(
    ("name", "result"), [("once-result.json", {"charged": 100}), ("once-bytes.bin", b"\xffresult")]
)
async def test_once_writes_and_reads_the_golden_results(fixed_owner, name, result):
    async def work():
        return result

    store = MemoryStore()
    await Once(store).run("key", work)
    assert await store.get("once", "key") == golden(name)
    await store.put("once", "golden", golden(name))
    assert await Once(store).claim("golden") == Recorded(result)


async def test_once_writes_and_reads_the_golden_record_of_an_unknown_result(fixed_owner):
    async def work():
        return 1, 2

    store = MemoryStore()
    with pytest.raises(SerializationError):
        await Once(store).run("key", work)
    assert await store.get("once", "key") == golden("once-unknown.json")
    with pytest.raises(ResultUnknownError):
        await Once(store).claim("key")


async def test_a_semaphore_writes_and_reads_the_golden_record(fixed_owner):
    store = MemoryStore()
    async with Semaphore(store, "name", permits=2, ttl=30).permit():
        assert await store.get("semaphores", "name") == golden("semaphore.json")
    await store.put("semaphores", "golden", golden("semaphore.json"))
    assert await Semaphore(store, "golden", permits=2).taken() == 1


@pytest.mark.parametrize(("name", "value"), [("queue-item", {"to": "ada"}), ("queue-item-bytes", b"\xffresult")])
async def test_a_queue_writes_and_reads_the_golden_items(fixed_owner, name, value):
    store, item = MemoryStore(), "mail/items/0000000000000000"
    await Queue(store, "mail").push(value)
    assert await store.get("queues", item) == golden(f"{name}.json")
    await store.put("queues", item, golden(f"{name}.json"))
    job = await Queue(store, "mail").take()
    assert (job.id, job.value, job.attempts) == (OWNER, value, 1)


async def test_a_queue_writes_the_golden_records_of_a_job_on_its_way(fixed_owner):
    store, item = MemoryStore(), "mail/items/0000000000000000"
    queue = Queue(store, "mail", max_attempts=1)
    await queue.push({"to": "ada"})
    async with await queue.take():
        assert await store.get("queues", item) == golden("queue-taken.json")
        raise ZeroDivisionError
    assert await store.get("queues", item) == golden("queue-done.json")
    assert await store.get("queues", "mail/dead/0000000000000000") == golden("queue-dead.json")


async def test_a_queue_goes_on_from_the_golden_head():
    store = MemoryStore()
    await store.put("queues", "mail/next", 120)
    await store.put("queues", "mail/head", golden("queue-head.json"))
    await store.put("queues", "mail/items/0000000000000017", golden("queue-item.json"))
    queue = Queue(store, "mail")
    assert await queue.size() == 1
    async with await queue.take() as job:
        assert job.value == {"to": "ada"}
    assert await queue.take(timeout=0) is None
    assert (await store.get("queues", "mail/head")) == {"format": 1, "head": 120, "swept": 120, "behind": []}


async def test_a_rate_limit_writes_and_reads_the_golden_record():
    store = MemoryStore()
    await RateLimit(store, "login", limit=10, per=60, clock=clock).hit("ada")
    assert await store.get("rate-limits/login", "ada") == golden("rate-limit.json")
    await store.put("rate-limits/login", "golden", golden("rate-limit.json"))
    assert (await RateLimit(store, "login", limit=10, per=60, clock=clock).peek("golden")).remaining == 8
