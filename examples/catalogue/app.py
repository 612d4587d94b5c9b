"""A service that catalogues software: distributions and the files that they installed.

`SATCHEL_URL` says where it keeps them. Run it with `python app.py --port 8000`.
"""

import argparse
import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Body, Depends, FastAPI, HTTPException, Query, Response
from models import Distribution, InstalledFile
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from satchel import (
    AsyncKeyValue,
    Capability,
    Collection,
    InvalidKeyError,
    SatchelError,
    StoreError,
    UnsupportedOperationError,
    open_store,
    require,
)
from satchel.integrations.fastapi import Store, change_stream, collection, readiness_router, store_lifespan
from satchel.integrations.prometheus import StatisticsCollector
from satchel.wrappers import StatisticsWrapper

SEARCH_TTL = float(os.environ.get("CATALOGUE_SEARCH_TTL", "30"))
MOST_FILES = 1000
MOST_SHOWN = 500
PAGE = (Path(__file__).parent / "live.html").read_text("utf-8")

Distributions = Annotated[Collection[Distribution], collection("distributions", model=Distribution)]
Files = Annotated[Collection[InstalledFile], collection("files", model=InstalledFile)]
Searches = Annotated[Collection[list[str]], collection("searches", model=list[str], ttl=SEARCH_TTL)]
SearchText = Annotated[str, Query(min_length=2, max_length=100)]
SomeFiles = Annotated[list[InstalledFile], Body(max_length=MOST_FILES)]
SomeKeys = Annotated[list[str], Body(max_length=MOST_FILES)]


async def counting_store(store: Store) -> AsyncKeyValue:
    """Return the store if it counts; a test may have put another in its place."""
    if not isinstance(store, StatisticsWrapper):
        raise HTTPException(404, "this store keeps no statistics")
    return store


CountingStore = Annotated[AsyncKeyValue, Depends(counting_store)]


def create_app(make_store: Callable[[], AsyncKeyValue]) -> FastAPI:
    app = FastAPI(title="Software catalogue", lifespan=store_lifespan(lambda: StatisticsWrapper(make_store())))
    app.include_router(readiness_router())

    @app.exception_handler(StoreError)
    async def store_trouble(_request: object, error: StoreError) -> Response:
        return Response(status_code=503 if error.retryable else 500)

    @app.exception_handler(InvalidKeyError)
    async def refuse_key(_request: object, error: InvalidKeyError) -> Response:
        return Response(str(error), status_code=422)

    @app.exception_handler(UnsupportedOperationError)
    async def cannot(_request: object, _error: UnsupportedOperationError) -> Response:
        return Response("the store of this service cannot do that", status_code=501)

    @app.put("/distributions/{name}", status_code=204)
    async def put_distribution(name: str, distribution: Distribution, distributions: Distributions) -> None:
        if name != distribution.name:
            raise HTTPException(422, "the name in the path is not the one in the body")
        await distributions.put(name, distribution)

    @app.get("/distributions/{name}")
    async def get_distribution(name: str, distributions: Distributions) -> Distribution:
        found = await distributions.get(name)
        if found is None:
            raise HTTPException(404, "no such distribution")
        return found

    @app.get("/distributions")
    async def list_distributions(distributions: Distributions) -> list[Distribution]:
        return [distribution async for _, distribution in distributions.items(limit=MOST_SHOWN)]

    @app.get("/changes")
    async def changes(distributions: Distributions) -> Response:
        return change_stream(distributions)

    @app.get("/")
    async def live() -> Response:
        nonce = secrets.token_urlsafe()
        policy = f"default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'"
        return Response(
            PAGE.replace("NONCE", nonce), media_type="text/html", headers={"Content-Security-Policy": policy}
        )

    @app.put("/files", status_code=204)
    async def put_files(files: SomeFiles, catalogued: Files) -> None:
        await catalogued.put_many({file.key: file for file in files})

    @app.post("/files/lookup")
    async def look_up_files(keys: SomeKeys, catalogued: Files) -> dict[str, InstalledFile]:
        return await catalogued.get_many(keys)

    @app.get("/search")
    async def search(text: SearchText, response: Response, catalogued: Files, searches: Searches) -> list[str]:
        found = await searches.get(text)
        response.headers["x-cache"] = "miss" if found is None else "hit"
        if found is None:
            found = sorted([key async for key in catalogued.keys() if text in key])  # noqa: SIM118  # a collection is no dict
            await searches.put(text, found)
        return found

    @app.get("/statistics")
    async def statistics(store: CountingStore) -> object:
        return store.snapshot()

    @app.get("/metrics")
    async def metrics(store: CountingStore) -> Response:
        registry = CollectorRegistry()
        registry.register(StatisticsCollector({"catalogue": store}))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve the software catalogue on loopback.")
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one (default: 8000)")
    port = parser.parse_args().port
    try:
        asyncio.run(try_store())
        listening = socket.create_server(("127.0.0.1", port))
    except SatchelError as error:
        return failed(f"the store cannot be used: {error}")
    except OSError as error:
        why = os.strerror(error.errno or 0)
        return failed(f"port {port} cannot be used ({why}): choose another with --port, or stop what has it")
    print(f"Listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    # Longer than clients keep an idle connection: else a busy machine closes one just as a request comes.
    config = uvicorn.Config(
        create_app(open_store), log_level="warning", timeout_keep_alive=60, timeout_graceful_shutdown=3
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


async def try_store() -> None:
    """Say at once, and not at the first request, that a store is not there or lacks what the service needs."""
    async with open_store() as store:
        require(store, Capability.ENUMERATE_KEYS)
        await store.ping()


def failed(why: str) -> int:
    print(f"catalogue: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
