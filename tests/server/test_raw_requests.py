"""Requests that no client library would send: no fault, no hang, nothing left behind."""

import asyncio
import logging
import tracemalloc
from contextlib import suppress
from random import Random

import pytest

from satchel import MemoryStore
from satchel.server import create_app
from satchel.server import serving as serving_module
from tests.server.serving import connected, serving_app

METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "TRACE", "BREW", "get", ""]
PIECES = [
    "/v1", "/c", "/c/a", "/a", "/b", "/", "//", "/..", "/.", "%2F", "%00", "%", "%ff", "%zz", "%25", "+", "?", "&", "=",
    "prefix=", "after=", "limit=", "count=1", "all=1", "limit=1", "#", ";", "x" * 300, "%C3%BC", "/batch", "/ping",
    "/cull", "/watch/a", "/b/x/y", "/openapi.json", "/metrics", "/health", "*", "http://localhost", "\x00", "\x7f", "ü",
    " ",
]  # fmt: skip
NAMES = [
    "Content-Type", "If-Match", "If-None-Match", "Satchel-TTL", "Satchel-Expires-At", "Satchel-Request-Id", "Range",
    "Satchel-Retry", "Accept", "Authorization", "Expect", "Upgrade", "Connection", "X", "If-Range", "", "a b", "Host",
]  # fmt: skip
VALUES = [
    "application/json", "application/octet-stream", "application/x-ndjson", "*", '"a"', 'W/"a"', '"a", "b"', '"%ff"',
    '"', "5", "0", "-1", "none", "nan", "1e9", "2093-01-31T12:00:00Z", "0001-01-01T00:00:00+23:59", "x",
    "", "9999-12-31T23:59:59-23:59", "bytes=0-1", "bytes=-0", "bytes=5-", "bytes=-99999999999999999999", "Bearer x",
    "100-continue", "websocket", "h2c", "close", "ü", "\x00", "x" * 5000, "localhost", "evil.example",
]  # fmt: skip
BODIES = [
    b"", b"1", b"{", b'{"a":[1,2,3]}', b"[" * 3000, b"\xff\x00", b"x" * 5000, b'{"operations":[]}',
    b'{"operations":[{"op":"get","collection":"a","key":"b"},{"op":"put","collection":"a","key":"c","value":1e400}]}',
    b'{"operations":[{"op":"put","collection":"a","key":"\\u0000","bytes":"AA==","ttl":1e-300}]}',
    b'{"operations":[{"op":"touch","collection":"a","key":"b","expires_at":"0001-01-01T00:00:00+23:59"}]}',
]  # fmt: skip
CHUNKS = [
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"zz\r\n",
    b"-1\r\nx\r\n",
    b"ffffffffffffffff\r\nx",
    b"1;ext\r\nx\r\n",
    b"5\r\nhi",
]
ALLOWED = {*range(200, 500), 501, 503}


def raw_request(random):
    """Return a request that is more or less wrong."""
    path = "".join(random.choices(PIECES, k=random.randint(0, 4)))
    if random.random() < 0.8:
        path = random.choice(["/v1/c/a/b", "/v1/c/a", "/v1/c", "/v1/batch", "/v1"]) + random.choice(["", "", path])
    body = random.choice(BODIES)
    lines = [f"{random.choice(METHODS[:6] * 3 + METHODS)} {path} HTTP/1.1"]
    if random.random() < 0.95:
        lines.append("Host: localhost")
    if random.random() < 0.5:
        lines.append("Content-Type: application/octet-stream")
    names = random.choice([NAMES[3:5], NAMES[:-3], NAMES])
    lines += [f"{random.choice(names)}: {random.choice(VALUES)}" for _ in range(random.choice([0, 0, 1, 3]))]
    if random.random() < 0.3:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(random.choices(CHUNKS, k=random.randint(0, 4)))
    else:
        lines.append(f"Content-Length: {random.choice([len(body)] * 6 + [0, len(body) + 7, -1, 10**12, 'x'])}")
    request = bytearray("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body)
    for _ in range(random.choice([0, 0, 0, 0, 0, 1, 5])):
        request[random.randrange(len(request))] = random.randrange(256)
    return bytes(request[: random.choice([len(request)] * 5 + [random.randrange(len(request))])])


async def send(client, random):
    """Send a request in pieces, perhaps go away, and return the status; None if the server cut it off."""
    request = raw_request(random)
    async with connected(client) as (reader, writer):
        with suppress(OSError):
            for start in range(0, len(request), size := random.choice([1 << 20, 1 << 20, 100])):
                writer.write(request[start : start + size])
                await writer.drain()
            if random.random() < 0.1:
                return None
            if random.random() < 0.1:
                writer.write_eof()
            line = await asyncio.wait_for(reader.readline(), 20)
            while line.startswith(b"HTTP/1.1 100 "):
                await reader.readline()
                line = await asyncio.wait_for(reader.readline(), 20)
            assert line == b"" or int(line.split()[1]) in ALLOWED, (line, request)
            return int(line.split()[1]) if line else None


async def send_many(monkeypatch, seed, count):
    """Send requests, eight at a time, and return how many got each status."""
    statuses = {}
    app = create_app(MemoryStore(), max_body=50_000, timeout=0.2)
    async with serving_app(app) as client:

        async def work(number):
            random = Random(seed * 1000 + number)
            for _ in range(count // 8):
                status = await send(client, random)
                statuses[status] = statuses.get(status, 0) + 1

        with monkeypatch.context() as patch:
            patch.setattr(serving_module, "_IDLE_SECONDS", 0.2)
            async with asyncio.TaskGroup() as group:
                for number in range(8):
                    group.create_task(work(number))
        assert (await client.get("/v1")).status_code == 200
    assert (app._requests, app._streams, app._bodies.held) == (0, 0, 0)
    return statuses


@pytest.mark.long
async def test_raw_requests(monkeypatch, caplog):
    statuses = await send_many(monkeypatch, 1, 800)
    assert {200, 204, 400, 404, 405, 408, 415, None} <= statuses.keys(), statuses
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.night
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 12))
async def test_many_raw_requests_in_bounded_memory(monkeypatch, seed):
    await send_many(monkeypatch, seed, 400)
    tracemalloc.start()
    try:
        await send_many(monkeypatch, seed, 10_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000
