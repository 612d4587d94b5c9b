"""What locks, queues, limits and sessions keep in a store, and others can write: used, ignored or reported."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from satchel import MemoryStore, SatchelError
from satchel.coordination import Counter, Lock, Once, Queue, RateLimit, Semaphore
from satchel.sessions import Sessions
from tests.fuzz.harness import json_of, run

INPUTS = 400
TOKENS = [
    b"null",
    b"-1",
    b"0",
    b"1e308",
    b"9223372036854775807",
    b'""',
    b"[]",
    b"{}",
    b"true",
    b'"x"',
    b",",
    b":",
    b"1.5",
]
Use = Callable[[MemoryStore], Awaitable[Any]]


async def count(store: MemoryStore) -> None:
    await Counter(store, "visits").increment()


async def lock(store: MemoryStore) -> None:
    lock = Lock(store, "door", ttl=5)
    if await lock.acquire(timeout=0):
        await lock.release()


async def share(store: MemoryStore) -> None:
    with suppress(TimeoutError):
        async with Semaphore(store, "seats", permits=2, ttl=5).permit(timeout=0):
            pass


async def limit(store: MemoryStore) -> None:
    await RateLimit(store, "login", limit=5, per=60).hit("ada")


async def once(store: MemoryStore) -> None:
    async def function() -> int:
        return 1

    await Once(store, ttl=60).claim("order")


async def work(store: MemoryStore) -> None:
    queue: Queue[Any] = Queue(store, "jobs", lease=60)
    await queue.push(1, id="given")
    job = await queue.take(timeout=0)
    if job is not None:
        async with job:
            pass
    await queue.push(2, delay=60)
    await queue.size()


async def visit(store: MemoryStore) -> None:
    sessions = Sessions(store)
    await sessions.of_user("ada")
    await sessions.revoke_user("ada")
    await sessions.create({"user": "ada"})


USES: list[Use] = [count, lock, share, limit, once, work, visit]


@cache
def states() -> list[tuple[int, int, bytes]]:
    """Return each entry that a use leaves: the number of the use, that of the entry, and its value as JSON."""
    found = []
    for number, use in enumerate(USES):
        for place, (_, _, value) in enumerate(run(left_by(use))):
            found.append((number, place, json.dumps(value).encode()))
    return found


async def left_by(use: Use) -> list[tuple[str, str, Any]]:
    store = MemoryStore()
    await use(store)
    return [(c, k, await store.get(c, k)) async for c in store.collections() async for k in store.keys(c)]


def seeds() -> Sequence[bytes]:
    return [bytes([number, place]) + value for number, place, value in states()]


def check(data: bytes) -> None:
    if len(data) > 2:
        run(use_with(USES[data[0] % len(USES)], data[1], data[2:]))


async def use_with(use: Use, place: int, value: bytes) -> None:
    """Use something again after one of its entries has become another one."""
    store = MemoryStore()
    await use(store)
    entries = [(c, k) async for c in store.collections() async for k in store.keys(c)]
    if entries:
        decoded = json_of(value)
        try:
            await store.put(*entries[place % len(entries)], value if decoded is None else decoded)
        except SatchelError:
            return
    try:
        await use(store)
    except SatchelError:
        return
