"""The app as a whole: what it says of itself, mounting, health, metrics, faults, and its end."""

import asyncio
import json
import logging

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

import satchel
from satchel import MemoryStore, NullStore, StoreUnavailableError
from satchel.server import create_app
from satchel.wrappers import StatisticsWrapper
from tests.server.serving import connected, exchange, serving, serving_app


async def test_what_the_server_says_of_itself():
    async with serving(MemoryStore(), max_body=5_000, timeout=7) as client:
        about = (await client.get("/v1")).json()
    assert about["api"] == 1
    assert about["version"] == satchel.__version__
    assert set(about["capabilities"]) >= {"enumerate_keys", "conditional", "destroy_store", "cull"}
    assert about["limits"] == {
        "max_body": 5_000, "max_batch": 1_000, "max_page": 10_000, "remember_seconds": 30, "timeout": 7,
    }  # fmt: skip
    assert (about["max_key_bytes"], about["max_value_bytes"], about["read_only"]) == (4096, None, False)


async def test_what_the_store_lacks_is_said():
    class Plain(MemoryStore):
        _keys = _collections = _put_if = _cull = None

    async with serving(Plain()) as client:
        await client.put("/v1/c/a/b", json=1)
        for request in ("GET /v1/c/a", "GET /v1/c", "POST /v1/cull"):
            answer = await client.request(*request.split())
            assert (answer.status_code, answer.json()["error"]) == (501, "unsupported"), request
        answer = await client.put("/v1/c/a/b", json=1, headers={"If-None-Match": "*"})
        assert (answer.status_code, answer.json()["error"]) == (501, "unsupported")
        assert "conditional" not in (await client.get("/v1")).json()["capabilities"]


async def test_no_such_path_and_no_such_method():
    async with serving(NullStore()) as client:
        for path in ("/v2", "/v1/", "/v1x", "/v1/d", "/v1/c%2Fa", "/V1", "/v1//c", "/favicon.ico"):
            status = (await client.get(path)).status_code
            assert status == (200 if path == "/v1/" else 404), path
        for request, allowed in (
            ("POST /v1/c/a/b", "GET, HEAD, PUT, PATCH, DELETE"),
            ("PUT /v1/c/a", "GET, DELETE"),
            ("GET /v1/batch", "POST"),
            ("OPTIONS /v1/c/a/b", "GET, HEAD, PUT, PATCH, DELETE"),
            ("TRACE /v1", "GET"),
        ):
            answer = await client.request(*request.split(), headers={"Origin": "https://evil.example"})
            assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
            assert answer.headers["allow"] == allowed
            assert "access-control-allow-origin" not in answer.headers
        assert b" 404 " in await exchange(
            client, b"GET http://localhost/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert b" 404 " in await exchange(client, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")


async def test_mounted_in_other_apps():
    for make in (
        lambda app: Starlette(routes=[Mount("/kv/über", app=app)]),
        lambda app: _mounted(FastAPI(), app),
    ):
        store = MemoryStore()
        async with serving_app(make(create_app(store))) as client:
            root = "/kv/%C3%BCber"
            header = {"Content-Type": "application/json"}
            assert (
                await client.put(f"{root}/v1/c/a%2Fb/c%2F%25%C3%BC", content=b"1", headers=header)
            ).status_code == 204
            assert await store.get("a/b", "c/%ü") == 1
            assert (await client.get(f"{root}/v1")).json()["api"] == 1
            assert (await client.get(f"{root}/health")).json() == {"status": "ok"}


def _mounted(outer, app):
    outer.mount("/kv/über", app)
    return outer


async def test_health_follows_the_store():
    class Gone(MemoryStore):
        pings = 0

        async def ping(self):
            self.pings += 1
            raise StoreUnavailableError("gone")

    store = Gone()
    async with serving(store) as client:
        answers = await asyncio.gather(*(client.get("/health") for _ in range(5)))
        assert {answer.status_code for answer in answers} == {503}
        assert answers[0].json()["error"] == "store_unavailable"
        assert store.pings == 1
        assert (await client.get("/v1/ping")).status_code == 503
    async with serving(MemoryStore()) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.get("/v1/ping")).status_code == 204


async def test_metrics_count_calls_without_keys():
    store = StatisticsWrapper(MemoryStore())
    async with serving(store) as client:
        await client.put("/v1/c/users/a-secret-key", json=1)
        text = (await client.get("/metrics")).text
    assert 'satchel_operations_total{collection="users",operation="put",outcome="ok",store="server"} 1.0' in text
    assert "a-secret-key" not in text
    assert store.snapshot()["users"]["put"].calls == 1


async def test_a_fault_is_answered_and_logged_without_values(caplog):
    secret = "s3cr3t"  # it opens nothing

    class Faulty(MemoryStore):
        async def get_entry(self, *_args):
            raise RuntimeError(f"the value is {secret}")

    async with serving(Faulty()) as client:
        answer = await client.get("/v1/c/a/b")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal")
    assert secret not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text
    assert "in get_entry" in caplog.text


async def test_no_log_holds_a_key_a_value_or_a_token(caplog):
    token = "t0k3n-that-nobody-guesses"  # it opens nothing else
    with caplog.at_level(logging.DEBUG):
        async with serving(MemoryStore(), tokens=[token]) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            await client.put("/v1/c/a/s3cr3t-key", json="s3cr3t-value")
            await client.put(
                "/v1/c/a/s3cr3t-key", content=b"s3cr3t-value", headers={"Content-Type": "application/json"}
            )
            await client.get("/v1/c/a/s3cr3t-key")
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert [message for message in ours if "s3cr3t" in message or token in message] == []


async def test_shutdown_finishes_what_is_under_way():
    arrived = asyncio.Event()

    class Slow(MemoryStore):
        waiting = 0

        async def put(self, *args, **options):
            self.waiting += 1
            if self.waiting == 20:
                arrived.set()
            await asyncio.sleep(0.2)
            await super().put(*args, **options)

    store = Slow()
    async with serving(store) as client:
        under_way = [asyncio.create_task(client.put(f"/v1/c/a/{n}", json=n)) for n in range(20)]
        await arrived.wait()
    assert {(await answer).status_code for answer in under_way} == {204}
    assert {await store.get("a", str(n)) for n in range(20)} == set(range(20))


async def test_pipelined_requests_are_answered_in_order():
    store = MemoryStore()
    await store.put_many("a", {str(n): n for n in range(20)})
    async with serving(store) as client, connected(client) as (reader, writer):
        writer.writelines(b"GET /v1/c/a/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % n for n in range(20))
        for n in range(20):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert json.loads(await reader.readexactly(len(str(n)))) == n
