"""The store of a FastAPI application: opened with it, injected into its endpoints, replaced in its tests."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.requests import HTTPConnection, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from ..._checks import check_seconds
from ...clock import TTL
from ...collection import Collection
from ...errors import ConfigurationError, SatchelError, with_article
from ...protocol import AsyncKeyValue, check_store
from ...stores.null import NullStore

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


async def store_in_effect(connection: HTTPConnection) -> AsyncKeyValue:
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
