"""The service under test: the catalogue of `examples`, and beside it what else a service takes from satchel.

`SATCHEL_URL` says where its data lie. It prints its address, and tells at `/state` what only it can know of itself.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request

from satchel import StoreError, open_store
from satchel.coordination import Counter, Lock, Once, Queue
from satchel.integrations.fastapi import rate_limit
from satchel.server import create_app as create_rest_app
from satchel.sessions import SessionMiddleware, Sessions

CATALOGUE = Path(__file__).parents[2] / "examples/catalogue"
WORKERS = 2


def create_service() -> FastAPI:
    sys.path.insert(0, str(CATALOGUE))
    from app import create_app  # noqa: PLC0415  # it has to be found first

    store = open_store(timeout=5)
    app: FastAPI = create_app(lambda: store)
    app.add_middleware(SessionMiddleware, sessions=Sessions(store, idle=600), cookie="session", secure=False)
    app.mount("/rest", create_rest_app(store))
    jobs = Queue(store, "jobs", lease=10)
    once = Once(store, ttl=60)
    visits = Counter(store, "visits")

    @app.get("/state")
    async def state() -> dict[str, int]:
        return {"tasks": len(asyncio.all_tasks()), "blocks": sys.getallocatedblocks()}

    @app.delete("/distributions/{name}", status_code=204)
    async def delete_distribution(name: str) -> None:
        await store.delete("distributions", name)

    @app.post("/login/{user}", status_code=204)
    async def log_in(user: str, request: Request) -> None:
        request.session["user"] = user

    @app.get("/me")
    async def me(request: Request) -> str | None:
        return request.session.get("user")

    @app.post("/logout", status_code=204)
    async def log_out(request: Request) -> None:
        request.session.end()

    @app.get("/limited", dependencies=[rate_limit("limited", limit=2, per=1)])
    async def limited() -> str:
        return "allowed"

    @app.post("/jobs", status_code=202)
    async def push_job(request: Request) -> str:
        return await jobs.push((await request.body()).decode())

    @app.post("/visits")
    async def count_visit() -> int:
        return await visits.increment()

    @app.post("/exclusive/{name}", status_code=204)
    async def work_alone(name: str) -> None:
        async with Lock(store, name, ttl=5):
            await asyncio.sleep(0.005)

    @app.post("/orders/{number}")
    async def order(number: str) -> str:
        async def charge() -> str:
            return f"charged {number}"

        return await once.run(number, charge)

    async def work() -> None:
        while True:
            with suppress(StoreError):
                async for job in jobs.jobs():
                    async with job:
                        await asyncio.sleep(0.002)
            await asyncio.sleep(0.5)

    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def with_workers(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(app):
            tasks = [asyncio.create_task(work()) for _ in range(WORKERS)]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app.router.lifespan_context = with_workers

    return app


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    # Longer than the 5 seconds for which httpx keeps an idle connection: else one is closed just as a request comes.
    # Not much longer: uvicorn keeps what belongs to a connection that was reset for as long as that.
    config = uvicorn.Config(create_service(), log_level="warning", timeout_keep_alive=15, timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
