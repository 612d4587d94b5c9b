"""Changes that MongoDB reports: a change stream of the collection that holds the entries."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from bson.codec_options import CodecOptions

from ...backend.watching import Feed
from ...errors import StoreUnavailableError
from .document import names_in

NOT_A_REPLICA_SET = 40573
"""The code with which a server that stands alone refuses a change stream."""

_NAMES_ALONE = [{"$project": {"operationType": 1, "documentKey": 1}}]
_OF_ONE_ENTRY = frozenset({"insert", "update", "replace", "delete"})
_LONGEST_SILENCE = 1000
"""Milliseconds after which the server answers though nothing has changed: so a broken connection is noticed."""


async def report_changes(collection: Any, feed: Feed, with_timeout: Callable[[Awaitable[Any]], Awaitable[Any]]) -> None:
    """Report the changes of a collection of MongoDB, until the stream ends.

    The driver itself goes on where a stream was interrupted, so that nothing is missed.

    Args:
        collection: The driver's.
        feed: What is reported to.
        with_timeout: Awaits one request, for as long as a request may take.

    Raises:
        StoreUnavailableError: The stream has ended.
    """
    watched = collection.with_options(codec_options=CodecOptions())
    stream = watched.watch(_NAMES_ALONE, max_await_time_ms=_LONGEST_SILENCE)
    is_open = inspect.isawaitable(stream)  # Motor's opens with the first request
    if is_open:
        stream = await with_timeout(stream)
    async with stream:
        change = None if is_open else await with_timeout(stream.try_next())
        feed.ready()
        while stream.alive:
            if change is not None:
                _report(change, feed)
            change = await with_timeout(stream.try_next())
    raise StoreUnavailableError("the change stream has ended")


def _report(change: dict[str, Any], feed: Feed) -> None:
    name = change.get("documentKey", {}).get("_id")
    if change["operationType"] not in _OF_ONE_ENTRY:
        feed.lost()  # the collection was dropped or renamed
    elif isinstance(name, str) and "/" in name:
        feed.changed(*names_in(name))
