"""A server on a real socket, in the loop of the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from satchel._threads import in_thread
from satchel.server import create_app
from satchel.server.serving import GracefulServer, listening_socket


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
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
            yield client
    finally:
        server.should_exit = True
        await running
        listener.close()


def address(client):
    """Return the host and the port that a client talks to."""
    return client.base_url.host, client.base_url.port


async def exchange(client, request):
    """Send bytes as they are, and return what comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection(*address(client))
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
