"""Changes of a collection as server-sent events, for pages that show it live."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi.responses import StreamingResponse

from ..._checks import check_seconds
from ...change import Change
from ...collection import Collection
from ...errors import SatchelError

logger = logging.getLogger("satchel")

_KEEP_ALIVE = b": keep-alive\n\n"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back until it has some kilobytes
}


def change_stream(collection: Collection[Any], *, prefix: str = "", keep_alive: float = 15.0) -> StreamingResponse:
    """Return the response that reports the changes of a collection as server-sent events, until the client goes.

    ```python
    from typing import Annotated, Any

    from fastapi import FastAPI, Response
    from satchel import Collection, MemoryStore
    from satchel.integrations.fastapi import change_stream, collection, store_lifespan

    app = FastAPI(lifespan=store_lifespan(MemoryStore))

    @app.get("/users/changes")
    async def changes(users: Annotated[Collection[Any], collection("users")]) -> Response:
        return change_stream(users)
    ```

    A browser reads it by `new EventSource("/users/changes")`. The events are those of `Collection.watch`: `ready`,
    `changed` with `{"key": ...}`, and `lost`. List the collection after each `ready`, then read the keys of each
    `changed`: so nothing is missed. The browser connects again by itself, also when the store failed.

    A comment is sent when nothing has happened for a while, so that proxies keep the connection open, and a client that
    has gone is noticed. Start uvicorn with `timeout_graceful_shutdown`: it would wait for open streams.

    Args:
        collection: The collection.
        prefix: Only keys that begin with this.
        keep_alive: Seconds between comments.

    Raises:
        ConfigurationError: `keep_alive` is not a number above 0, or more than 100 years.
        InvalidKeyError: The prefix is not legal.
        UnsupportedOperationError: The store does not have `WATCH`.
    """
    check_seconds("keep_alive", keep_alive)
    events = _events(collection.watch(prefix=prefix), keep_alive)
    return StreamingResponse(events, media_type="text/event-stream", headers=dict(_HEADERS))


async def _events(
    watching: AbstractAsyncContextManager[AsyncIterator[Change]], keep_alive: float
) -> AsyncGenerator[bytes]:
    try:
        async with watching as changes:
            arriving: asyncio.Future[Change] | None = None
            try:
                while True:
                    arriving = arriving or asyncio.ensure_future(anext(changes))
                    await asyncio.wait([arriving], timeout=keep_alive)
                    if not arriving.done():
                        yield _KEEP_ALIVE
                        continue
                    change, arriving = arriving.result(), None
                    yield _event(change)
            finally:
                if arriving is not None:
                    arriving.cancel()
                    await asyncio.wait([arriving])
    except SatchelError as error:
        logger.warning("a stream of changes ends, and its client will connect again: %s", error)


def _event(change: Change) -> bytes:
    # In ASCII: some clients take every line separator of Unicode for the end of a line.
    data = json.dumps({} if change.key is None else {"key": change.key})
    return f"event: {change.kind}\ndata: {data}\n\n".encode()
