"""Rate limits of requests, in the store of a FastAPI application."""

from __future__ import annotations

import hashlib
import inspect
import ipaddress
import logging
import math
from collections.abc import Callable
from typing import Any, Literal

from fastapi import Depends, HTTPException, Response
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..._checks import check_choice
from ...clock import TTL
from ...coordination import RateLimit, Verdict
from ...errors import ConfigurationError, StoreError
from ...protocol import AsyncKeyValue
from ...stores.memory import MemoryStore
from .store import Store, store_in_effect

logger = logging.getLogger("satchel")


def client_address(connection: HTTPConnection) -> str:
    """Return the address of the client, of an IPv6 address its /64 network: one customer has the whole of it."""
    host = "unknown" if connection.client is None else connection.client.host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


class _RequestLimit:
    """Rate limit of requests in the store of the application that they are made to."""

    def __init__(
        self, name: str, limit: int, per: TTL, burst: int | None, cost: int, collection: str, on_error: str
    ) -> None:
        check_choice("on_error", on_error, ("allow", "refuse"))
        self._options: dict[str, Any] = {"limit": limit, "per": per, "burst": burst, "collection": collection}
        self._name, self._cost, self._allows_on_error = name, cost, on_error == "allow"
        RateLimit(MemoryStore(), name, **self._options)._checked("key", cost)  # it refuses what is not legal
        self._latest: tuple[AsyncKeyValue, RateLimit] | None = None

    async def check(self, store: AsyncKeyValue, key: str) -> tuple[int, str, dict[str, str]]:
        """Count a request, and return the status of the answer, 200 if it is allowed, its text and its headers."""
        if self._latest is None or self._latest[0] is not store:
            self._latest = store, RateLimit(store, self._name, **self._options)
        limit = self._latest[1]
        try:
            verdict = await limit.hit(_short_key(key, store.max_key_bytes), self._cost)
        except StoreError as error:
            logger.warning("the rate limit %r cannot be checked: %s", self._name, error)
            return (200, "", {}) if self._allows_on_error else (503, "The rate limit cannot be checked.", {})
        headers = _rate_limit_headers(limit.burst, verdict)
        return (200, "", headers) if verdict.allowed else (429, "Too many requests.", headers)


def _short_key(key: str, limit: int) -> str:
    """Return a key that a client may have chosen, or its hash, if no store would accept it."""
    encoded = key.encode(errors="surrogatepass")
    if 0 < len(encoded) <= limit and not any("\ud800" <= character <= "\udfff" for character in key):
        return key
    return "#" + hashlib.sha256(encoded).hexdigest()


def _rate_limit_headers(burst: int, verdict: Verdict) -> dict[str, str]:
    headers = {
        "RateLimit-Limit": str(burst),
        "RateLimit-Remaining": str(verdict.remaining),
        "RateLimit-Reset": str(math.ceil(verdict.reset_after)),
    }
    return headers if verdict.allowed else headers | {"Retry-After": str(math.ceil(verdict.retry_after))}


def rate_limit(
    name: str,
    *,
    limit: int,
    per: TTL,
    burst: int | None = None,
    key: Callable[..., Any] = client_address,
    cost: int = 1,
    collection: str = "rate-limits",
    on_error: Literal["allow", "refuse"] = "allow",
) -> Any:
    """Return the dependency that limits the requests to an endpoint.

    Write it as `@app.post("/login", dependencies=[rate_limit("login", limit=5, per=60)])`. A request above the limit is
    answered by 429 with `Retry-After` before the endpoint runs. Each answer has the headers `RateLimit-Limit`,
    `RateLimit-Remaining` and `RateLimit-Reset`.

    Args:
        name: Name of the limit, as for `satchel.coordination.RateLimit`. Endpoints with the same name and numbers share
            it.
        limit: Number of requests in `per`.
        per: Time in seconds or as a `timedelta`.
        burst: Number of requests that are available at once; `limit` if omitted.
        key: Dependency that returns whose request it is, None for one that is not limited; by default the client's
            address.
        cost: The number of hits that a request counts as.
        collection: Beginning of the name of the collection of the limit.
        on_error: Whether requests are allowed or refused, with 503, while the store fails.

    Raises:
        ConfigurationError, InvalidKeyError, InvalidTTLError, ValueError: An option is not legal.
    """
    limiter = _RequestLimit(name, limit, per, burst, cost, collection, on_error)

    async def check_rate(store: Store, response: Response, subject: Any = Depends(key)) -> None:  # noqa: B008  # in an annotation, which is a text here, `key` would not be known
        if subject is None:
            return
        status, detail, headers = await limiter.check(store, subject)
        if status != 200:
            raise HTTPException(status, detail, headers)
        response.headers.update(headers)

    return Depends(check_rate)


class RateLimitMiddleware:
    """Middleware that limits the requests to a whole application: `app.add_middleware(RateLimitMiddleware, ...)`.

    A request above the limit is answered by 429 with `Retry-After`, and a WebSocket is refused before it is accepted.
    Each answer has the headers `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`. The store is that of the
    application.

    Args:
        app: The application.
        name: Name of the limit, as for `satchel.coordination.RateLimit`.
        limit: Number of requests in `per`.
        per: Time in seconds or as a `timedelta`.
        burst: Number of requests that are available at once; `limit` if omitted.
        key: Plain function that returns whose request it is, None for one that is not limited; by default the client's
            address.
        cost: The number of hits that a request counts as.
        collection: Beginning of the name of the collection of the limit.
        on_error: Whether requests are allowed or refused, with 503, while the store fails.

    Raises:
        ConfigurationError, InvalidKeyError, InvalidTTLError, ValueError: An option is not legal.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        name: str,
        limit: int,
        per: TTL,
        burst: int | None = None,
        key: Callable[[HTTPConnection], str | None] = client_address,
        cost: int = 1,
        collection: str = "rate-limits",
        on_error: Literal["allow", "refuse"] = "allow",
    ) -> None:
        if not callable(key) or inspect.iscoroutinefunction(key):
            raise ConfigurationError("key must be a plain function of the connection")
        self._app, self._key = app, key
        self._limiter = _RequestLimit(name, limit, per, burst, cost, collection, on_error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is refused, and pass on all others."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        key = self._key(connection)
        if key is None:
            await self._app(scope, receive, send)
            return
        status, detail, headers = await self._limiter.check(await store_in_effect(connection), key)
        if status == 200:
            await self._app(scope, receive, _adding(headers, send))
        elif scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await JSONResponse({"detail": detail}, status, headers)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1013, "reason": detail})


def _adding(headers: dict[str, str], send: Send) -> Send:
    """Return a function that adds headers to the answer on its way."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return send_with_headers
