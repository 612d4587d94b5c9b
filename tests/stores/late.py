"""A network that delivers late: what was asked reaches the server after who asked has given up, and gone on."""

import asyncio

from tests.proxy import CHUNK, HOST, FaultyProxy


class LateProxy(FaultyProxy):
    """Passes bytes on, and keeps back what it is asked while it holds.

    Attributes:
        holding: Keep back what is asked.
        held: What has been kept back.
    """

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.holding = False
        self.held = b""
        self._more = asyncio.Event()

    async def deliver(self) -> bytes:
        """Let what was kept back reach the server, and return the beginning of its answer."""
        reader, writer = await asyncio.open_connection(HOST, self.target)
        writer.write(self.held)
        answer = await reader.read(CHUNK)
        writer.close()
        await writer.wait_closed()
        return answer

    async def received(self, end: bytes) -> None:
        """Wait until what was kept back ends with this."""
        while not self.held.endswith(end):
            self._more.clear()
            await self._more.wait()

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            if self.holding:
                self.held += chunk
                self._more.set()
                continue
            writer.write(chunk)
            await writer.drain()
