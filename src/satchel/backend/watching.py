"""Watching: one feed of changes for a store, shared by all its watchers.

A backend's hook `_watch` reports what changes to a `Feed`. The feed starts with the first watcher and ends with the
last; when the hook fails, it is called again after a pause, and the watchers are told that they may have missed
something. A `Watcher` keeps what its caller has not taken yet: each key once, and no more than `MAX_WAITING`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from .._contexts import task_in_empty_context
from .._forks import hold, random_numbers
from .._shielding import shielded
from ..change import Change
from ..errors import SatchelError, StoreClosedError

logger = logging.getLogger("satchel")

MAX_WAITING = 10_000
"""Maximum number of changed keys that wait for one watcher; then they are forgotten, and it is told `lost`."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


class Watcher:
    """Iterator over the changes of one collection: level, not log.

    Equal keys that wait are one. What is told comes in this order: `lost`, `ready`, changed keys; a `lost` makes all
    that waited before it superfluous. Between a `lost` and the next `ready` no key is told: what is read then may go
    out of date unheard. Keys may be reported by other threads.

    Args:
        collection: The collection.
        prefix: Only keys that start with this are reported.
    """

    def __init__(self, collection: str, prefix: str) -> None:
        self.collection, self.prefix = collection, prefix
        self._keys: OrderedDict[str, None] = OrderedDict()
        self._is_heard = self._lost_waits = self._ready_waits = False
        self._end: SatchelError | None = None
        self._lock = threading.Lock()
        self._told = asyncio.Event()
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()

    def __repr__(self) -> str:
        return f"Watcher({self.collection!r}, prefix={self.prefix!r}, {len(self._keys)} waiting)"

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Change:
        while True:
            with self._lock:
                change = self._take()
                if change is not None:
                    return change
                if self._end is not None:
                    raise self._end.again()
                self._told.clear()
            await self._told.wait()

    def ready(self) -> None:
        """Note that the store's changes are reported from now on."""
        with self._lock:
            if not self._is_heard:
                self._is_heard = self._ready_waits = True
                self._wake()

    def changed(self, key: str) -> None:
        """Note a changed key."""
        if not key.startswith(self.prefix):
            return
        with self._lock:
            if not self._is_heard or self._lost_waits or key in self._keys:
                return
            if len(self._keys) < MAX_WAITING:
                self._keys[key] = None
                self._wake()
            else:
                self._lose()

    def lost(self) -> None:
        """Note that changes may have been missed, though the following ones are reported."""
        with self._lock:
            if self._is_heard:
                self._lose()

    def down(self) -> None:
        """Note that nothing is reported until the next `ready`."""
        with self._lock:
            if self._is_heard:
                self._is_heard = False
                self._lose()

    def end(self, error: SatchelError) -> None:
        """Have the iteration end with an error, once what waits has been taken."""
        with self._lock:
            self._end = error
            self._wake()

    def _lose(self) -> None:
        self._keys.clear()
        self._lost_waits, self._ready_waits = True, self._is_heard
        self._wake()

    def _take(self) -> Change | None:
        if self._lost_waits:
            self._lost_waits = False
            return Change("lost", self.collection)
        if self._ready_waits:
            self._ready_waits = False
            return Change("ready", self.collection)
        return Change("changed", self.collection, self._keys.popitem(last=False)[0]) if self._keys else None

    def _wake(self) -> None:
        if self._told.is_set():
            return
        with suppress(RuntimeError):  # its loop has been closed
            if threading.get_ident() == self._thread:
                self._told.set()
            else:
                self._loop.call_soon_threadsafe(self._told.set)


class Watched(Protocol):
    """Store as a feed sees it."""

    async def _watch(self, feed: Feed) -> None: ...


