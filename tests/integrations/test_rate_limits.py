"""Rate limits of requests: the dependency, the middleware, and several workers of a real server."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect

from satchel import ConfigurationError, InvalidKeyError, InvalidTTLError, MemoryStore
from satchel.integrations.fastapi import (
    RateLimitMiddleware,
    client_address,
    get_store,
    override_store,
    rate_limit,
    store_lifespan,
)
from satchel.testing import FlakyStore
from tests.integrations import limited
from tests.servers import server_url

ROOT = Path(__file__).parents[2]


def client_of(app, address="192.0.2.1"):
    transport = httpx.ASGITransport(app, client=(address, 1), raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def with_dependency(**options):
    app, runs = FastAPI(lifespan=store_lifespan(MemoryStore)), []
    limits = rate_limit("api", **{"limit": 2, "per": 60, **options})

    @app.get("/", dependencies=[limits])
    async def endpoint() -> str:
        runs.append(1)
        return "welcome"

    return app, runs


def with_middleware(**options):
    app, runs = FastAPI(lifespan=store_lifespan(MemoryStore)), []
    app.add_middleware(RateLimitMiddleware, **{"name": "api", "limit": 2, "per": 60, **options})

    @app.get("/")
    async def endpoint() -> str:
        runs.append(1)
        return "welcome"

    @app.websocket("/socket")
    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        await connection.send_text("welcome")
        await connection.close()

    return app, runs


BOTH = pytest.mark.parametrize("application", [with_dependency, with_middleware])


@BOTH
async def test_a_request_above_the_limit_is_answered_before_its_endpoint_runs(application):
    app, runs = application()
    with override_store(app, MemoryStore()):
        async with client_of(app) as client:
            answers = [await client.get("/") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["ratelimit-limit"] for answer in answers] == ["2"] * 3
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
        assert [int(answer.headers["ratelimit-reset"]) for answer in answers] == [30, 60, 60]
        assert [answer.headers.get("retry-after") for answer in answers] == [None, None, "30"]
        assert answers[-1].json() == {"detail": "Too many requests."}
        assert len(runs) == 2
        async with client_of(app, "192.0.2.2") as other:
            assert (await other.get("/")).status_code == 200


@BOTH
async def test_the_limit_is_in_the_store_of_the_application_or_that_of_a_test(application):
    app, _ = application(limit=1)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert [(await client.get("/")).status_code for _ in range(2)] == [200, 429]
        with override_store(app, MemoryStore()) as store:
            assert [(await client.get("/")).status_code for _ in range(2)] == [200, 429]
            assert await store.exists("rate-limits/api", "192.0.2.1")
        another = MemoryStore()
        app.dependency_overrides[get_store] = lambda: another  # as by hand, with a plain function
        assert [(await client.get("/")).status_code for _ in range(2)] == [200, 429]


@BOTH
async def test_without_a_store_the_error_says_what_to_do(application):
    app, _ = application()
    async with client_of(app) as client:
        with pytest.raises(ConfigurationError, match="store_lifespan"):
            await client.get("/")


@BOTH
@pytest.mark.parametrize(("on_error", "status"), [("allow", 200), ("refuse", 503)])
async def test_a_store_that_fails(application, on_error, status, caplog):
    app, runs = application(on_error=on_error)
    store = FlakyStore()
    store.fail_next(1)
    with override_store(app, store):
        async with client_of(app) as client:
            answer = await client.get("/")
            assert answer.status_code == status
            assert "ratelimit-limit" not in answer.headers
            assert len(runs) == (status == 200)
            assert (await client.get("/")).status_code == 200
    assert "the rate limit 'api' cannot be checked" in caplog.text


@BOTH
async def test_requests_without_a_key_are_not_limited(application):
    def key(connection: HTTPConnection) -> str | None:
        return connection.headers.get("user")

    app, _ = application(limit=1, key=key)
    with override_store(app, MemoryStore()):
        async with client_of(app) as client:
            assert [(await client.get("/")).status_code for _ in range(3)] == [200] * 3
            answers = [(await client.get("/", headers={"user": user})).status_code for user in ("a", "b", "a")]
    assert answers == [200, 200, 429]


@BOTH
async def test_a_key_that_no_store_accepts_is_hashed(application):
    app, _ = application(limit=1, key=lambda connection: connection.headers["user"])
    if application is with_dependency:

        def key(request: Request) -> str:
            return request.headers["user"]

        app, _ = application(limit=1, key=key)
    with override_store(app, MemoryStore()) as store:
        async with client_of(app) as client:
            for user in ("a" * 5000, "a" * 5000 + "b", ""):
                answers = [(await client.get("/", headers={"user": user})).status_code for _ in range(2)]
                assert answers == [200, 429]
        assert {len(key) async for key in store.keys("rate-limits/api")} == {65}


async def test_a_key_may_be_any_dependency():
    async def user(user: str = "nobody") -> str:
        return user

    async def subject(name: str = Depends(user)) -> str:
        return f"user {name}"

    app, _ = with_dependency(limit=1, key=subject)
    with override_store(app, MemoryStore()) as store:
        async with client_of(app) as client:
            assert [(await client.get("/?user=ada")).status_code for _ in range(2)] == [200, 429]
        assert await store.exists("rate-limits/api", "user ada")


@BOTH
def test_options_are_checked_at_once(application):
    def build(**options):
        app, _ = application(**options)
        app.build_middleware_stack()

    for options, error in [
        ({"limit": 0}, ConfigurationError),
        ({"per": 0}, InvalidTTLError),
        ({"burst": "1"}, ConfigurationError),
        ({"cost": 3}, ValueError),
        ({"collection": ""}, InvalidKeyError),
        ({"on_error": "ignore"}, ConfigurationError),
    ]:
        with pytest.raises(error):
            build(**options)


def test_the_key_of_a_middleware_is_a_plain_function():
    async def key(connection):
        return "k"

    for wrong in (key, "k"):
        with pytest.raises(ConfigurationError, match="key must be a plain function of the connection"):
            RateLimitMiddleware(FastAPI(), name="api", limit=1, per=60, key=wrong)


def test_a_websocket_is_refused_before_it_is_accepted():
    app, _ = with_middleware(limit=1)
    with override_store(app, MemoryStore()), TestClient(app) as client:
        with client.websocket_connect("/socket") as connection:
            assert connection.receive_text() == "welcome"
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/socket"):
            pass


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_websocket_is_answered_as_its_server_can(extensions):
    app, _ = with_middleware(limit=1)
    scope = {"type": "websocket", "path": "/socket", "headers": [], "query_string": b"", "client": ("192.0.2.1", 1)}
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    with override_store(app, MemoryStore()):
        for _ in range(2):
            sent.clear()
            await app(scope | {"extensions": extensions}, receive, send)
    if extensions:
        assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 429)
        assert (b"retry-after", b"60") in sent[0]["headers"]
    else:
        assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1013)]


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("testclient", 1), "testclient"),
        (("", 0), "unknown"),
        (None, "unknown"),
    ],
)
def test_the_address_of_a_client(client, address):
    assert client_address(HTTPConnection({"type": "http", "headers": [], "client": client})) == address


@contextmanager
def workers(url, count):
    """Run uvicorn with a number of workers, and yield where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        number = listening.fileno()
        command = [sys.executable, "-m", "uvicorn", "tests.integrations.limited:app", "--log-level", "error"]
        server = subprocess.Popen(
            [*command, "--workers", str(count), "--fd", str(number)],
            cwd=ROOT,
            env=dict(os.environ, SATCHEL_URL=url),
            pass_fds=[number],
            start_new_session=True,
        )
        try:
            yield "http://{}:{}".format(*listening.getsockname())
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


