"""Changes of a collection as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ..change import Change
from ..errors import SatchelError
from ..protocol import SupportsEverything
from .answers import error_fields
from .exchange import Exchange, client_is_gone

EVENTS: Final = "text/event-stream"
_ALIVE_SECONDS: Final = 15
_encode = msgspec.json.Encoder().encode
Watching = AbstractAsyncContextManager[AsyncIterator[Change]]


def watch(store: SupportsEverything, exchange: Exchange, ending: asyncio.Event) -> EventStream:
    """Answer `GET` of the changes of a collection.

    Args:
        store: The store.
        exchange: The request.
        ending: Set when the server ends.
    """
    prefix = exchange.query("prefix").get("prefix", "")
    return EventStream(store.watch(exchange.resource.collection, prefix=prefix), ending)


class EventStream(StreamingResponse):
    """Answer that passes on changes until the client goes away or the server ends.

    All of it runs in one task, the one that enters what the store gives.

    Args:
        watching: What `watch` of the store returned.
        ending: Set when the server ends.
    """

    def __init__(self, watching: Watching, ending: asyncio.Event) -> None:
        super().__init__((), media_type=EVENTS)
        self._watching = watching
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        stops: set[asyncio.Future[Any]] = {
            asyncio.ensure_future(client_is_gone(receive)),
            asyncio.ensure_future(self._ending.wait()),
        }
        try:
            async with self._watching as changes:
                await _pass_on(changes, stops, send)
        except SatchelError as error:
            await _send_event(send, "failed", error_fields(error)[1])
        finally:
            for stop in stops:
                stop.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pass_on(changes: AsyncIterator[Change], stops: set[asyncio.Future[Any]], send: Send) -> None:
    change = asyncio.ensure_future(anext(changes))
    try:
        while True:
            await asyncio.wait({change, *stops}, timeout=_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if any(stop.done() for stop in stops):
                return
            if change.done():
                await _send_event(send, change.result().kind, {"key": change.result().key})
                change = asyncio.ensure_future(anext(changes))
            else:
                await _send(send, b": the connection is alive\n\n")
    finally:
        change.cancel()
        with suppress(asyncio.CancelledError, SatchelError):
            await change


async def _send_event(send: Send, kind: str, content: object) -> None:
    await _send(send, b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(content)))


async def _send(send: Send, content: bytes) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": True})
