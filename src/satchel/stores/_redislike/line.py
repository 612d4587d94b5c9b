"""`Line`: a connection that speaks RESP 3, on which the server may send something of its own accord at any time.

The clients' own connections are made for questions and answers. A line reads what comes all the time, tells what was
pushed, and gives each caller the reply to its command.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Final

from .errors import ServerError

_READ_AT_ONCE = 64 * 1024
_COMPACT_FROM = 64 * 1024


class Push(list[Any]):
    """What the server sent of its own accord: its kind, then what it says."""


class Parser:
    """Parser of RESP 3, as far as servers use it for what a line asks. It is fed bytes as they come."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0
        self._parsing: Generator[None, None, Any] | None = None

    def __repr__(self) -> str:
        return f"Parser({len(self._data) - self._at} bytes waiting)"

    def feed(self, data: bytes) -> list[Any]:
        """Take bytes, and return the replies and pushes that are whole now; an error is a `ServerError` among them."""
        self._data += data
        whole: list[Any] = []
        while True:
            if self._parsing is None:
                self._parsing = self._reply()
            try:
                next(self._parsing)
            except StopIteration as end:
                self._parsing = None
                whole.append(end.value)
            else:
                return whole
            if self._at >= _COMPACT_FROM or self._at == len(self._data):
                del self._data[: self._at]
                self._at = 0

    def _line(self) -> Generator[None, None, bytes]:
        while (end := self._data.find(b"\r\n", self._at)) < 0:
            yield
        line = bytes(self._data[self._at : end])
        self._at = end + 2
        return line

    def _text(self, size: int) -> Generator[None, None, bytes | None]:
        if size < 0:
            return None
        while len(self._data) < self._at + size + 2:
            yield
        text = bytes(self._data[self._at : self._at + size])
        self._at += size + 2
        return text

    def _reply(self) -> Generator[None, None, Any]:
        line = yield from self._line()
        kind, said = line[:1], line[1:]
        if kind in (b"$", b"="):
            return (yield from self._text(int(said)))
        if kind in (b"*", b"~", b">", b"%"):
            items: list[Any] = Push() if kind == b">" else []
            for _ in range(int(said) * (2 if kind == b"%" else 1)):
                items.append((yield from self._reply()))  # noqa: PERF401  # a comprehension cannot yield
            return items
        if kind == b":":
            return int(said)
        if kind == b"_":
            return None
        if kind == b"-":
            return ServerError(said.decode(errors="replace"))
        if kind in (b"+", b"#", b",", b"("):
            return said
        raise ConnectionError("the server does not speak RESP 3")


_SUBSCRIBED: Final = b"subscribe"
"""The kind of the push that is the reply to SUBSCRIBE."""


class Line:
    """Connection to one server; `listen` has to run for as long as it is used.

    Args:
        reader: What the server says. The connection is open.
        writer: What it is told.
        close: Closes the connection, without waiting.
        greetings: Commands that choose the user and the database.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        close: Callable[[], object],
        greetings: Sequence[Sequence[str]] = (),
    ) -> None:
        self._reader, self._writer = reader, writer
        self.close, self.greetings = close, greetings
        self._asking: deque[asyncio.Future[Any]] = deque()

    def __repr__(self) -> str:
        return f"Line({len(self._asking)} questions open)"

    async def ask(self, *command: str | bytes) -> Any:
        """Send a command and return its reply.

        Raises:
            ServerError: The reply is an error.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asking.append(answer)
        self._writer.write(_packed(command))
        reply = await answer
        if isinstance(reply, ServerError):
            raise reply
        return reply

    async def listen(self, told: Callable[[Push], Awaitable[None]]) -> None:
        """Read until the connection ends, and tell of each push.

        Raises:
            ConnectionError: The server closed it, or speaks another protocol.
        """
        parser = Parser()
        while data := await self._reader.read(_READ_AT_ONCE):
            for reply in parser.feed(data):
                if isinstance(reply, Push) and reply[0] != _SUBSCRIBED:
                    await told(reply)
                elif self._asking and not (answer := self._asking.popleft()).done():
                    answer.set_result(reply)
        raise ConnectionError("the server closed the connection")


def _packed(command: Sequence[str | bytes]) -> bytes:
    parts = [part.encode() if isinstance(part, str) else part for part in command]
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])
