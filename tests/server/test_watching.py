"""Changes as server-sent events."""

import asyncio
import json
from contextlib import asynccontextmanager

import httpx

from satchel import MemoryStore, StoreUnavailableError
from satchel.server import Token, create_app, watching
from tests.server.serving import PLAIN, serving, serving_app


@asynccontextmanager
async def watched(client, path):
    """Open a stream of events, and give an iterator over them."""
    async with client.stream("GET", path) as answer:
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        yield events_of(answer)


async def events_of(answer):
    kind = None
    async for line in answer.aiter_lines():
        name, _, text = line.partition(": ")
        if name == "event":
            kind = text
        elif name == "data":
            yield kind, json.loads(text)
        elif name == "" and text:
            yield "alive", text


async def test_changes_come_as_events():
    store = MemoryStore()
    async with serving(store) as client, watched(client, "/v1/watch/a%2Fb?prefix=k") as events:
        assert await anext(events) == ("ready", {"key": None})
        for change in (
            client.put("/v1/c/a%2Fb/k1%0A%2F", json=1),
            client.put("/v1/c/a%2Fb/other", json=1),
            client.put("/v1/c/elsewhere/k1", json=1),
            client.patch("/v1/c/a%2Fb/k1%0A%2F", headers={"Satchel-TTL": "60"}),
            client.delete("/v1/c/a%2Fb/k1%0A%2F"),
            store.put("a/b", "k2", 1),
        ):
            await change
        seen = [await anext(events)]
        while seen[-1] != ("changed", {"key": "k2"}):
            seen.append(await anext(events))
        assert set(map(str, seen)) == {str(("changed", {"key": key})) for key in ("k1\n/", "k2")}


async def test_a_stream_with_nothing_to_say_shows_that_it_is_alive(monkeypatch):
    monkeypatch.setattr(watching, "_ALIVE_SECONDS", 0.01)
    async with serving(MemoryStore()) as client, watched(client, "/v1/watch/a") as events:
        assert [(await anext(events))[0] for _ in range(3)] == ["ready", "alive", "alive"]


async def test_a_shutdown_ends_the_streams():
    started = asyncio.Event()

    async def follow(client):
        kinds = []
        async with watched(client, "/v1/watch/a") as events:
            async for kind, _ in events:
                kinds.append(kind)
                started.set()
        return kinds

    app = create_app(MemoryStore())
    async with httpx.AsyncClient(**PLAIN) as other:
        async with serving_app(app) as client:
            other.base_url = client.base_url
            following = asyncio.create_task(follow(other))
            await started.wait()
        assert await following == ["ready"]


async def test_a_watcher_that_goes_away_is_forgotten():
    store = MemoryStore()
    async with serving(store, max_streams=1) as client:
        for _ in range(3):
            while True:
                async with client.stream("GET", "/v1/watch/a") as answer:
                    if answer.status_code == 200:
                        break
                    assert answer.status_code == 503
        await asyncio.gather(*(client.put(f"/v1/c/a/{n}", json=n) for n in range(10)))


async def test_what_cannot_be_watched():
    class Plain(MemoryStore):
        _watch = None

    class Failing(MemoryStore):
        def watch(self, *_args, **_options):
            @asynccontextmanager
            async def fail():
                raise StoreUnavailableError("gone")
                yield

            return fail()

    async with serving(Plain()) as client:
        answer = await client.get("/v1/watch/a")
        assert (answer.status_code, answer.json()["error"]) == (501, "unsupported")
    async with serving(Failing()) as client, watched(client, "/v1/watch/a") as events:
        kind, error = await anext(events)
        assert (kind, error["error"], error["retryable"]) == ("failed", "store_unavailable", True)
    async with serving(MemoryStore()) as client:
        for path in ("/v1/watch/", "/v1/watch/a?prefix=%ff", "/v1/watch/a?x=1", "/v1/watch/" + "x" * 4097):
            assert (await client.get(path)).status_code == 400
        assert (await client.get("/v1/watch/a/b")).status_code == 404


async def test_watching_is_within_the_scope_of_a_token():
    token = "a-token-of-the-tests"  # it opens nothing else
    async with serving(MemoryStore(), tokens=[Token(token, prefix="eu-", read_only=True)]) as client:
        assert (await client.get("/v1/watch/eu-a")).status_code == 401
        client.headers["Authorization"] = f"Bearer {token}"
        assert (await client.get("/v1/watch/us-a")).status_code == 403
        async with watched(client, "/v1/watch/eu-a") as events:
            assert await anext(events) == ("ready", {"key": None})
