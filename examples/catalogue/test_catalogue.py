"""Tests of the service, with the stores of satchel as doubles. Run with `pytest examples/catalogue`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from app import create_app
from models import Distribution, InstalledFile
from prometheus_client.parser import text_string_to_metric_families

from satchel import AsyncKeyValue, MemoryStore, NullStore, StoreUnavailableError
from satchel.testing import FakeClock, FlakyStore

SATCHEL = Distribution(name="satchel", version="1.0", summary="Keeps things", file_count=2)
FILES = [
    InstalledFile(owner="satchel", path="satchel/__init__.py", size=12, hash="sha256:abc"),
    InstalledFile(owner="satchel", path="satchel-1.0.dist-info/METADATA"),
]


@asynccontextmanager
async def service(make_store: Callable[[], AsyncKeyValue]) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(make_store)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://catalogue") as http:
            yield http


async def put_all(http: httpx.AsyncClient) -> None:
    (await http.put("/distributions/satchel", json=SATCHEL.model_dump())).raise_for_status()
    (await http.put("/files", json=[file.model_dump() for file in FILES])).raise_for_status()


async def test_what_was_put_comes_back() -> None:
    async with service(MemoryStore) as http:
        await put_all(http)
        assert (await http.get("/distributions/satchel")).json() == SATCHEL.model_dump()
        found = await http.post("/files/lookup", json=[FILES[0].key, "satchel/no-such-file"])
        assert found.json() == {FILES[0].key: FILES[0].model_dump()}


async def test_a_name_that_no_store_accepts_is_the_clients_mistake() -> None:
    name = "x" * 5000
    body = SATCHEL.model_dump() | {"name": name}
    async with service(MemoryStore) as http:
        assert (await http.put(f"/distributions/{name}", json=body)).status_code == 422
        assert (await http.get(f"/distributions/{name}")).status_code == 422


async def test_a_store_that_holds_nothing_is_an_empty_catalogue() -> None:
    async with service(NullStore) as http:
        await put_all(http)
        assert (await http.get("/distributions/satchel")).status_code == 404
        searches = [await http.get("/search", params={"text": "satchel"}) for _ in range(2)]
        assert [search.json() for search in searches] == [[], []]
        assert [search.headers["x-cache"] for search in searches] == ["miss", "miss"]


async def test_a_search_is_cached_until_it_expires() -> None:
    clock = FakeClock()
    async with service(lambda: MemoryStore(clock=clock)) as http:
        await put_all(http)

        async def search() -> tuple[str, int]:
            answer = await http.get("/search", params={"text": "METADATA"})
            return answer.headers["x-cache"], len(answer.json())

        assert [await search(), await search()] == [("miss", 1), ("hit", 1)]
        clock.advance(31)
        assert await search() == ("miss", 1)
        counted = (await http.get("/statistics")).json()["searches"]["get"]
        assert (counted["hits"], counted["misses"]) == (1, 2)


async def test_prometheus_gets_what_was_counted() -> None:
    async with service(MemoryStore) as http:
        await put_all(http)
        for name in ("satchel", "secret-name"):
            await http.get(f"/distributions/{name}")
        answer = await http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        read = {"store": "catalogue", "collection": "distributions", "operation": "get"}
        found = {
            name: [sample.value for sample in families[name].samples if read.items() <= sample.labels.items()]
            for name in ("satchel_operations", "satchel_hits", "satchel_misses")
        }
        assert found == {"satchel_operations": [2, 0], "satchel_hits": [1], "satchel_misses": [1]}
        assert "secret-name" not in answer.text


async def test_trouble_with_the_store_is_503_and_passes() -> None:
    store = FlakyStore()
    async with service(lambda: store) as http:
        await put_all(http)
        store.fail_next()
        assert (await http.get("/distributions/satchel")).status_code == 503
        assert (await http.get("/distributions/satchel")).status_code == 200


async def test_an_unready_store_keeps_the_service_from_starting() -> None:
    store = FlakyStore()
    store.fail_next()
    with pytest.raises(StoreUnavailableError, match="told to fail"):
        async with service(lambda: store):
            pass


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/distributions/other", SATCHEL.model_dump()),
        ("PUT", "/distributions/satchel", {"name": "satchel"}),
        ("PUT", "/files", [{"owner": "", "path": "x"}]),
        ("PUT", "/files", [FILES[0].model_dump()] * 1001),
        ("POST", "/files/lookup", "satchel"),
        ("GET", "/search?text=a", None),
    ],
)
async def test_bad_requests_are_refused(method: str, path: str, body: object) -> None:
    async with service(MemoryStore) as http:
        assert (await http.request(method, path, json=body)).status_code == 422


@asynccontextmanager
async def served(make_store: Callable[[], AsyncKeyValue]) -> AsyncIterator[httpx.AsyncClient]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(create_app(make_store), log_level="error", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            async with httpx.AsyncClient(base_url="http://{}:{}".format(*listening.getsockname()), timeout=20) as http:
                yield http
        finally:
            server.should_exit = True
            await serving


async def test_the_page_is_told_of_each_change_and_reads_it() -> None:
    async with served(MemoryStore) as http:
        page = await http.get("/")
        assert "new EventSource" in page.text
        nonce = page.headers["content-security-policy"].partition("script-src 'nonce-")[2].partition("'")[0]
        assert f'<script nonce="{nonce}">' in page.text
        async with http.stream("GET", "/changes") as changes:
            lines = changes.aiter_lines()
            assert await anext(lines) == "event: ready"
            assert (await http.get("/distributions")).json() == []
            await put_all(http)
            told = [line async for line in _first(lines, 4)]
            assert told == ["data: {}", "", "event: changed", 'data: {"key": "satchel"}']
        assert (await http.get("/distributions")).json() == [SATCHEL.model_dump()]


async def test_a_store_that_reports_no_changes_has_no_live_page() -> None:
    async with service(NullStore) as http:
        assert (await http.get("/changes")).status_code == 501


async def _first(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield await anext(lines)
