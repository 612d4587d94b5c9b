"""A server on a real socket, in the loop of the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from satchel._threads import in_thread
from satchel.server import create_app
from satchel.server.serving import GracefulServer, listening_socket

PLAIN = {"trust_env": False, "verify": False}
"""Options of a client without TLS: to load the certificates would take longer than most tests run."""


@asynccontextmanager
async def serving(store, **options) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a store on a free port, and give a client for it."""
    async with serving_app(create_app(store, **options)) as client:
        yield client


@asynccontextmanager
async def serving_app(app) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an ASGI app on a free port, and give a client for it."""
    listener = await in_thread(listening_socket, "127.0.0.1", 0)
    server = GracefulServer(app)
    running = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.001)
        assert not running.done()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=20, **PLAIN) as client:
        try:
            yield client
        finally:
            server.should_exit = True
            await running
            listener.close()


@asynccontextmanager
async def connected(client) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to the server of a client, and cut the connection off afterwards."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def exchange(client, request):
    """Send bytes as they are, and return what comes back until the server closes the connection."""
    async with connected(client) as (reader, writer):
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 20)
