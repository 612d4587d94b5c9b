"""Who updates the same entry of the same store on the same event loop waits in a queue, rather than losing races."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .forks import at_fork, hold

_Place = tuple[asyncio.AbstractEventLoop, int, str, str]


class _Queue:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.members = 0
        self.holder: asyncio.Task[object] | None = None


_queues: dict[_Place, _Queue] = {}


def _leave_to_parent() -> None:
    """In a child of `fork`: nobody here gives the turns back that were taken in the parent."""
    hold(dict(_queues))
    _queues.clear()


at_fork(after_in_child=_leave_to_parent)


@asynccontextmanager
async def one_at_a_time(store: object, collection: str, key: str) -> AsyncIterator[None]:
    """Hold the only turn for a key for the length of a block, first come first served.

    Collections of one store share it. A queue is kept only while it has members, who keep the store alive: so the
    store's identity names it, whether or not the store can be hashed.
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


def has_turn(store: object, collection: str, key: str) -> bool:
    """Say whether the running task has the turn for a key: it would wait for itself."""
    queue = _queues.get(_place(store, collection, key))
    return queue is not None and queue.holder is not None and queue.holder is asyncio.current_task()


def _place(store: object, collection: str, key: str) -> _Place:
    return (asyncio.get_running_loop(), id(store), collection, key)
