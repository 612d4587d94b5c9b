"""`Exchange`: one request, and the limits within which its body is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from .access import Access
from .answers import RequestRefusedError, overloaded
from .paths import Resource, query_of


class BodyLimits:
    """Account of the bodies that a server holds in memory, with its bounds.

    Args:
        max_body: Bytes of one body.
        max_total: Bytes of all bodies that are being read or worked on.
    """

    def __init__(self, max_body: int, max_total: int) -> None:
        self.max_body = max_body
        self.max_total = max_total
        self.held = 0


@dataclass(slots=True)
class Exchange:
    """One request.

    Attributes:
        scope: The ASGI scope.
        receive: The ASGI function that gives the body.
        headers: The headers by lower-case name; one that is repeated is joined by commas.
        resource: What it is about.
        access: What it may do.
        limits: The limits of its body.
        held: Bytes of its body that count towards them.
        content: The body, once it has been read.
        is_reading: Whether the body is being read.
    """

    scope: Any
    receive: Any
    headers: dict[str, str]
    resource: Resource
    access: Access
    limits: BodyLimits
    held: int = 0
    content: bytes | None = None
    is_reading: bool = False

    @property
    def method(self) -> str:
        """The method, in upper case."""
        method: str = self.scope["method"]
        return method

    def query(self, *known: str) -> dict[str, str]:
        """Return the parameters of the query; one that is not known is refused."""
        return query_of(self.scope, *known)

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            ClientDisconnect: The client went away before its end.
            RequestRefusedError: It is larger than the limit.
        """
        if self.content is not None:
            return self.content
        announced = self.headers.get("content-length", "0")
        self._check(int(announced[:20]) if announced.isdecimal() and announced.isascii() else 0)
        self.is_reading = True
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if chunk := message.get("body", b""):
                size += len(chunk)
                self._hold(size)
                chunks.append(chunk)
            more = message.get("more_body", False)
        self.is_reading = False
        self.content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return self.content

    async def no_body(self) -> None:
        """Raise RequestRefusedError if there is a body."""
        if await self.body():
            raise RequestRefusedError(400, "invalid_request", "this request takes no body")

    def release(self) -> None:
        """Forget the body."""
        self.limits.held -= self.held
        self.held = 0

    def _hold(self, size: int) -> None:
        """Count what has arrived: what is only announced takes no memory, and must keep nobody out."""
        self._check(size)
        limits = self.limits
        if limits.held + size - self.held > limits.max_total:
            raise overloaded("too many large bodies at once")
        limits.held += size - self.held
        self.held = size

    def _check(self, size: int) -> None:
        if size > self.limits.max_body:
            message = f"the body is larger than {self.limits.max_body} bytes, the limit of this server"
            raise RequestRefusedError(413, "body_too_large", message, limit=self.limits.max_body)


async def client_is_gone(receive: Receive) -> None:
    """Return when the client has gone away; for a request whose body has been read, or that has none."""
    while (await receive())["type"] != "http.disconnect":
        pass


def headers_of(scope: Any) -> dict[str, str]:
    """Return the headers of a request by lower-case name; one that is repeated is joined by commas."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1")
        text = value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found
