"""Tests of the shared files over a directory and a store. Run with `pytest examples/file_share`."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from app import create_app

FILM = bytes(range(256)) * 4096


@pytest.fixture(params=["file:{}/data", "memory:"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(request.param.format(tmp_path))
    served = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://files")
    async with app.router.lifespan_context(app), served as client:
        yield client


async def test_a_file_goes_up_and_down_in_whole_and_in_parts(client: httpx.AsyncClient) -> None:
    sent = await client.post("/files", files={"file": ("film.mp4", FILM)})
    assert (sent.status_code, sent.json()["size"], sent.json()["content_type"]) == (201, len(FILM), "video/mp4")
    whole = await client.get("/files/film.mp4")
    assert (whole.status_code, whole.content) == (200, FILM)
    part = await client.get("/files/film.mp4", headers={"Range": "bytes=-10"})
    assert (part.status_code, part.content) == (206, FILM[-10:])
    again = await client.get("/files/film.mp4", headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_files_are_listed_in_pages_and_removed(client: httpx.AsyncClient) -> None:
    for number in range(5):
        assert (await client.put(f"/files/notes/{number}.txt", content=b"note")).status_code == 201
    page = (await client.get("/files", params={"limit": 3})).json()
    assert [file["name"] for file in page["files"]] == ["notes/0.txt", "notes/1.txt", "notes/2.txt"]
    page = (await client.get("/files", params={"limit": 3, "after": page["next"]})).json()
    assert ([file["name"] for file in page["files"]], page["next"]) == (["notes/3.txt", "notes/4.txt"], None)
    assert (await client.delete("/files/notes/0.txt")).status_code == 204
    assert (await client.delete("/files/notes/0.txt")).status_code == 404
    assert (await client.get("/files/notes/0.txt")).status_code == 404
