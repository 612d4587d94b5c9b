"""Read, change, write back if unchanged: the loop behind every update."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from ._forks import at_fork, hold
from .clock import TTL, Until, as_datetime
from .entry import Entry
from .errors import ConflictError
from .protocol import SupportsConditional

_Place = tuple[asyncio.AbstractEventLoop, int, str, str]


class _Queue:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.members = 0
        self.holder: asyncio.Task[object] | None = None


_queues: dict[_Place, _Queue] = {}


def _leave_to_parent() -> None:
    """In a child of `fork`: drop the key locks of the parent, which nothing here would release."""
    hold(dict(_queues))
    _queues.clear()


at_fork(after_in_child=_leave_to_parent)


@asynccontextmanager
async def key_lock(store: object, collection: str, key: str) -> AsyncIterator[None]:
    """Hold the lock on a key for the length of a block, first come first served.

    Collections of one store share it. A queue exists only while it has members, which keep the store alive: so the
    store's identity can name it, whether or not the store is hashable.
    """
    place = _place(store, collection, key)
    queue = _queues.setdefault(place, _Queue())
    queue.members += 1
    try:
        async with queue.lock:
            queue.holder = asyncio.current_task()
            try:
                yield
            finally:
                queue.holder = None
    finally:
        queue.members -= 1
        if not queue.members and _queues.get(place) is queue:
            del _queues[place]


def holds_key_lock(store: object, collection: str, key: str) -> bool:
    """Return whether the running task holds the lock on a key, and so would wait for itself."""
    queue = _queues.get(_place(store, collection, key))
    return queue is not None and queue.holder is not None and queue.holder is asyncio.current_task()


def _place(store: object, collection: str, key: str) -> _Place:
    return (asyncio.get_running_loop(), id(store), collection, key)


T = TypeVar("T")

ATTEMPTS = 50
_FOUND_IN_A_ROW = 2
_UNKNOWN = as_datetime(0)
_SHORTEST_TTL = 1e-6
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.1
# A failed attempt costs the backend as much as a successful one: with eight writers, these pauses let most succeed.
_FIRST_PAUSE, _LAST_PAUSE = 4, 32  # multiples of the duration of an attempt


def random_pause(attempt: int, shortest: float, longest: float) -> float:
    """Return a random pause in seconds after a number of failed attempts: its bound doubles with each."""
    return random.uniform(0, min(shortest * 2.0 ** min(attempt, 30), longest))  # noqa: S311  # it spreads load, and hides nothing


class LastWrite:
    """Last write of an updater. While nobody else writes the entry, its next update needs no read.

    It is trusted after two reads in a row have found it, until a conditional write fails.
    """

    __slots__ = ("_entry", "_found")

    def __init__(self) -> None:
        self._entry: Entry | None = None
        self._found = 0

    def recall(self) -> Entry | None:
        """Return the entry as it was written; None if that is not reliable."""
        return self._entry if self._found >= _FOUND_IN_A_ROW else None

    def was_read(self, entry: Entry | None) -> None:
        """Compare with an entry that was read."""
        own = self._entry is not None and entry is not None and entry.version == self._entry.version
        self._found = self._found + 1 if own else 0

    def was_in_vain(self) -> None:
        """Note that another writer has changed the entry."""
        self._entry, self._found = None, 0

    def was_written(self, value: object, ttl: TTL | None, version: str) -> None:
        """Remember a write."""
        if ttl is None:
            deadline = None
        elif isinstance(ttl, Until):
            deadline = as_datetime(ttl.deadline)
        else:  # only the store knows the deadline
            self._entry = None
            return
        self._entry = Entry(value=value, version=version, updated_at=_UNKNOWN, expires_at=deadline, ttl=ttl, size=0)


async def optimistic_update(
    store: SupportsConditional,
    collection: str,
    key: str,
    change: Callable[[Entry | None], Awaitable[tuple[object, TTL | None, T]]],
    last: LastWrite | None = None,
) -> T:
    """Change an entry by a function, again with the new entry each time that another writer was faster.

    Changes of one key through one store object wait for each other.

    Args:
        store: The store.
        collection: The collection.
        key: The key.
        change: Takes the present entry, None for an absent one, and returns the value to write, its time to live, and
            the result for the caller.
        last: The caller's last write to this entry, which may save the read.

    Raises:
        ConflictError: Other writers were faster every time.
    """
    if last is not None and (entry := last.recall()) is not None:
        value, ttl, result = await change(entry)
        version = await store.compare_and_put(collection, key, value, version=entry.version, ttl=ttl)
        if version is not None:
            last.was_written(value, ttl, version)
            return result
        last.was_in_vain()
    async with key_lock(store, collection, key):
        loop, took = asyncio.get_running_loop(), 0.0
        for attempt in range(ATTEMPTS):
            if attempt:  # if an attempt takes long here, so does everybody else's
                longest = max(_LONGEST_PAUSE, _LAST_PAUSE * took)
                await asyncio.sleep(random_pause(attempt, max(_SHORTEST_PAUSE, _FIRST_PAUSE * took), longest))
            begun = loop.time()
            entry = await store.get_entry(collection, key)
            if last is not None:
                last.was_read(entry)
            value, ttl, result = await change(entry)
            if entry is None:
                version = await store.put_if_absent(collection, key, value, ttl=ttl)
            else:
                version = await store.compare_and_put(collection, key, value, version=entry.version, ttl=ttl)
            if version is not None:
                if last is not None:
                    last.was_written(value, ttl, version)
                return result
            took = loop.time() - begun
    raise ConflictError(
        f"update of key {key!r} in collection {collection!r}: others wrote it first, {ATTEMPTS} times in a row",
        store=repr(store),
        operation="update",
        collection=collection,
        key=key,
    )


def remaining(entry: Entry | None) -> TTL | None:
    """Return the time to live that keeps an entry's deadline; None if it has none."""
    if entry is None or entry.ttl is None or entry.expires_at is None:
        return None
    return Until(max(entry.ttl, _SHORTEST_TTL), entry.expires_at.timestamp())


def check_plain(function: object) -> None:
    """Raise unless the argument is a plain function; coroutine functions are refused."""
    if not callable(function):
        raise TypeError(f"update takes a function, got {type(function).__name__}")
    if inspect.iscoroutinefunction(function):
        raise _no_plain_function()


def plain_result(value: T) -> T:
    """Return the result of an update's function; if it is awaitable, close it and raise TypeError."""
    if not inspect.isawaitable(value):
        return value
    abandon = getattr(value, "close", None) or getattr(value, "cancel", None)
    if abandon is not None:
        abandon()
    raise _no_plain_function()


def _no_plain_function() -> TypeError:
    return TypeError("update takes a plain function; await its inputs first, because it may be called many times")