class Feed:
    """What the hook `_watch` reports to: `ready` first, then `changed`, and `lost` where it cannot tell what changed.

    `ready`, `changed` and `lost` may be called in any thread.

    Args:
        store: The store that is watched.
        translate: Function that returns the satchel error for what the hook raised.
    """

    def __init__(self, store: Watched, translate: Callable[[Exception], SatchelError]) -> None:
        self._store, self._translate = store, translate
        self._watchers: dict[str, tuple[Watcher, ...]] = {}  # tuples: other threads iterate over them
        self._heard: set[str] = set()
        self._hears_all = self._was_heard = self._is_down = self._is_ended = False
        self._joining: dict[Watcher, asyncio.Future[None]] = {}
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Feed({list(self._watchers)})"

    # What the hook calls.

    @property
    def collections(self) -> list[str]:
        """The collections that are watched now."""
        return list(self._watchers)

    async def wanted(self) -> AsyncIterator[str]:
        """Iterate over the collections that are watched now, then over those that others begin to watch, without end.

        It is for an engine that reports the changes of one collection apart from those of others. `ready` is then
        called with each.
        """
        given: set[str] = set()
        while True:
            self._more.clear()
            for collection in self.collections:
                if collection not in given:
                    given.add(collection)
                    yield collection
            await self._more.wait()

    def ready(self, collection: str | None = None) -> None:
        """Say that every change from now on is reported: of one collection, or of all, also those watched later."""
        if collection is None:
            self._hears_all = True
        else:
            self._heard.add(collection)
        self._was_heard, self._is_down = True, False
        for watcher in self._of(collection):
            watcher.ready()
            joining = self._joining.pop(watcher, None)
            if joining is not None:
                with suppress(RuntimeError):  # its loop has been closed
                    joining.get_loop().call_soon_threadsafe(_resolve, joining)

    def changed(self, collection: str, key: str) -> None:
        """Report that an entry was put, removed or given another deadline, or has expired."""
        for watcher in self._watchers.get(collection, ()):
            watcher.changed(key)

    def lost(self, collection: str | None = None) -> None:
        """Report that anything may have changed, in one collection or in all; what follows is reported again."""
        for watcher in self._of(collection):
            watcher.lost()

    def _of(self, collection: str | None) -> list[Watcher]:
        if collection is not None:
            return list(self._watchers.get(collection, ()))
        return [watcher for watchers in list(self._watchers.values()) for watcher in watchers]

    # What the store calls, on the feed's own loop.

    @property
    def is_idle(self) -> bool:
        """Whether nobody watches."""
        return not self._watchers

    async def join(self, watcher: Watcher) -> None:
        """Add a watcher; return when its collection is heard, or at once while the connection is being restored.

        Raises:
            SatchelError: The hook failed before the collection was heard.
        """
        self._watchers[watcher.collection] = (*self._watchers.get(watcher.collection, ()), watcher)
        self._more.set()
        if self._task is None:
            self._task = task_in_empty_context(self._run())
        if self._hears_all or watcher.collection in self._heard:
            watcher.ready()
        elif not self._is_down:
            self._joining[watcher] = joining = asyncio.get_running_loop().create_future()
            await joining

    def leave(self, watcher: Watcher) -> None:
        """Take a watcher out."""
        self._joining.pop(watcher, None)
        left = tuple(other for other in self._watchers.get(watcher.collection, ()) if other is not watcher)
        if left:
            self._watchers[watcher.collection] = left
        else:
            self._watchers.pop(watcher.collection, None)

    async def end(self) -> None:
        """Cancel the hook and wait until it has released its connection."""
        self._is_ended = True  # a hook whose tasks fail as it is cancelled may raise their error instead
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def refuse(self, error: SatchelError) -> None:
        """Have all watchers end with an error."""
        for watcher in self._of(None):
            watcher.end(error)
        for joining in self._joining.values():
            if not joining.done():
                joining.set_exception(error.again())

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            failure: SatchelError | None = None
            try:
                await self._store._watch(self)
            except Exception as error:
                failure = self._translate(error)
            if self._hears_all or self._heard:
                pause = _FIRST_PAUSE
                if failure is not None:
                    logger.warning("watchers may have missed changes until the connection is restored: %s", failure)
            self._down(failure)
            if self._is_ended:
                return
            await asyncio.sleep(pause * random_numbers(None).uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _down(self, failure: SatchelError | None) -> None:
        self._hears_all, self._is_down = False, failure is not None and self._was_heard
        self._heard.clear()
        for watcher in self._of(None):
            watcher.down()
        if failure is None:
            return  # who joined waits for the next `ready`
        for joining in self._joining.values():
            if not joining.done():
                joining.set_exception(failure.again())
        self._joining.clear()


def _resolve(joining: asyncio.Future[None]) -> None:
    if not joining.done():
        joining.set_result(None)


class Watching:
    """The feeds of one store: one for each event loop on which somebody watches.

    Args:
        store: The store.
        translate: As for `Feed`.
    """

    def __init__(self, store: Watched, translate: Callable[[Exception], SatchelError]) -> None:
        self._store, self._translate = store, translate
        self._feeds: dict[asyncio.AbstractEventLoop, Feed] = {}

    def __repr__(self) -> str:
        return f"Watching({self._store!r}, {len(self._feeds)} feeds)"

    @asynccontextmanager
    async def watch(self, collection: str, prefix: str, opened: Callable[[Any], Any]) -> AsyncIterator[Watcher]:
        """Watch a collection; `opened` awaits an opening step as a call to the store."""
        watcher = Watcher(collection, prefix)
        loop = asyncio.get_running_loop()
        feed: Feed | None = None

        async def join() -> None:
            nonlocal feed
            feed = self._feeds.get(loop)
            if feed is None:
                feed = self._feeds[loop] = Feed(self._store, self._translate)
            await feed.join(watcher)

        try:
            await opened(join)
            yield watcher
        finally:
            if feed is not None:
                feed.leave(watcher)
                if feed.is_idle:
                    if self._feeds.get(loop) is feed:
                        del self._feeds[loop]
                    await shielded(feed.end, _ignore)

    async def close(self, error: StoreClosedError) -> None:
        """End all feeds; their watchers get the error."""
        feeds, self._feeds = self._feeds, {}
        here = asyncio.get_running_loop()
        for loop, feed in feeds.items():
            if loop is here:
                feed.refuse(error)
                await feed.end()
            else:
                with suppress(RuntimeError):  # it has been closed
                    loop.call_soon_threadsafe(_end_there, feed, error)

    def forget(self) -> None:
        """Drop the feeds of a closed event loop."""
        self._feeds = {}

    def disown(self) -> None:
        """Drop the parent's feeds in a child of `fork`."""
        hold(self._feeds)
        self._feeds = {}


def _end_there(feed: Feed, error: SatchelError) -> None:
    feed.refuse(error)
    if feed._task is not None:
        feed._task.cancel()


def _ignore(error: Exception) -> None:
    """A feed's end raises nothing that anybody could use."""
