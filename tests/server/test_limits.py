"""Every request is bounded: in size, in time, in number. Clients that misbehave harm nobody else."""

import asyncio
import logging
import tracemalloc
from contextlib import AsyncExitStack

from satchel import MemoryStore
from satchel.server import serving as serving_module
from satchel.testing import FlakyStore
from tests.patience import until
from tests.server.serving import connected, exchange, serving

HEAD = b"PUT /v1/c/a/b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"


async def eventually(send, status):
    """Send a request again until it gets a status, which the limit on the time of a test bounds."""
    while (await send()).status_code != status:
        pass


async def test_a_body_that_is_too_large():
    store = MemoryStore()
    async with serving(store, max_body=10_000) as client:
        kind = {"Content-Type": "application/octet-stream"}
        assert (await client.put("/v1/c/a/b", content=b"x" * 10_000, headers=kind)).status_code == 204

        async def chunks():
            for _ in range(11):
                yield b"x" * 1000

        for content in (b"x" * 10_001, chunks()):
            answer = await client.put("/v1/c/a/c", content=content, headers=kind)
            assert (answer.status_code, answer.json()["error"]) == (413, "body_too_large")
            assert answer.json()["limit"] == 10_000
        assert await store.exists("a", "c") is False
        batch = await client.post("/v1/batch", content=b" " * 10_001, headers={"Content-Type": "application/json"})
        assert batch.status_code == 413


async def test_a_huge_body_is_refused_before_it_is_sent():
    async with serving(MemoryStore()) as client, connected(client) as (reader, writer):
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")


async def test_an_endless_body_takes_no_memory():
    async with serving(MemoryStore(), max_body=100_000) as client, connected(client) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        tracemalloc.start()
        try:
            for _ in range(200):
                writer.write(chunk)
                await writer.drain()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert b" 413 " in await reader.readline()
        assert peak < 3_000_000
        assert (await client.get("/v1/c/a")).json()["keys"] == []


async def test_many_bodies_at_once_share_a_limit():
    store = MemoryStore()
    async with serving(store, max_body=100_000) as client:
        async with AsyncExitStack() as stack:
            for number in range(9):
                reader, writer = await stack.enter_async_context(connected(client))
                writer.write(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 90_000)
                if number == 8:
                    assert b" 503 " in await asyncio.wait_for(reader.readline(), 20)
        await eventually(lambda: client.put("/v1/c/a/b", json="x" * 90_000), 204)


async def test_bodies_that_are_only_announced_keep_nobody_out():
    async with serving(MemoryStore(), max_body=100_000) as client, AsyncExitStack() as stack:
        for _ in range(20):
            _, writer = await stack.enter_async_context(connected(client))
            writer.write(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 100)
        for _ in range(3):
            assert (await client.put("/v1/c/a/b", json="x" * 90_000)).status_code == 204


async def test_a_slow_body_ends_with_a_timeout():
    store = MemoryStore()
    async with serving(store, timeout=0.1) as client:
        answer = await exchange(client, HEAD + b"Content-Length: 100\r\n\r\n" + b"x" * 50)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"error":"request_timeout"' in answer
    assert await store.exists("a", "b") is False


async def test_a_slow_store_ends_with_a_timeout():
    async with serving(FlakyStore(latency=5), timeout=0.05) as client:
        answer = await client.get("/v1/c/a/b")
    assert (answer.status_code, answer.json()["error"], answer.json()["retryable"]) == (504, "store_timeout", True)


async def test_too_many_requests_at_once():
    gate = asyncio.Event()
    store = FlakyStore(latency=1, sleep=lambda _: gate.wait())
    async with serving(store, max_requests=2) as client:
        calls = [asyncio.create_task(client.get(f"/v1/c/a/{number}")) for number in range(6)]
        await until(lambda: sum(call.done() for call in calls) == 4)
        gate.set()
        answers = await asyncio.gather(*calls)
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [404, 404, 503, 503, 503, 503]
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert (refused.json()["error"], refused.headers["retry-after"]) == ("overloaded", "1")
        assert (await client.get("/v1/c/a/b")).status_code == 404


async def test_too_many_streams_at_once():
    class Slow(MemoryStore):
        async def keys(self, *_args, **_options):
            yield "a"
            await asyncio.sleep(30)

    lines = {"Accept": "application/x-ndjson"}
    async with serving(Slow(), max_streams=1) as client:
        async with client.stream("GET", "/v1/c/a", headers=lines) as first:
            assert first.status_code == 200
            second = await client.get("/v1/c/a", headers=lines)
            assert (second.status_code, second.json()["error"]) == (503, "overloaded")
        while True:
            async with client.stream("GET", "/v1/c/a", headers=lines) as third:
                if third.status_code == 200:
                    break


async def test_a_client_that_goes_away_is_forgotten(caplog):
    store = MemoryStore()
    async with serving(store) as client:
        for part in (
            HEAD,
            HEAD + b"Content-Length: 100\r\n\r\nxxx",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nxx",
        ):
            async with connected(client) as (_, writer):
                writer.write(part)
                await writer.drain()
        await store.put("a", "large", b"x" * 5_000_000)
        async with connected(client) as (reader, writer):
            writer.write(b"GET /v1/c/a/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.read(100)
        assert (await client.get("/v1/c/a")).json()["keys"] == ["large"]
    assert await store.exists("a", "b") is False
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_client_that_does_not_read_is_cut_off():
    store = MemoryStore()
    await store.put("a", "large", b"x" * 15_000_000)
    async with serving(store, timeout=0.2, max_requests=1) as client, connected(client) as (reader, writer):
        writer.write(b"GET /v1/c/a/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readline()
        await eventually(lambda: client.get("/v1/c/a/b"), 404)


async def test_a_head_that_never_ends_is_cut_off(monkeypatch):
    async with serving(MemoryStore()) as client:
        with monkeypatch.context() as patch:
            patch.setattr(serving_module, "_IDLE_SECONDS", 0.2)
            for beginning in (b"", b"GET /v1 HT", b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nX: "):
                async with connected(client) as (reader, writer):
                    writer.write(beginning)
                    assert await asyncio.wait_for(reader.read(), 20) == b""
        assert (await client.get("/v1")).status_code == 200


async def test_a_head_that_is_too_long_is_refused():
    async with serving(MemoryStore()) as client, connected(client) as (reader, writer):
        writer.write(b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
