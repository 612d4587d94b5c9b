"""The proxy fails as it was told to, and only then."""

import asyncio

import pytest

from tests.proxy import HOST, FaultyProxy


@pytest.fixture
async def echo():
    async def answer(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def ask(port, line, seconds=50):
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(line)
        await writer.drain()
        return await asyncio.wait_for(reader.read(100), seconds)
    finally:
        writer.transport.abort()


async def test_it_passes_bytes_on(echo):
    async with FaultyProxy(echo) as proxy:
        assert await ask(proxy.port, b"hello\n") == b"hello\n"
        assert proxy.connections == 1


async def test_a_reply_is_cut_once(echo):
    async with FaultyProxy(echo) as proxy:
        proxy.cut_replies_after(8)
        assert await ask(proxy.port, b"hello\n") == b"hello\n"
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"hello\n")
        assert await reader.readexactly(1) == b"h"
        with pytest.raises((asyncio.IncompleteReadError, OSError)):
            await reader.readexactly(2)
        writer.transport.abort()
        assert await ask(proxy.port, b"hello\n") == b"hello\n"


async def test_it_is_silent(echo):
    async with FaultyProxy(echo) as proxy:
        proxy.silent = True
        with pytest.raises(TimeoutError):
            await ask(proxy.port, b"hello\n", seconds=0.2)
        proxy.silent = False
        assert await ask(proxy.port, b"hello\n") == b"hello\n"


async def test_it_refuses_and_cuts(echo):
    async with FaultyProxy(echo) as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        proxy.cut()
        with pytest.raises((asyncio.IncompleteReadError, OSError)):
            await reader.readexactly(1)
        writer.transport.abort()
        proxy.refuse = True
        with pytest.raises((AssertionError, OSError)):
            assert await ask(proxy.port, b"hello\n") == b"hello\n"
