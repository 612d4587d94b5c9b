"""Tests of the URL shortener over a MemoryStore. Run with `pytest examples/url_shortener`."""

from collections.abc import AsyncIterator
from typing import cast

import httpx
import pytest
from app import create_app

from satchel import MemoryStore
from satchel.url import OpenedStore

PASSWORD = "correct horse"  # noqa: S105  # of the tests
TARGET = "https://example.com/a/long/address"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(cast("OpenedStore", MemoryStore()), PASSWORD)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=("203.0.113.7", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://short") as client:
            yield client


async def sign_in(client: httpx.AsyncClient) -> None:
    assert (await client.post("/admin/session", json={"password": PASSWORD})).status_code == 204


async def create(client: httpx.AsyncClient, slug: str, target: str = TARGET) -> None:
    created = await client.post("/admin/links", json={"target": target, "slug": slug})
    assert created.status_code == 201, created.text


async def test_a_link_is_followed_and_its_hits_are_counted(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    slug = (await client.post("/admin/links", json={"target": TARGET})).json()["slug"]
    for _ in range(3):
        answer = await client.get(f"/{slug}")
        assert (answer.status_code, answer.headers["location"]) == (307, TARGET)
    assert (await client.get("/admin/links")).json()["links"] == [{"slug": slug, "target": TARGET, "hits": 3}]


async def test_only_the_administrator_makes_links_until_the_session_ends(client: httpx.AsyncClient) -> None:
    new = {"target": TARGET, "slug": "docs"}
    assert (await client.post("/admin/links", json=new)).status_code == 401
    assert (await client.post("/admin/session", json={"password": "wrong"})).status_code == 403
    await sign_in(client)
    kept = dict(client.cookies)
    await create(client, "docs")
    assert (await client.delete("/admin/session")).status_code == 204
    client.cookies.update(kept)  # a copy of the cookie opens nothing any more
    assert (await client.get("/admin/links")).status_code == 401


async def test_passwords_cannot_be_tried_without_end(client: httpx.AsyncClient) -> None:
    answers = [(await client.post("/admin/session", json={"password": "wrong"})) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [403] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) <= 60


async def test_a_changed_link_leads_elsewhere_at_once(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    await create(client, "docs")
    assert (await client.get("/docs-2")).status_code == 404
    assert (await client.get("/abc")).status_code == 404
    await create(client, "abc", "https://example.com/b")
    for target in ("https://example.com/c", "https://example.com/d"):
        assert (await client.put("/admin/links/abc", json={"target": target})).status_code == 204
        assert (await client.get("/abc")).headers["location"] == target
    assert (await client.delete("/admin/links/abc")).status_code == 204
    assert (await client.get("/abc")).status_code == 404
    assert (await client.put("/admin/links/abc", json={"target": TARGET})).status_code == 404


async def test_a_slug_is_given_once_and_has_a_form(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    await create(client, "docs1")
    for slug, status in (("docs1", 409), ("a", 422), ("a/b", 422), ("x" * 33, 422), ("ü" * 5, 422)):
        answer = await client.post("/admin/links", json={"target": TARGET, "slug": slug})
        assert answer.status_code == status, slug
    assert (await client.post("/admin/links", json={"target": "javascript:alert(1)"})).status_code == 422


async def test_links_are_listed_in_pages(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    for number in range(7):
        await create(client, f"link-{number}")
    slugs, after = [], ""
    while after is not None:
        page = (await client.get("/admin/links", params={"after": after, "limit": 3})).json()
        slugs += [link["slug"] for link in page["links"]]
        after = page["next"]
    assert slugs == [f"link-{number}" for number in range(7)]
