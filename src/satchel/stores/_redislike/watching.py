"""How a server is asked to report changes of keys, and what is made of its reports.

`CLIENT TRACKING ON BCAST PREFIX ...` makes it send the names of all changed keys with a prefix to one connection,
whichever client changes them, with every command and script, on expiry and eviction, and on FLUSHALL. It needs no
setting of the server. Each primary of a cluster is asked on a connection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from ..._threads import Yielder
from ...backend.watching import Feed
from .errors import ServerError
from .layout import Layout
from .line import Line, Push

CHECKED: Final = 5.0
"""Seconds between two looks at whether each connection is alive, and still goes to a primary."""
_MOST_PREFIXES = 32
"""A server compares each changed key with every prefix: past this number it is asked for all keys of the store."""

_INVALIDATE = b"invalidate"

Bound = Callable[[Awaitable[Any]], Awaitable[Any]]


class _TooManyError(Exception):
    """So many collections are watched now that all are to be asked for at once."""


async def report(lines: Sequence[Line], feed: Feed, layout: Layout, bound: Bound, check: Callable[[], Any]) -> None:
    """Report the changes that servers tell of, until a connection breaks, or all has to be asked for anew.

    Args:
        lines: Connections to all servers that hold keys of the store.
        feed: What changes are reported to.
        layout: What makes names of the servers' keys.
        bound: Awaits one request, no longer than that may take.
        check: Is awaited after each interval; raises if the servers are not the right ones any more.
    """

    async def told(push: Push) -> None:
        if push[0] != _INVALIDATE:
            return
        if push[1] is None:  # everything was removed
            feed.lost()
            return
        turns = Yielder()
        for key in push[1]:
            if (ref := layout.ref(key)) is not None:
                feed.changed(*ref)
            await turns.after_item()

    try:
        async with asyncio.TaskGroup() as group:
            for line in lines:
                group.create_task(line.listen(told))
            await bound(_prepare(lines))
            group.create_task(_check(lines, bound, check))
            await _subscribe(lines, feed, layout, bound)
    except ExceptionGroup as failures:
        if not isinstance(failures.exceptions[0], _TooManyError):
            raise failures.exceptions[0] from None
    finally:
        for line in lines:
            line.close()


async def _prepare(lines: Sequence[Line]) -> None:
    for line in lines:
        for command in (*line.greetings, ("HELLO", "3")):
            await line.ask(*command)
        # The server then drops the connection of a process that stopped reading, before what waits for it takes more
        # than 32 MB there. A user who may use no channel goes without.
        with suppress(ServerError):
            await line.ask("SUBSCRIBE", "__redis__:invalidate")


async def _subscribe(lines: Sequence[Line], feed: Feed, layout: Layout, bound: Bound) -> None:
    async def track(prefix: bytes) -> None:
        for line in lines:
            await line.ask("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", prefix)

    if len(feed.collections) > _MOST_PREFIXES:
        await bound(track(layout.front()))
        feed.ready()
        return
    asked = 0
    async for collection in feed.wanted():
        asked += 1
        if asked > _MOST_PREFIXES:
            raise _TooManyError
        await bound(track(layout.front(collection)))
        feed.ready(collection)


async def _check(lines: Sequence[Line], bound: Bound, check: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(CHECKED)
        for line in lines:
            await bound(line.ask("PING"))
        await check()
