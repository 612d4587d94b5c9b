"""Uploads and downloads: what is stored, which part is sent, and what a client is told."""

import httpx
import pytest
from fastapi import FastAPI, Request, UploadFile

from satchel import MemoryStore
from satchel.blobs import StoreBlobs
from satchel.errors import BlobChangedError
from satchel.integrations.fastapi import blob_response, save_upload

CONTENT = bytes(range(256)) * 2048


@pytest.fixture
def blobs():
    return StoreBlobs(MemoryStore(), max_size=len(CONTENT))


@pytest.fixture
def app(blobs):
    app = FastAPI()

    @app.api_route("/{key:path}", methods=["GET", "HEAD"])
    async def download(key: str, request: Request, name: str | None = None):
        return await blob_response(request, blobs, key, filename=name, headers={"Cache-Control": "private"})

    @app.post("/{key:path}")
    async def upload(key: str, file: UploadFile, absent: bool = False):
        return (await save_upload(blobs, key, file, if_absent=absent)).size

    @app.put("/{key:path}")
    async def stream(key: str, request: Request, version: str | None = None):
        return (await save_upload(blobs, key, request.stream(), if_version=version)).size

    return app


@pytest.fixture
async def client(app):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_an_upload_is_streamed_in_and_a_download_out(client, blobs):
    answer = await client.post("/a/b.png", files={"file": ("evil.html", CONTENT, "text/html")})
    assert answer.json() == len(CONTENT)
    assert (await blobs.info("a/b.png")).content_type == "image/png"
    answer = await client.get("/a/b.png")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private"
    assert "content-disposition" not in answer.headers
    head = await client.head("/a/b.png")
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers} == {**answer.headers}


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10), ("bytes=300000-300009", 206, 300_000, 300_010), ("bytes=-5", 206, -5, None),
        ("bytes=7-", 206, 7, None), ("bytes=0-99999999", 206, 0, None), ("bytes=-99999999", 206, 0, None),
        ("bytes=5-2", 200, 0, None), ("bytes=-", 200, 0, None), ("bytes=0-1,5-6", 200, 0, None),
        ("lines=0-9", 200, 0, None), ("bytes=a-b", 200, 0, None), ("bytes=\u0663-\u0665", 200, 0, None),
    ],
)  # fmt: skip
async def test_one_range_is_sent_and_what_is_none_is_left_aside(client, blobs, wanted, status, start, end):
    await blobs.put("k", CONTENT)
    answer = await client.get("/k", headers={"Range": wanted.encode()})
    assert (answer.status_code, answer.content) == (status, CONTENT[start:end])
    assert answer.headers["content-length"] == str(len(answer.content))
    if status == 206:
        first = start % len(CONTENT)
        span = f"bytes {first}-{first + len(answer.content) - 1}/{len(CONTENT)}"
        assert answer.headers["content-range"] == span


@pytest.mark.parametrize(("content", "wanted"), [(CONTENT, "bytes=524288-"), (CONTENT, "bytes=-0"), (b"", "bytes=0-")])
async def test_a_range_past_the_end_cannot_be_satisfied(client, blobs, content, wanted):
    await blobs.put("k", content)
    answer = await client.get("/k", headers={"Range": wanted})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(content)}")


async def test_an_empty_blob_is_sent_in_whole(client, blobs):
    await blobs.put("k", b"")
    answer = await client.get("/k")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


async def test_a_client_that_has_this_version_is_told_so(client, blobs):
    await blobs.put("k", CONTENT)
    e_tag = (await client.get("/k")).headers["etag"]
    for given in (e_tag, f"W/{e_tag}", f'"other", {e_tag}', "*"):
        answer = await client.get("/k", headers={"If-None-Match": given})
        assert (answer.status_code, answer.headers["etag"]) == (304, e_tag)
    resumed = {"Range": "bytes=5-", "If-Range": e_tag}
    assert (await client.get("/k", headers=resumed)).status_code == 206
    await blobs.put("k", CONTENT[1:])
    assert (await client.get("/k", headers={"If-None-Match": e_tag})).status_code == 200
    assert (await client.get("/k", headers=resumed)).content == CONTENT[1:]


async def test_a_name_to_save_it_under_cannot_add_headers(client, blobs):
    await blobs.put("k", b"1")
    answer = await client.get("/k", params={"name": 'ü"\r\nX: y.txt'})
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BC%22%0D%0AX%3A%20y.txt"


async def test_what_is_wrong_with_a_request_is_answered(client, blobs):
    upload = {"file": ("x", b"1")}
    assert (await client.get("/absent")).status_code == 404
    assert (await client.get("/" + "x" * 5000)).status_code == 404
    assert (await client.post("/" + "x" * 5000, files=upload)).status_code == 422
    assert (await client.put("/k", content=CONTENT + b"x")).status_code == 413
    assert not await blobs.exists("k")
    assert (await client.post("/k?absent=1", files=upload)).status_code == 200
    assert (await client.post("/k?absent=1", files=upload)).status_code == 409
    assert (await client.put("/k?version=other", content=b"2")).status_code == 412


async def test_a_blob_that_is_replaced_before_it_is_sent_breaks_the_answer_off(blobs):
    await blobs.put("k", CONTENT)
    request = Request({"type": "http", "method": "GET", "headers": []})
    answer = await blob_response(request, blobs, "k")
    await blobs.put("k", b"other")
    with pytest.raises(BlobChangedError):
        _ = [piece async for piece in answer.body_iterator]
