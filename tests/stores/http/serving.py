"""Apps of satchel's server on one socket, served by a thread of its own, each mounted under the name of its place."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import prometheus_client  # noqa: F401  # so that it is not imported on an event loop

from satchel.protocol import AsyncKeyValue
from satchel.server import create_app
from satchel.server.serving import GracefulServer, listening_socket


class Serving:
    """Server on loopback.

    Attributes:
        port: Its port.
        apps: What is mounted where.

    Args:
        port: The port; 0 is any free one.
    """

    def __init__(self, port: int = 0) -> None:
        self._socket = listening_socket("127.0.0.1", port)
        self.port: int = self._socket.getsockname()[1]
        self.apps: dict[str, Any] = {}
        self._stores: list[AsyncKeyValue] = []
        self._server = GracefulServer(self._serve)
        self._server.config.interface = "asgi3"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()

    def mount(self, name: str, make: Callable[[], AsyncKeyValue], **options: Any) -> str:
        """Return the URL of an app over a store, which is made if there is none under this name."""
        if name not in self.apps:
            store = make()
            self._stores.append(store)
            self.apps[name] = create_app(store, **options)
        return f"http://127.0.0.1:{self.port}/{name}"

    async def _run(self) -> None:
        await self._server.serve(sockets=[self._socket])
        for store in self._stores:
            await store.aclose()

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope["path"].split("/")[1]
        await self.apps[name]({**scope, "root_path": f"/{name}"}, receive, send)
