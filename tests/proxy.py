"""A network that fails: a proxy on loopback between a store and its server."""

import asyncio
from typing import Self

HOST = "127.0.0.1"
CHUNK = 65536


class FaultyProxy:
    """Passes bytes on to a server, as badly as a test says.

    Attributes:
        port: Where it listens.
        silent: Swallow what the server says.
        refuse: Close new connections at once.
        delay: Seconds before each chunk of a reply.
        connections: So many have been made.
        answered: So many bytes of replies have come from the server.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.silent = False
        self.refuse = False
        self.delay = 0.0
        self.connections = 0
        self.answered = 0
        self._left: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Drop every connection now."""
        for writer in self._writers:
            writer.transport.abort()

    def cut_replies_after(self, size: int) -> None:
        """Pass so many more bytes of replies, then drop the connection; the next one is whole again."""
        self._left = size

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            if not self.refuse:
                await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the server has gone, one end was cut, or the test is over: so is the other end
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind = await asyncio.open_connection(HOST, self.target)
        self._writers.add(behind)
        try:
            there = asyncio.ensure_future(self._questions(reader, behind))
            back = asyncio.ensure_future(self._answers(behind_reader, writer))
            try:
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            self._writers.discard(behind)
            behind.transport.abort()

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            self.answered += len(chunk)
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.silent:
                continue
            left, self._left = self._left, None
            if left is not None and left < len(chunk):
                writer.write(chunk[:left])
                await writer.drain()
                return
            if left is not None:
                self._left = left - len(chunk)
            writer.write(chunk)
            await writer.drain()
