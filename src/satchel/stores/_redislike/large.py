"""Large strings on their way to a Redis server and back, in pieces.

hiredis and asyncio copy a command or a reply as a whole, several times, and hold the interpreter meanwhile: 200 MB
would keep everything else waiting for half a second.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from typing import Any

from ...backend.record import HEADER_SIZE

_LARGE = 1024 * 1024
"""Size in bytes from which a reply is hidden from hiredis."""
_SLICE = 256 * 1024
"""Maximum number of bytes sent or read at once."""


class Pieces(list[bytes]):
    """Large string in the pieces in which it came; the first one has at least the header of an entry."""

    def keep(self, piece: bytes) -> None:
        """Append a piece."""
        if self and len(self[-1]) < HEADER_SIZE:
            self[-1] += piece
        else:
            self.append(piece)


class LargeReplies:
    """Filter between a connection and the parser of its replies, which takes out large strings.

    The parser sees a short string in the place of each, which `restored` puts right.

    Args:
        stream: The stream of replies, in RESP 2, from the beginning of one.
    """

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self._taken: dict[bytes, Pieces] = {}
        self._taking: Pieces | None = None
        self._left = 0
        self._line = b""

    async def read(self, size: int) -> bytes:
        """Return some bytes that the parser is to see; none at the end of the connection."""
        while True:
            data = await self._stream.read(size if self._taking is None else _SLICE)
            if not data or (passed := self._pass(self._line + data if self._line else data)):
                return data and passed

    def restored(self, replies: list[Any]) -> list[Any]:
        """Return the parser's replies with the hidden strings restored."""
        return [self._restored(reply) for reply in replies] if self._taken else replies

    def _restored(self, reply: Any) -> Any:
        if type(reply) is list:
            return [self._restored(item) for item in reply]
        return self._taken.get(reply, reply) if type(reply) is bytes else reply

    def _pass(self, data: bytes) -> bytes:
        """Go from line to line, over the strings between them, and return all but what is large.

        The beginning of a line whose end has not come is kept for the next time.
        """
        passed: list[bytes] = []
        at = self._skip(data, 0, passed)
        start = at if passed or self._taking is not None else 0
        self._line = b""
        while at < len(data):
            end = data.find(b"\r\n", at)
            if end < 0:
                self._line = data[at:]
                break
            length = int(data[at + 1 : end]) if data[at] == ord("$") else -1
            self._left = length + 2 if length >= 0 else 0
            if length < _LARGE:
                at = self._skip(data, end + 2, passed)
            else:
                passed.append(data[start:at])
                self._taking = Pieces()
                start = at = self._skip(data, end + 2, passed)
        if start == 0 and not self._line:
            return data
        passed.append(data[start : len(data) - len(self._line)])
        return b"".join(passed)

    def _skip(self, data: bytes, at: int, passed: list[bytes]) -> int:
        """Go over the string that has begun, and return where it ends, or this data does.

        When a large one has ended, what stands for it is passed.
        """
        end = min(at + self._left, len(data))
        if self._taking is not None:
            behind = max(self._left - 2, 0)  # the line's end is not part of it
            self._taking.keep(data[at : min(at + behind, end)])
        self._left -= end - at
        if self._taking is not None and not self._left:
            token = os.urandom(16)
            self._taken[token], self._taking = self._taking, None
            passed.append(b"$%d\r\n%s\r\n" % (len(token), token))
        return end


def packed_in_pieces(command: Sequence[str | bytes | tuple[bytes, ...]]) -> list[bytes]:
    """Return a command as it is sent; an argument that is a tuple is one in pieces, which are not copied."""
    pieces = [b"*%d\r\n" % len(command)]
    for argument in command:
        parts = argument if isinstance(argument, tuple) else (_encoded(argument),)
        pieces += (b"$%d\r\n" % sum(map(len, parts)), *parts, b"\r\n")
    return pieces


def slices(packed: Sequence[bytes]) -> Iterator[list[memoryview]]:
    """Yield the data to send in parts of at most `_SLICE` bytes."""
    part: list[memoryview] = []
    room = _SLICE
    for piece in packed:
        left = memoryview(piece)
        while left:
            part.append(left[:room])
            left = left[room:]
            room -= len(part[-1])
            if not room:
                yield part
                part, room = [], _SLICE
    if part:
        yield part


def is_large(packed: Sequence[bytes]) -> bool:
    """Return whether sending this takes more than one slice."""
    return sum(map(len, packed)) > _SLICE


def _encoded(argument: str | bytes) -> bytes:
    return argument.encode() if isinstance(argument, str) else argument