async def ask(url, count):
    """Make requests as one client, each over a connection of its own, and return the answers."""
    answers = []
    for _ in range(count):
        async with httpx.AsyncClient(timeout=60, headers={"client": "shared"}) as client:
            answers.append(await client.get(url))
    return answers


async def wait_until_all_answer(url, count):
    pids = set()
    while len(pids) < count:
        async with httpx.AsyncClient(timeout=60) as client:
            try:
                pids.add((await client.get(url, headers={"client": uuid4().hex})).json())
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    return pids


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "backend",
    [pytest.param("disk", marks=pytest.mark.night), pytest.param("redis", marks=pytest.mark.server("redis"))],
)
def test_8_clients_of_4_workers_never_pass_limit_and_burst(backend, tmp_path):
    async def scenario(url):
        await wait_until_all_answer(url, 4)
        begun = time.monotonic()
        answers = [answer for part in await asyncio.gather(*[ask(url, 25) for _ in range(8)]) for answer in part]
        return answers, time.monotonic() - begun

    store = f"disk://{tmp_path}/data" if backend == "disk" else f"{server_url('redis')}?prefix={uuid4().hex}"
    with workers(store, 4) as url:
        answers, took = asyncio.run(scenario(url))
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) == {200, 429}
    assert limited.BURST <= counts[200] <= limited.BURST + took * limited.LIMIT / limited.PER + 1
    allowed = Counter(answer.json() for answer in answers if answer.status_code == 200)
    assert len(allowed) > 1, "one worker had all the requests"
