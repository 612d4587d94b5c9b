"""What a session costs a request, beside Starlette's own cookie middleware, which keeps the data in the cookie."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.middleware.sessions import SessionMiddleware as CookieMiddleware

from benchmarks.harness import Contender, Report, Work
from satchel import MemoryStore
from satchel.sessions import SessionMiddleware, Sessions

STEPS = 5_000
DATA = {"user": "ada", "theme": "dark", "cart": [{"sku": "A-1", "count": 2}, {"sku": "B-7", "count": 1}]}

Message = MutableMapping[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


async def read(scope: Any, _receive: Any, send: Any) -> None:
    assert scope["session"]["user"] == "ada"  # noqa: S101  # the session was found
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def change(scope: Any, _receive: Any, send: Any) -> None:
    scope["session"]["count"] = scope["session"].get("count", 0) + 1
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def begin(scope: Any, _receive: Any, send: Any) -> None:
    scope["session"].update(DATA)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def nothing(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def scope_of(cookie: bytes | None) -> dict[str, Any]:
    headers = [(b"host", b"test"), (b"accept", b"*/*")]
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": headers if cookie is None else [*headers, (b"cookie", cookie)],
    }


async def cookie_of(application: Application) -> bytes:
    """Return the cookie that a first request is given."""
    found: list[bytes] = []

    async def send(message: Message) -> None:
        found.extend(value for name, value in message.get("headers", ()) if name.lower() == b"set-cookie")

    await application(scope_of(None), None, send)
    return found[0].partition(b";")[0]


def requesting(wrap: Callable[[Application], Application], endpoint: Application) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        cookie = None if wrap is bare else await cookie_of(wrap(begin))
        application = wrap(endpoint)

        async def send(message: Message) -> None:
            pass

        async def work(steps: range) -> None:
            for _ in steps:
                await application(scope_of(cookie), None, send)

        yield work

    return contender


def bare(endpoint: Application) -> Application:
    return endpoint


def in_cookies(endpoint: Application) -> Application:
    return CookieMiddleware(endpoint, "a secret key of thirty-two bytes", https_only=True)


def in_store() -> Callable[[Application], Application]:
    sessions = Sessions(MemoryStore())
    return lambda endpoint: SessionMiddleware(endpoint, sessions=sessions)


def run(report: Report) -> None:
    for title, endpoint in (("a request that reads", read), ("a request that changes a value", change)):
        contenders = {
            "no session": requesting(bare, nothing),
            "Starlette, in the cookie": requesting(in_cookies, endpoint),
            "satchel, in memory": requesting(in_store(), endpoint),
        }
        report.compare(title, contenders, steps=STEPS)
