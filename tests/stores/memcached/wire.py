"""What the tests of `MemcachedStore` share: a raw connection, and servers that are not memcached."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

from scripts.test_servers.install import program
from scripts.test_servers.server import Server, ask
from tests.servers import server_url

HOST = "127.0.0.1"


def shared_port() -> int:
    """Return the port of the server that all tests share."""
    port = urlsplit(server_url("memcached")).port
    assert port is not None
    return port


def raw(port: int, request: bytes) -> bytes:
    """Send a request as it is, and return everything that comes back."""
    with socket.create_connection((HOST, port), timeout=10) as connection:
        connection.sendall(request + b"quit\r\n")
        connection.settimeout(10)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def store_raw(port: int, key: bytes, value: bytes) -> None:
    """Put a value under a key as another program does."""
    assert raw(port, b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value)) == b"STORED\r\n"


@asynccontextmanager
async def speaking(answer: Callable[[bytes], bytes | None]) -> AsyncIterator[int]:
    """Run a server that answers whatever comes in by a function, or hangs up where that gives None; give its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (question := await reader.read(65536)) and (said := answer(question)) is not None:
                writer.write(said)
                await writer.drain()
        except OSError:
            pass  # the other end hung up first
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def pause(server: Server) -> None:
    """Stop a server where it is, and return when it stands."""
    server.pause()
    os.waitid(os.P_PID, server.pid, os.WSTOPPED)


@contextmanager
def memcached_with(*options: str, users: str = "") -> Iterator[int]:
    """Run a memcached of the test's own with more options, for these users alone if there are any; give its port."""

    def begin(server: Server) -> str:
        port = server.port_for("main")
        command = [program("memcached", "memcached"), "-u", "nobody", "-l", HOST, "-p", str(port), "-U", "0"]
        file = server.directory / "users"
        file.write_text(users)
        server.spawn([*command, *options, *(["-Y", str(file)] if users else [])])
        server.wait_until(lambda: ask(port, b"version\r\n") != b"")
        return ""

    with Server("memcached", begin) as server:
        server.start()
        yield server.port
