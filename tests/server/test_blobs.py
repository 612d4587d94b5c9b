"""Blobs under signed addresses."""

import asyncio
import random
import secrets

import pytest

from satchel import MemoryStore
from satchel.blobs import StoreBlobs, UrlSigner
from satchel.server import SignedBlobs
from satchel.testing import FakeClock
from tests.server.serving import connected, serving

CONTENT = random.Random(1).randbytes(300_000)


class Shared:
    """A server with blobs, and a client for it."""

    def __init__(self, client, blobs, clock):
        self.client = client
        self.blobs = blobs
        self.clock = clock

    async def path(self, key, **options):
        url = await self.blobs.url_for(key, **options)
        return url.removeprefix("http://localhost")

    async def get(self, key, method="GET", **headers):
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.client.request(method, await self.path(key), headers=names)


@pytest.fixture
async def shared():
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    signer = UrlSigner(secrets.token_bytes(32), scope="photos", clock=clock)
    blobs = StoreBlobs(store, "photos", base_url="http://localhost/v1/b/photos", signer=signer, chunk_size=10_000)
    token = "a-token-of-the-tests"  # it opens nothing else
    async with serving(store, tokens=[token], blobs={"photos": SignedBlobs(blobs, signer)}) as client:
        yield Shared(client, blobs, clock)


async def test_a_blob_is_read_without_a_token(shared):
    for key, content in (("cat.png", CONTENT), ("a/ü b%2F", b"small"), ("empty", b"")):
        info = await shared.blobs.put(key, content, content_type="image/png")
        got = await shared.get(key)
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, content, "image/png")
        assert got.headers["content-length"] == str(len(content))
        assert got.headers["satchel-api"] == "1"
        head = await shared.get(key, "HEAD")
        assert (head.status_code, head.content) == (200, b"")
        assert {**head.headers, "date": ""} == {**got.headers, "date": ""}
        known = await shared.get(key, If_None_Match=got.headers["etag"])
        assert (known.status_code, known.content) == (304, b"")
        assert info.version in got.headers["etag"]


async def test_a_part_of_a_blob(shared):
    await shared.blobs.put("a", CONTENT)
    for asked, start, end in (
        ("bytes=0-0", 0, 1), ("bytes=9999-10000", 9_999, 10_001), ("bytes=299999-", 299_999, 300_000),
        ("bytes=-5", 299_995, 300_000), ("bytes=5-999999", 5, 300_000), ("bytes=20000-280000", 20_000, 280_001),
    ):  # fmt: skip
        got = await shared.get("a", Range=asked)
        assert (got.status_code, got.content) == (206, CONTENT[start:end])
        assert got.headers["content-range"] == f"bytes {start}-{end - 1}/300000"
    beyond = await shared.get("a", Range="bytes=300000-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */300000")


async def test_only_what_is_signed_can_be_read(shared):
    await shared.blobs.put("a", b"1")
    await shared.blobs.put("b", b"2")
    good = await shared.path("a", expires=100)
    path, _, query = good.partition("?")
    writing = (await shared.path("a", method="PUT")).partition("?")[2]
    for wrong in (
        path, f"{path}?", f"/v1/b/photos/b?{query}", f"{path}?{writing}", good[:-1],
        good.replace("expires=", "expires=9"), f"{path}?expires=x&method=GET&signature=y",
        f"{path}?expires=&method=&signature=",
    ):  # fmt: skip
        answer = await shared.client.get(wrong)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), wrong
    for wrong, status in ((good + "&x=1", 400), ("/v1/b/other/a?" + query, 404), ("/v1/b/photos/?" + query, 400)):
        assert (await shared.client.get(wrong)).status_code == status
    for method in ("PUT", "DELETE", "POST"):
        assert (await shared.client.request(method, good)).status_code == 405
    shared.clock.advance(200)
    assert (await shared.client.get(good)).status_code == 403
    missing = await shared.get("missing")
    assert (missing.status_code, missing.json()["error"]) == (404, "absent")


async def test_a_stored_page_runs_no_script(shared):
    await shared.blobs.put("page.html", b"<script>alert(1)</script>", content_type="text/html")
    policy = (await shared.get("page.html")).headers["content-security-policy"]
    assert policy.startswith("sandbox;")
    assert "allow-scripts" not in policy
    await shared.blobs.put("odd", b"1", content_type="text/html\r\nSet-Cookie: a=b")
    odd = await shared.get("odd")
    assert (odd.headers["content-type"], "set-cookie" in odd.headers) == ("application/octet-stream", False)


async def test_a_reader_that_goes_away_ends_the_reading(shared):
    await shared.blobs.put("a", CONTENT * 40)
    path = await shared.path("a")
    async with connected(shared.client) as (reader, writer):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.readexactly(100)
    async with asyncio.timeout(20):
        assert (await shared.get("a", Range="bytes=0-9")).content == CONTENT[:10]
