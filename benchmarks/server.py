"""A small value over HTTP, next to a route of Starlette that returns constant JSON.

Each server has a process of its own, on the same uvicorn with the same limits. The client sends bytes prepared before,
over several connections, and looks only for the end of each answer, so that the servers are what is measured.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.harness import Contender, Report, Work
from satchel import MemoryStore
from satchel.server import create_app
from satchel.server.serving import GracefulServer, listening_socket

STEPS = 800
CONNECTIONS = 8
END = b'org"}'
"""The end of each answer."""
VALUE = {"name": "Ada Lovelace", "email": "ada@example.org"}
PATHS = {"Starlette, constant JSON": "/constant", "satchel, GET of a value": "/v1/c/users/ada"}


async def constant(_request: Request) -> JSONResponse:
    return JSONResponse(VALUE)


async def serve(name: str) -> None:
    """Serve one of the two until killed, and write the port to standard output."""
    store = MemoryStore()
    await store.put("users", "ada", VALUE)
    apps: dict[str, Any] = {
        "Starlette, constant JSON": Starlette(routes=[Route("/constant", constant)]),
        "satchel, GET of a value": create_app(store),
    }
    listener = listening_socket("127.0.0.1", 0)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await GracefulServer(apps[name]).serve([listener])


def contender(name: str) -> Contender:
    """Return what asks one of the servers."""
    request = f"GET {PATHS[name]} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode()

    @asynccontextmanager
    async def ready() -> AsyncIterator[Work]:
        command = [sys.executable, "-m", "benchmarks.server", name]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220, S603  # our own
        port = int(server.stdout.readline()) if server.stdout else 0
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]

        async def work(steps: range) -> None:
            reader, writer = connections.pop()
            for _ in steps:
                writer.write(request)
                await reader.readuntil(END)
            connections.append((reader, writer))

        try:
            yield work
        finally:
            for _, writer in connections:
                writer.close()
            server.terminate()
            server.communicate()

    return ready


def run(report: Report) -> None:
    """Measure."""
    contenders = {name: contender(name) for name in PATHS}
    report.compare("GET of a small value over HTTP", contenders, steps=STEPS, tasks=CONNECTIONS)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
