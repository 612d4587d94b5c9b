"""Memcached's text protocol: what a reply must look like, and one question at a time over one connection.

No parser of the known clients will do: emcache takes a reply for whole whenever what has come by then ends in `END`,
which a value may do too, and gives back memory that was never part of the value.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from typing import cast

_LONGEST_LINE = 2048
_VALUE = re.compile(rb"VALUE ([^ \r\n]+) \d+ (\d+) (\d+)\r\n")
_STAT = re.compile(rb"STAT ([^ \r\n]+) ([^\r\n]*)\r\n")


class RefusedError(Exception):
    """Answer of the server that does not belong to the question.

    Attributes:
        line: What it said, which may hold part of a value.
    """

    def __init__(self, line: bytes) -> None:
        super().__init__("an answer that does not fit the question")
        self.line = line


class Reply(ABC):
    """One reply, assembled from the data received."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._held = 0
        self._needed = 0

    def feed(self, data: bytes) -> bool:
        """Add received data; return whether the reply is complete.

        Raises:
            RefusedError: It is no reply to the question.
        """
        self._chunks.append(data)
        self._held += len(data)
        if self._held < self._needed:
            return False
        text = data if len(self._chunks) == 1 else b"".join(self._chunks)
        whole, used, self._needed = self._take(text)
        if whole and used < len(text):
            raise RefusedError(b"more than was asked for")
        self._chunks, self._held = [text[used:]] if used < len(text) else [], len(text) - used
        return whole

    @abstractmethod
    def _take(self, text: bytes) -> tuple[bool, int, int]:
        """Return whether the reply is whole, how much of the text is done with, and how much of it more is needed."""


class Lines(Reply):
    """One line of reply for each of several commands."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self.lines: list[bytes] = []

    def _take(self, text: bytes) -> tuple[bool, int, int]:
        *lines, rest = text.split(b"\r\n")
        self.lines += lines
        if len(self.lines) > self._count or len(rest) > _LONGEST_LINE:
            raise RefusedError(self.lines[0] if self.lines else rest)
        return len(self.lines) == self._count, len(text) - len(rest), 0


class Greeting(Lines):
    """Line in which memcached names its version."""

    def __init__(self) -> None:
        super().__init__(1)

    def _take(self, text: bytes) -> tuple[bool, int, int]:
        taken = super()._take(text)
        if self.lines and not self.lines[0].startswith(b"VERSION "):
            raise RefusedError(self.lines[0])
        return taken


class Values(Reply):
    """Reply of `gets`: under each key the value and its CAS token."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[bytes, tuple[bytes, int]] = {}

    def _take(self, text: bytes) -> tuple[bool, int, int]:
        position = 0
        while match := _VALUE.match(text, position):
            start = match.end()
            stop = start + int(match[2])
            if len(text) < stop + 2:
                return False, position, stop + 2 - position
            if not text.startswith(b"\r\n", stop):
                raise RefusedError(b"a value of another length")
            self.found[match[1]] = text[start:stop], int(match[3])
            position = stop + 2
        if text.startswith(b"END\r\n", position):
            return True, position + 5, 0
        _check_beginning(text, position)
        return False, position, 0


class Settings(Reply):
    """Reply of `stats settings`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[bytes, bytes] = {}

    def _take(self, text: bytes) -> tuple[bool, int, int]:
        position = 0
        while match := _STAT.match(text, position):
            self.found[match[1]] = match[2]
            position = match.end()
        if text.startswith(b"END\r\n", position):
            return True, position + 5, 0
        _check_beginning(text, position)
        return False, position, 0


def _check_beginning(text: bytes, position: int) -> None:
    """Refuse a whole line that is not one of the reply's; one that is not whole may still become one."""
    line, ended, _ = text[position : position + _LONGEST_LINE].partition(b"\r\n")
    if ended or len(line) == _LONGEST_LINE:
        raise RefusedError(line)


class Connection(asyncio.Protocol):
    """Connection over which one question at a time is asked.

    Args:
        transport: One that is connected; None when `connection_made` will bring it.
    """

    def __init__(self, transport: asyncio.Transport | None = None) -> None:
        self._reply: Reply | None = None
        self._answered: asyncio.Future[None] | None = None
        self._lost = asyncio.get_running_loop().create_future()
        if transport is not None:
            self.transport = transport

    @property
    def closed(self) -> bool:
        """Whether no question can be asked any more."""
        return self.transport.is_closing()

    async def ask(self, request: bytes, reply: Reply) -> None:
        """Send a request, and return when the reply is whole. After any failure the connection must be cut.

        Raises:
            ConnectionResetError: The connection was lost.
            RefusedError: The data received is not a reply to this.
        """
        if self.closed:
            raise ConnectionResetError
        self._reply = reply
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            await self._answered
        finally:
            self._reply = self._answered = None

    def cut(self) -> None:
        """End the connection now."""
        self.transport.abort()

    async def ended(self) -> None:
        """Wait until nothing of a connection that was cut is left."""
        await asyncio.shield(self._lost)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take part of a reply."""
        if self._reply is None or self._answered is None or self._answered.done():
            self.cut()  # nobody asked: what this answers cannot be known
            return
        try:
            if self._reply.feed(data):
                self._answered.set_result(None)
        except RefusedError as error:
            self._answered.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the question under way."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionResetError())
        if not self._lost.done():
            self._lost.set_result(None)
