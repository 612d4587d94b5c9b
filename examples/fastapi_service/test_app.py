"""The service's tests: a MemoryStore stands in for the real one, a NullStore for one that holds nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from examples.fastapi_service.app import app
from satchel import MemoryStore, NullStore
from satchel.integrations.fastapi import override_store


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with override_store(app, MemoryStore()) as store:
        yield store


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


async def test_a_note_is_written_and_read(store: MemoryStore, client: httpx.AsyncClient) -> None:
    assert (await client.put("/notes/first", json={"title": "Hello"})).status_code == 204
    assert (await client.get("/notes/first")).json() == {"title": "Hello", "text": "", "views": 0}
    assert await store.get("notes", "first") == {"title": "Hello", "text": "", "views": 0}


async def test_a_note_of_a_wrong_form_is_refused(store: MemoryStore, client: httpx.AsyncClient) -> None:
    assert (await client.put("/notes/first", json={"text": "no title"})).status_code == 422
    assert not await store.exists("notes", "first")


@pytest.mark.usefixtures("store")
async def test_no_view_is_lost_among_many(client: httpx.AsyncClient) -> None:
    await client.put("/notes/first", json={"title": "Hello"})
    await asyncio.gather(*(client.post("/notes/first/views") for _ in range(20)))
    assert (await client.get("/notes/first")).json()["views"] == 20


async def test_a_setting_is_put_under_its_key(store: MemoryStore, client: httpx.AsyncClient) -> None:
    await client.put("/settings/theme", json={"colour": "dark"})
    assert await store.get("settings", "theme") == {"colour": "dark"}


@pytest.mark.usefixtures("store")
async def test_a_key_that_no_store_takes_is_the_clients_mistake(client: httpx.AsyncClient) -> None:
    assert (await client.get("/notes/" + "a" * 5000)).status_code == 422


async def test_what_the_store_has_lost_is_a_404(client: httpx.AsyncClient) -> None:
    with override_store(app, NullStore()):
        assert (await client.put("/notes/first", json={"title": "Hello"})).status_code == 204
        assert (await client.get("/notes/first")).status_code == 404
        assert (await client.post("/notes/first/views")).status_code == 404


async def test_it_starts_on_the_store_of_the_url(monkeypatch: pytest.MonkeyPatch, client: httpx.AsyncClient) -> None:
    monkeypatch.setenv("SATCHEL_URL", "memory://")
    async with app.router.lifespan_context(app):
        assert (await client.get("/ready")).json() == {"status": "ready"}
        assert (await client.put("/notes/first", json={"title": "Hello"})).status_code == 204
        assert (await client.get("/notes/first")).status_code == 200
