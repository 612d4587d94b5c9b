"""Apps of satchel's server under one uvicorn in a thread of its own, each mounted under the name of its place."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import prometheus_client  # noqa: F401  # so that it is not imported on an event loop
import uvicorn

from satchel.protocol import AsyncKeyValue
from satchel.server import create_app


class Serving:
    """Server on a free port of loopback.

    Attributes:
        url: Where it is.
        port: Its port.
        apps: What is mounted where.
    """

    def __init__(self, port: int = 0) -> None:
        # With its protocol named: asyncio leaves Nagle's algorithm on where it is 0, and each answer takes 40 ms more.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.apps: dict[str, Any] = {}
        self._stores: list[AsyncKeyValue] = []
        config = uvicorn.Config(self._serve, interface="asgi3", log_config=None, lifespan="off", ws="none", access_log=False)
        self._server = uvicorn.Server(config)
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
        return f"{self.url}/{name}"

    async def _run(self) -> None:
        await self._server.serve(sockets=[self._socket])
        for store in self._stores:
            await store.aclose()

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope["path"].split("/")[1]
        await self.apps[name]({**scope, "root_path": f"/{name}"}, receive, send)
