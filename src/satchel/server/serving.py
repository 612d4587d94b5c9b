"""uvicorn with bounds on its connections, as `satchel serve` runs it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import missing_extra
from .app import ServerApp

try:
    import h11
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ModuleNotFoundError as error:
    raise missing_extra("satchel serve", "server", error) from error

_MOST_CONNECTIONS = 1_000
_IDLE_SECONDS = 75
"""Longer than the minute for which proxies keep a connection, so that they are the ones that close it."""
_STOP_SECONDS = 30


class BoundedProtocol(H11Protocol):
    """Connection that is cut off when no whole request arrives in time, or an answer is not taken.

    uvicorn has no limit on how long a client may take for the head of a request.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin."""
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        if self._is_busy():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self._is_busy():
            self._await_request()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and end the request that it belongs to, which would answer into a closed one."""
        if self._is_busy():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        with suppress(h11.LocalProtocolError):  # an answer has begun, or to HEAD: there cannot be one with a body
            super().send_400_response(msg)
        self.transport.close()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_request(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(_IDLE_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        if not self._is_busy():
            self.transport.abort()


class GracefulServer(uvicorn.Server):
    """Server that, when it is told to stop, finishes the requests under way and ends its streams.

    Args:
        app: The app.
    """

    def __init__(self, app: ServerApp) -> None:
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # it would have the keys
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        super().__init__(config)
        self._served = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        if isinstance(self._served, ServerApp):
            self._served.end_streams()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM, and return, so that the store is closed; uvicorn would raise them again."""
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address. This blocks while it looks up a name.

    Raises:
        OSError: The address is taken, or is none of this machine.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    # Not by create_server: asyncio leaves Nagle's algorithm on where a socket does not name its protocol, and each
    # answer that has a body would take 40 ms more.
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener
