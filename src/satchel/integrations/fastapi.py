"""A store in a FastAPI application: opened with it, injected into its endpoints, replaced in its tests.

```python
from typing import Annotated

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from satchel import Collection, MemoryStore
from satchel.integrations.fastapi import collection, readiness_router, store_lifespan

class User(BaseModel):
    name: str

Users = Annotated[Collection[User], collection("users", model=User, ttl=3600)]

app = FastAPI(lifespan=store_lifespan(MemoryStore))
app.include_router(readiness_router())

@app.get("/users/{key}")
async def read_user(key: str, users: Users) -> User:
    user = await users.get(key)
    if user is None:
        raise HTTPException(404)
    return user
```
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import ipaddress
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Annotated, Any, Literal, TypeVar, cast

from .._checks import check_choice, check_seconds
from ..clock import TTL
from ..collection import Collection
from ..coordination import RateLimit, Verdict
from ..errors import ConfigurationError, MissingExtraError, SatchelError, StoreError, with_article
from ..protocol import AsyncKeyValue, check_store
from ..sessions import Session
from ..stores.memory import MemoryStore
from ..stores.null import NullStore

try:
    from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
    from fastapi.requests import HTTPConnection, Request
    from fastapi.responses import JSONResponse
    from fastapi.routing import APIRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError('satchel.integrations.fastapi takes FastAPI: pip install "satchel[fastapi]"') from error

__all__ = [
    "CurrentSession",
    "RateLimitMiddleware",
    "Store",
    "application_store",
    "client_address",
    "collection",
    "get_session",
    "get_store",
    "override_store",
    "rate_limit",
    "readiness_router",
    "store_lifespan",
]

StoreT = TypeVar("StoreT", bound=AsyncKeyValue)

logger = logging.getLogger("satchel")


def store_lifespan(make_store: Callable[[], AsyncKeyValue]) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return a lifespan that makes a store, waits until it answers, and closes it when the application ends.

    To combine it with your own lifespan, enter this one there: `async with store_lifespan(make_store)(app): ...`.
    While `override_store` is in effect, the lifespan makes no store.

    Args:
        make_store: Makes the store each time the application starts: a class such as `MemoryStore`, or a function
            such as `open_store`.

    Raises:
        ConfigurationError: The argument is not a plain function; or, when the application starts, its result is not a
            store.
        StoreError: When the application starts, if the store does not answer. The application then does not start.
    """
    if not callable(make_store):
        raise ConfigurationError(
            f"store_lifespan takes a function that makes a store, got {with_article(type(make_store))}; "
            "give the class or a lambda, so that each start of the application creates its own store"
        )
    if inspect.iscoroutinefunction(make_store):
        raise ConfigurationError("store_lifespan takes a plain function that makes a store, got a coroutine function")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if get_store in app.dependency_overrides:
            yield
            return
        made = make_store()
        if inspect.iscoroutine(made):
            made.close()
        check_store(made, "store_lifespan, from the function given to it,")
        async with made as store:
            await store.ping()
            app.state.satchel_store = store
            try:
                yield
            finally:
                del app.state.satchel_store

    return lifespan


async def get_store(connection: HTTPConnection) -> AsyncKeyValue:
    """Return the application's store. `Store` is the annotation that injects it.

    Raises:
        ConfigurationError: The application has no store, because its lifespan has not run.
    """
    store: AsyncKeyValue | None = getattr(connection.app.state, "satchel_store", None)
    if store is None:
        raise _no_store()
    return store


def _no_store() -> ConfigurationError:
    return ConfigurationError(
        "this application has no store: give it FastAPI(lifespan=store_lifespan(...)) and let its lifespan run, "
        "or use override_store in a test; an application mounted in another needs its own"
    )


Store = Annotated[AsyncKeyValue, Depends(get_store)]
"""Annotation for a parameter of an endpoint that receives the application's store."""


async def get_session(connection: HTTPConnection) -> Session:
    """Return the session of a request or websocket. `CurrentSession` is the annotation that injects it.

    Raises:
        ConfigurationError: The application has no `SessionMiddleware`, or it skips this path.
    """
    session = connection.scope.get("session")
    if not isinstance(session, Session):
        raise ConfigurationError(
            "this request has no session: give the application app.add_middleware(SessionMiddleware, sessions=...), "
            "and let it not skip this path"
        )
    session.mark_accessed()
    return session


CurrentSession = Annotated[Session, Depends(get_session)]
"""Annotation for a parameter of an endpoint that receives the session of its request."""


