"""Answers that are remembered, so that a change whose answer was lost can be sent again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic
from typing import Final

from starlette.responses import Response

from .._threads import offload
from ..codec import LARGE
from .answers import RequestRefusedError, error_answer, invalid, overloaded
from .exchange import Exchange

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_COUNTED: Final = ("content-type", "if-match", "if-none-match", "satchel-ttl", "satchel-expires-at")
"""Headers that make two requests different ones."""
_MOST: Final = 100_000
_MOST_BYTES: Final = 64 << 20


@dataclass(slots=True, eq=False)
class Remembered:
    """One change with an id.

    Attributes:
        fingerprint: Identifies the request.
        answer: The answer, once there is one.
        until: When it may be forgotten, once there is an answer.
    """

    fingerprint: bytes
    answer: asyncio.Future[Response]
    until: float | None = None


class Replays:
    """The answers of the changes of the last seconds, by token and id.

    Args:
        instance: Identifies this run of the server.
        seconds: How long an answer is remembered.
    """

    def __init__(self, instance: str, seconds: float) -> None:
        self._instance = instance
        self._seconds = seconds
        self._known: dict[tuple[bytes, str], Remembered] = {}
        self._bytes = 0

    async def answer(self, exchange: Exchange, body: bytes, work: Callable[[], Awaitable[Response]]) -> Response:
        """Carry out a change, or return the answer that it got when it was sent before.

        Args:
            exchange: The request.
            body: Its body.
            work: Carries it out.

        Raises:
            RequestRefusedError: The id is malformed or belongs to another request, or it is a repetition that this
                server does not know.
        """
        request_id = exchange.headers.get("satchel-request-id")
        if request_id is None:
            return await work()
        if not _ID.fullmatch(request_id):
            raise invalid("Satchel-Request-Id must be 1 to 64 of A-Z a-z 0-9 . _ -")
        name = (exchange.access.owner, request_id)
        fingerprint = await _fingerprint(exchange, body)
        self._forget()
        known = self._known.get(name)
        if known is None:
            self._check_new(exchange)
            return await self._first(name, Remembered(fingerprint, asyncio.get_running_loop().create_future()), work)
        if known.fingerprint != fingerprint:
            message = "this Satchel-Request-Id belongs to another request; use a new one for every change"
            raise RequestRefusedError(409, "request_id_reused", message)
        return _again(await asyncio.shield(known.answer))

    async def _first(
        self, name: tuple[bytes, str], entry: Remembered, work: Callable[[], Awaitable[Response]]
    ) -> Response:
        self._known[name] = entry
        answer: Response | None = None
        try:
            try:
                answer = await work()
            except Exception as error:
                answer = error_answer(error)
        finally:
            if answer is not None and answer.status_code < 500:
                entry.until = monotonic() + self._seconds
                self._bytes += len(answer.body)
            else:
                del self._known[name]
            if answer is None:  # this request was cut off; those that wait for it cannot know more
                answer = error_answer(_unknown("the first request with this id was cut off"))
            entry.answer.set_result(answer)
        return answer

    def _check_new(self, exchange: Exchange) -> None:
        retried = exchange.headers.get("satchel-retry")
        if retried is not None and retried != self._instance:
            raise _unknown("this is not the run of the server that the change was first sent to")
        if len(self._known) >= _MOST or self._bytes >= _MOST_BYTES:
            raise overloaded("too many changes with ids in a short time")

    def _forget(self) -> None:
        now = monotonic()
        while self._known:
            name = next(iter(self._known))
            until = self._known[name].until
            if until is None or until > now:
                return
            self._bytes -= len(self._known.pop(name).answer.result().body)


def _unknown(why: str) -> RequestRefusedError:
    message = f"{why}; the change may have been made or not: read the entry, and decide"
    return RequestRefusedError(409, "outcome_unknown", message)


def _again(answer: Response) -> Response:
    twin = Response(answer.body, answer.status_code)
    twin.raw_headers = [*answer.raw_headers, (b"satchel-replayed", b"1")]
    return twin


async def _fingerprint(exchange: Exchange, body: bytes) -> bytes:
    parts = [exchange.method.encode(), exchange.scope.get("raw_path") or b"", exchange.scope["query_string"]]
    parts += [exchange.headers.get(name, "").encode() for name in _COUNTED]
    beginning = b"\0".join(parts)
    if len(body) < LARGE:
        return _digest(beginning, body)
    return await offload(_digest, beginning, body)


def _digest(beginning: bytes, body: bytes) -> bytes:
    hashed = blake2b(beginning, digest_size=16)
    hashed.update(b"\0")
    hashed.update(body)
    return hashed.digest()
