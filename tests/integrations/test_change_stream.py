"""Changes as server-sent events, to clients of a real uvicorn."""

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Response

from satchel import Capability, Collection, ConfigurationError, InvalidKeyError, MemoryStore, UnsupportedOperationError
from satchel.integrations.fastapi import change_stream, collection, override_store
from tests.patience import until

Users = Annotated[Collection[Any], collection("users")]


def application(**options):
    app = FastAPI()

    @app.get("/changes")
    async def changes(users: Users) -> Response:
        return change_stream(users, **options)

    return app


@asynccontextmanager
async def serving(app, store):
    with socket.create_server(("127.0.0.1", 0)) as listening, override_store(app, store):
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1))
        task = asyncio.create_task(server.serve([listening]))
        try:
            async with httpx.AsyncClient(base_url="http://{}:{}".format(*listening.getsockname()), timeout=20) as http:
                yield http
        finally:
            server.should_exit = True
            await task


@pytest.fixture
async def store():
    async with MemoryStore() as made:
        yield made


async def watchers(store, count):
    """Wait until so many watch the store."""

    async def there_are() -> bool:
        feeds = store._entries.feeds
        return len(feeds and feeds[0]._of(None)) == count

    await until(there_are)


@asynccontextmanager
async def stream(http):
    async with http.stream("GET", "/changes") as answer:
        assert answer.status_code == 200
        yield answer, answer.aiter_lines()


async def event(lines):
    """Return the next event or comment, as its lines."""
    found = []
    while (line := await anext(lines)) != "":
        found.append(line)
    return found


async def test_each_change_is_an_event(store):
    async with serving(application(prefix="eu/"), store) as http, stream(http) as (answer, lines):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert await event(lines) == ["event: ready", "data: {}"]
        await store.put("users", "us/1", 1)
        await store.put("users", 'eu/1 "\n\u2028', 1)
        assert await event(lines) == ["event: changed", r'data: {"key": "eu/1 \"\n\u2028"}']
        store._entries.feeds[0].lost("users")
        assert await event(lines) == ["event: lost", "data: {}"]
        assert await event(lines) == ["event: ready", "data: {}"]


async def test_a_comment_is_sent_while_nothing_changes_and_no_change_is_missed_for_it(store):
    async with serving(application(keep_alive=0.02), store) as http, stream(http) as (_, lines):
        assert await event(lines) == ["event: ready", "data: {}"]
        for number in range(3):
            assert await event(lines) == [": keep-alive"]
            await store.put("users", str(number), 1)
            while (found := await event(lines)) == [": keep-alive"]:
                pass
            assert found == ["event: changed", f'data: {{"key": "{number}"}}']


async def test_it_ends_with_its_client_and_the_others_go_on(store):
    async with serving(application(), store) as http:
        async with stream(http) as (_, lines):
            await event(lines)
            async with stream(http) as (_, others):
                await event(others)
                await watchers(store, 2)
            await watchers(store, 1)
            await store.put("users", "k", 1)
            assert (await event(lines))[0] == "event: changed"
        await watchers(store, 0)


async def test_it_ends_with_the_store(store):
    async with serving(application(), store) as http, stream(http) as (_, lines):
        await event(lines)
        await store.aclose()
        with pytest.raises(StopAsyncIteration):
            await event(lines)


async def test_a_store_that_reports_nothing_and_wrong_options_are_refused_at_the_call(store):
    users = store.collection("users")
    with pytest.raises(ConfigurationError, match="keep_alive"):
        change_stream(users, keep_alive=0)
    with pytest.raises(InvalidKeyError):
        change_stream(users, prefix=1)
    store._missing = Capability.WATCH
    with pytest.raises(UnsupportedOperationError, match="WATCH"):
        change_stream(users)
