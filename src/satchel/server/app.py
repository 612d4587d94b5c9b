"""`create_app`: a store as an ASGI app with the REST interface of `docs/rest.md`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, cast

from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from .. import __version__
from .._checks import check_bool, check_int, check_seconds
from .._forks import hold
from .._forks import watch as watch_forks
from .._rest import API
from ..capability import Capability
from ..errors import SatchelError, StoreTimeoutError
from ..protocol import AsyncKeyValue, SupportsEverything, check_store
from ..verbs import CHANGES, METHODS
from . import batches, entries, inspector, listing
from .access import LOOPBACK, Access, Gate, Token
from .answers import RequestRefusedError, error_answer, json_answer, overloaded
from .blobs import SignedBlobs
from .blobs import read as read_blob
from .exchange import BodyLimits, Exchange, headers_of
from .metrics import Metrics
from .openapi import document
from .paths import resource_of
from .replays import Replays
from .watching import watch

REMEMBER_SECONDS: Final = 30
_PIECE: Final = 64 * 1024
"""Bytes of a large answer that are sent at once."""
_BODIES: Final = 8
"""Number of the largest bodies that are in memory at once."""
_HEALTH_SECONDS: Final = 1.0
"""For how long one ping answers all questions for the health of the store."""
_OPEN: Final = frozenset({"blob", "health", "inspector", "openapi"})
"""What needs no token; a blob has a signature instead."""
_CHANGING: Final = {capability for capability, methods in METHODS.items() if CHANGES & set(methods)}
Handler = Callable[[SupportsEverything, Exchange], Awaitable[Response]]


@dataclass(frozen=True)
class Limits:
    """Set of bounds on the requests of a server.

    Attributes:
        max_body: Bytes of the body of a request.
        max_requests: Requests that are worked on at once.
        max_streams: Streams that are open at once.
        timeout: Seconds for a request, and for each step of a stream.
    """

    max_body: int = 16 << 20
    max_requests: int = 256
    max_streams: int = 100
    timeout: float = 30

    def __post_init__(self) -> None:
        check_int("max_body", self.max_body, 1024)
        check_int("max_requests", self.max_requests, 1)
        check_int("max_streams", self.max_streams, 1)
        check_seconds("timeout", self.timeout)


def create_app(
    store: AsyncKeyValue,
    *,
    tokens: Iterable[str | Token] = (),
    read_only: bool = False,
    inspector_writes: bool = False,
    blobs: Mapping[str, SignedBlobs] | None = None,
    allowed_hosts: Iterable[str] = LOOPBACK,
    max_body: int = 16 << 20,
    max_requests: int = 256,
    max_streams: int = 100,
    timeout: float = 30,
) -> ServerApp:
    """Return an ASGI app that serves a store over HTTP. It does not close the store.

    It can be mounted in another app: `fastapi_app.mount("/store", create_app(store))`.

    Args:
        store: The store.
        tokens: The tokens that open it: texts, which open all of it, or `Token` objects. Without any, every request
            that reaches the app is served.
        read_only: Refuse every change.
        inspector_writes: Let the page at `/` edit and delete entries; otherwise it only shows them.
        blobs: Blobs that are read at `/v1/b/{name}/{key}` under addresses signed for them, by name.
        allowed_hosts: The names by which clients may address the server: those in the `Host` header, without port.
            `*` is any name.
        max_body: Maximum bytes of the body of a request. Eight times as much is held in memory at once.
        max_requests: Maximum number of requests worked on at once; more are refused with 503.
        max_streams: Maximum number of streams open at once, not counted among the requests.
        timeout: Seconds for a request, from its headers to its answer, and for each step of a stream.

    Raises:
        ConfigurationError: A host other than the loopback ones is allowed and there is no token, or an option is wrong.
    """
    check_store(store, "create_app")
    limits = Limits(max_body, max_requests, max_streams, timeout)
    check_bool("inspector_writes", inspector_writes)
    gate = Gate(tokens, allowed_hosts, read_only=read_only)
    return ServerApp(store, gate, limits, inspector_writes=inspector_writes, blobs=blobs)


class ServerApp:
    """ASGI app that serves a store; `create_app` makes it.

    Args:
        store: The store.
        gate: Decides what each request may do.
        limits: The limits.
        inspector_writes: Whether the inspector offers changes.
        blobs: The blobs to read under signed addresses, by name.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        gate: Gate,
        limits: Limits,
        *,
        inspector_writes: bool = False,
        blobs: Mapping[str, SignedBlobs] | None = None,
    ) -> None:
        self._blobs = dict(blobs or {})
        self._inspector_writes = inspector_writes
        self._metrics = Metrics(store)
        self._store = cast("SupportsEverything", self._metrics.store)  # each verb refuses what the store lacks
        self._gate = gate
        self._limits = limits
        self._begin_run()
        watch_forks(self)
        self._handlers: Mapping[str, Mapping[str, Handler]] = {
            "entry": {
                "GET": entries.read,
                "HEAD": entries.read,
                "PUT": entries.write,
                "PATCH": entries.touch,
                "DELETE": entries.delete,
            },
            "collection": {"GET": listing.keys, "DELETE": listing.clear},
            "collections": {"GET": listing.collections, "DELETE": listing.clear_store},
            "batch": {"POST": batches.batch},
            "changes": {"GET": self._watch},
            "blob": {"GET": self._read_blob, "HEAD": self._read_blob},
            "service": {"GET": self._service},
            "ping": {"GET": _ping},
            "cull": {"POST": _cull},
            "openapi": {"GET": _openapi},
            "metrics": {"GET": self._counts},
            "health": {"GET": self._answers},
            "inspector": {"GET": inspector.page},
        }

    def __repr__(self) -> str:
        return f"ServerApp({self._store!r})"

    def after_fork(self) -> None:
        """In a child of `fork`: become another run of the server, which knows no request of its parent's."""
        hold(dict(vars(self)))
        self._begin_run()

    def _begin_run(self) -> None:
        self._bodies = BodyLimits(self._limits.max_body, self._limits.max_body * _BODIES)
        self._instance = secrets.token_hex(8)
        self._replays = Replays(self._instance, REMEMBER_SECONDS)
        self._health = _Health(self._store)
        self._requests = self._streams = 0
        self._ending = asyncio.Event()
        self._common = [
            (b"satchel-api", API.encode()),
            (b"satchel-instance", self._instance.encode()),
            (b"cache-control", b"private, no-cache"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def _answers(self, store: SupportsEverything, exchange: Exchange) -> Response:
        return await self._health.answer(store, exchange)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    def end_streams(self) -> None:
        """End the streams of changes, which have no end of their own. Call it when the server shuts down."""
        self._ending.set()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._requests >= self._limits.max_requests:
            await self._send(error_answer(overloaded("too many requests at once")), scope, send)
            return
        self._requests += 1
        try:
            response = await self._answer(scope, receive, send)
            if response is not None and not isinstance(response, StreamingResponse):
                await self._send(response, scope, send)
        except (ClientDisconnect, _TooSlowError):
            return
        finally:
            self._requests -= 1
        if isinstance(response, StreamingResponse):
            await self._stream(response, scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """Carry out a request, and return what remains to be sent: a small answer is sent here, under one timer."""
        exchange: Exchange | None = None
        response: Response | None = None
        try:
            async with asyncio.timeout(self._limits.timeout):
                try:
                    exchange = self._admitted(scope, receive)
                    response = await self._carry_out(exchange)
                except ClientDisconnect:
                    raise
                except Exception as error:
                    response = error_answer(error)
                if not isinstance(response, StreamingResponse) and len(response.body) <= _PIECE:
                    await send(self._head(response))
                    await send(_piece(b"" if scope["method"] == "HEAD" else response.body))
                    return None
        except TimeoutError:
            if response is not None:
                raise _TooSlowError from None
            response = error_answer(self._too_slow(exchange))
        finally:
            if exchange is not None:
                exchange.release()
        return response

    def _admitted(self, scope: Scope, receive: Receive) -> Exchange:
        """Return a request that may be made; what it is about is still to be checked."""
        headers = headers_of(scope)
        resource = resource_of(scope)
        if resource.kind != "health":  # a health check may come by address
            self._gate.check_host(headers.get("host", ""))
        access = _NOBODY if resource.kind in _OPEN else self._gate.admit(headers.get("authorization"))
        return Exchange(scope, receive, headers, resource, access, self._bodies)

    async def _carry_out(self, exchange: Exchange) -> Response:
        handlers = self._handlers[exchange.resource.kind]
        handler = handlers.get(exchange.method)
        if handler is None:
            allowed = ", ".join(handlers)
            raise RequestRefusedError(405, "method_not_allowed", f"this path takes {allowed}", {"Allow": allowed})
        if exchange.resource.collection:
            exchange.access.check_collection(exchange.resource.collection)
        if exchange.method in ("GET", "HEAD"):
            return await handler(self._store, exchange)
        if exchange.resource.kind != "batch":  # whose operations are checked one by one
            exchange.access.check_change()
        if "satchel-request-id" not in exchange.headers:
            return await handler(self._store, exchange)
        return await self._replays.answer(exchange, await exchange.body(), lambda: handler(self._store, exchange))

    def _too_slow(self, exchange: Exchange | None) -> Exception:
        seconds = self._limits.timeout
        if exchange is not None and exchange.is_reading:
            message = f"the body did not arrive within {seconds} s; nothing was carried out"
            return RequestRefusedError(408, "request_timeout", message, {"Connection": "close"})
        return StoreTimeoutError(f"the store did not answer within {seconds} s; a change may have been made or not")

    async def _send(self, response: Response, scope: Scope, send: Send) -> None:
        """Send an answer in pieces, each of which the client must take in time."""
        body = b"" if scope["method"] == "HEAD" else bytes(response.body)
        await self._in_time(send(self._head(response)))
        for start in range(0, len(body) or 1, _PIECE):
            end = start + _PIECE
            await self._in_time(send(_piece(body[start:end], more=end < len(body))))

    def _head(self, response: Response) -> Message:
        headers = [*response.raw_headers, *self._common]
        return {"type": "http.response.start", "status": response.status_code, "headers": headers}

    async def _stream(self, response: StreamingResponse, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a stream."""
        if self._streams >= self._limits.max_streams:
            await self._send(error_answer(overloaded("too many streams at once")), scope, send)
            return

        has_begun = False

        async def patient(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await self._in_time(send(message))

        response.raw_headers = [*response.raw_headers, *self._common]
        self._streams += 1
        try:
            await response(scope, receive, patient)
        except (ClientDisconnect, _TooSlowError):
            return
        except Exception as error:
            answer = error_answer(error)
            if not has_begun:  # otherwise the stream is cut off, which its client can see
                await self._send(answer, scope, send)
        finally:
            self._streams -= 1

    async def _in_time(self, step: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._limits.timeout):
                await step
        except TimeoutError:
            raise _TooSlowError from None

    async def _service(self, _store: SupportsEverything, exchange: Exchange) -> Response:
        exchange.query()
        limits, store = self._limits, self._store
        usable = [flag for flag in store.capabilities if not (exchange.access.read_only and flag in _CHANGING)]
        if exchange.access.prefix:
            usable = [flag for flag in usable if flag not in (Capability.DESTROY_STORE, Capability.CULL)]
        return json_answer(
            {
                "api": int(API),
                "version": __version__,
                "instance": self._instance,
                "capabilities": [str(flag.name).lower() for flag in usable],
                "max_key_bytes": store.max_key_bytes,
                "max_value_bytes": store.max_value_bytes,
                "read_only": exchange.access.read_only,
                "prefix": exchange.access.prefix,
                "inspector_writes": self._inspector_writes,
                "limits": {
                    "max_body": limits.max_body,
                    "max_batch": batches.MAX_BATCH,
                    "max_page": listing.MAX_PAGE,
                    "remember_seconds": REMEMBER_SECONDS,
                    "timeout": limits.timeout,
                },
            }
        )

    async def _watch(self, store: SupportsEverything, exchange: Exchange) -> Response:
        return watch(store, exchange, self._ending)

    async def _read_blob(self, _store: SupportsEverything, exchange: Exchange) -> Response:
        return await read_blob(self._blobs, exchange)

    async def _counts(self, _store: SupportsEverything, exchange: Exchange) -> Response:
        exchange.query()
        exchange.access.check_everything()
        return self._metrics.answer()


def _piece(content: bytes | memoryview, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


class _TooSlowError(Exception):
    """Signal that a client does not take its answer."""


class _Health:
    """Whether the store answers, asked at most once a second.

    Args:
        store: The store.
    """

    def __init__(self, store: AsyncKeyValue) -> None:
        self._store = store
        self._asking = asyncio.Lock()
        self._until = 0.0
        self._status = 503

    async def answer(self, _store: SupportsEverything, exchange: Exchange) -> Response:
        """Answer `GET` of the health."""
        exchange.query()
        async with self._asking:
            if monotonic() >= self._until:
                try:
                    await self._store.ping()
                    self._status = 200
                except SatchelError:
                    self._status = 503
                self._until = monotonic() + _HEALTH_SECONDS
        if self._status == 200:
            return json_answer({"status": "ok"})
        return error_answer(RequestRefusedError(503, "store_unavailable", "the store does not answer"))


_NOBODY: Final = Access(b"", "", read_only=True)


async def _ping(store: SupportsEverything, exchange: Exchange) -> Response:
    exchange.query()
    await store.ping()
    return Response(None, 204)


async def _cull(store: SupportsEverything, exchange: Exchange) -> Response:
    exchange.query()
    exchange.access.check_everything()
    await exchange.no_body()
    return json_answer({"culled": await store.cull()})


async def _openapi(_store: SupportsEverything, exchange: Exchange) -> Response:
    exchange.query()
    return json_answer(document())


async def _live(receive: Receive, send: Send) -> None:
    """Follow the start and the end of a server; there is nothing to do at either."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