def application_store(app: FastAPI) -> Callable[[], AsyncKeyValue]:
    """Return a function that returns the application's store, for `cached` and others that take their store late.

    ```python
    from fastapi import FastAPI
    from satchel import MemoryStore, cached
    from satchel.integrations.fastapi import application_store, store_lifespan

    app = FastAPI(lifespan=store_lifespan(MemoryStore))

    @cached(application_store(app), "films", ttl=3600)
    async def film(number: int) -> str:
        return f"Film {number}"
    ```

    The function raises `ConfigurationError` where the application has no store, because its lifespan has not run.
    """

    def present_store() -> AsyncKeyValue:
        store = _override(app)
        if inspect.iscoroutine(store):
            store.close()
            raise ConfigurationError("the dependency that overrides get_store is async; use override_store")
        store = getattr(app.state, "satchel_store", None) if store is None else store
        if store is None:
            raise _no_store()
        return cast("AsyncKeyValue", store)

    return present_store


def collection(name: str, *, model: Any = None, ttl: TTL | None = None) -> Any:
    """Return the dependency that injects a collection of the application's store.

    Write it as `Annotated[Collection[User], collection("users", model=User)]`. Arguments are those of
    `satchel.Collection` and are checked now, not at the first request.
    """
    prepared: Collection[Any] = Collection(NullStore(), name, model=model, ttl=ttl)

    async def get_collection(store: Store) -> Collection[Any]:
        return prepared._over(store)

    return Depends(get_collection)


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
        status, detail, headers = await self._limiter.check(await _store_in_effect(connection), key)
        if status == 200:
            await self._app(scope, receive, _adding(headers, send))
        elif scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await JSONResponse({"detail": detail}, status, headers)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1013, "reason": detail})


async def _store_in_effect(connection: HTTPConnection) -> AsyncKeyValue:
    """Return the store that a dependency of the application would get."""
    store = _override(connection.app)
    if inspect.isawaitable(store):
        store = await store
    return await get_store(connection) if store is None else cast("AsyncKeyValue", store)


def _override(app: Any) -> Any:
    """Return what overrides an application's store, perhaps still to be awaited; None if nothing does."""
    override = getattr(app, "dependency_overrides", {}).get(get_store)
    if override is None:
        return None
    return override() if getattr(override, "store", None) is None else override.store


def _adding(headers: dict[str, str], send: Send) -> Send:
    """Return a function that adds headers to the answer on its way."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return send_with_headers


@contextmanager
def override_store(app: FastAPI, store: StoreT) -> Iterator[StoreT]:
    """Replace an application's store within a `with` block, as in tests, and yield the new store.

    The caller closes the store. Within the block the application's lifespan makes no store.

    Raises:
        ConfigurationError: The argument is not a store.
    """
    check_store(store, "override_store")

    async def get_other_store() -> AsyncKeyValue:
        return store

    get_other_store.store = store  # type: ignore[attr-defined]  # functions take any attribute
    before = app.dependency_overrides.get(get_store)
    app.dependency_overrides[get_store] = get_other_store
    try:
        yield store
    finally:
        if before is None:
            del app.dependency_overrides[get_store]
        else:
            app.dependency_overrides[get_store] = before


def readiness_router(path: str = "/ready", *, timeout: float = 2.0) -> APIRouter:
    """Return a router with one route that reports whether the store answers, for `app.include_router`.

    It answers 200 and `{"status": "ready"}`, or 503 and `{"status": "unavailable"}`. The reason goes to the logger
    `satchel`.

    Args:
        path: The path of the route.
        timeout: Seconds after which a store that does not answer counts as unavailable.

    Raises:
        ConfigurationError: The timeout is not a number above 0, or more than 100 years.
    """
    check_seconds("timeout", timeout)
    router = APIRouter(route_class=_ReadyRoute)

    @router.get(path, include_in_schema=False)
    async def ready(store: Store) -> Any:
        try:
            async with asyncio.timeout(timeout):
                await store.ping()
        except Exception as error:
            return _unavailable(error)
        return {"status": "ready"}

    return router


class _ReadyRoute(APIRoute):
    """Route that answers "not ready" when the application has no store, before the endpoint runs."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except ConfigurationError as error:
                return _unavailable(error)

        return answer


def _unavailable(error: Exception) -> Response:
    reason = error if isinstance(error, SatchelError) else type(error).__name__
    logger.warning("the store is not ready: %s", reason)
    return JSONResponse({"status": "unavailable"}, status_code=503)
