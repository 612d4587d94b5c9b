"""Listings over a socket: pages, streams, counts, scopes, and removing everything."""

import json
import tracemalloc

import pytest

from satchel import MemoryStore, StoreUnavailableError
from satchel.server import Token
from tests.server.serving import serving

LINES = {"Accept": "application/x-ndjson"}
SECRET = "a-token-of-the-tests"  # it opens nothing else


async def pages(client, path, what, **params):
    """Return the names of all pages, with the number of pages."""
    names, count, after = [], 0, ""
    while after is not None:
        answer = await client.get(path, params={**params, "after": after})
        assert answer.status_code == 200
        names += answer.json()[what]
        after = answer.json()["next"]
        count += 1
    return names, count


def lines_of(answer):
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_pages_of_keys_and_of_collections(client, store):
    keys = sorted(f"k{number}/ü" for number in range(25))
    await store.put_many("many", dict.fromkeys(keys, 1))
    for number in range(12):
        await store.put(f"c{number}", "a", 1)
    assert await pages(client, "/v1/c/many", "keys", limit=10) == (keys, 3)
    assert await pages(client, "/v1/c/many", "keys", limit=25) == (keys, 1)
    assert await pages(client, "/v1/c/many", "keys", prefix="k1") == ([k for k in keys if k.startswith("k1")], 1)
    names = sorted(["many", *(f"c{number}" for number in range(12))])
    assert await pages(client, "/v1/c", "collections", limit=5) == (names, 3)
    assert await pages(client, "/v1/c", "collections", prefix="c1", limit=2) == (["c1", "c10", "c11"], 2)


async def test_streams(client, store):
    keys = {f"k{number}\n" for number in range(1203)}
    await store.put_many("many", dict.fromkeys(keys, 1))
    *names, end = lines_of(await client.get("/v1/c/many", headers=LINES))
    assert (len(names), set(names), end) == (1203, keys, {"end": 1203})
    ordered = lines_of(await client.get("/v1/c/many?after=k5&limit=3", headers=LINES))
    assert ordered == [*sorted(key for key in keys if key > "k5")[:3], {"end": 3}]
    assert lines_of(await client.get("/v1/c", headers=LINES)) == ["many", {"end": 1}]
    assert lines_of(await client.get("/v1/c?after=a&limit=5", headers=LINES)) == ["many", {"end": 1}]
    assert lines_of(await client.get("/v1/c/none", headers=LINES)) == [{"end": 0}]


async def test_what_is_missing_is_empty(client):
    assert (await client.get("/v1/c/nothing")).json() == {"keys": [], "next": None}
    assert (await client.get("/v1/c")).json() == {"collections": [], "next": None}
    assert (await client.get("/v1/c/nothing?count=1")).json() == {"count": 0}
    for path in ("/v1/c/nothing?all=1", "/v1/c?all=1"):
        answer = await client.delete(path)
        assert (answer.status_code, answer.json()["error"]) == (404, "absent")


async def test_count_and_clear(client, store):
    await store.put_many("a", {"x1": 1, "x2": 1, "y": 1})
    await store.put("b", "x", 1)
    assert (await client.get("/v1/c/a?count=1")).json() == {"count": 3}
    assert (await client.get("/v1/c/a?count=1&prefix=x")).json() == {"count": 2}
    assert (await client.delete("/v1/c/a?all=1")).status_code == 204
    assert (await client.get("/v1/c")).json()["collections"] == ["b"]
    assert (await client.delete("/v1/c?all=1")).status_code == 204
    assert await store.exists("b", "x") is False


async def test_removing_everything_must_be_meant(client, store):
    await store.put("a", "x", 1)
    for query in ("", "?all", "?all=0", "?all=1&all=1", "?all=1&prefix=x"):
        for path in ("/v1/c/a", "/v1/c"):
            answer = await client.delete(path + query)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert await store.exists("a", "x")


async def test_a_query_with_a_mistake_is_refused():
    async with serving(MemoryStore()) as client:
        limits = ("0", "-1", "x", "1.5", "٣", "9" * 30)
        others = ("limt=5", "prefix=%ff", "limit=1&limit=2", "count=2", "count=1&limit=5", "x=" * 50)
        for query in (*(f"limit={limit}" for limit in limits), *others):
            answer = await client.get(f"/v1/c/a?{query}")
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), query
        for name in ("prefix", "after"):
            answer = await client.get("/v1/c/a", params={name: "x" * 4097})
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_key")
        assert (await client.get("/v1/c/a/b?limit=1")).status_code == 400


async def test_a_token_lists_what_is_its_own():
    store = MemoryStore()
    for name in ("eu-a", "eu-b", "us-a"):
        await store.put(name, "k", 1)
    async with serving(store, tokens=[Token(SECRET, prefix="eu-")]) as client:
        client.headers["Authorization"] = f"Bearer {SECRET}"
        assert (await client.get("/v1/c")).json()["collections"] == ["eu-a", "eu-b"]
        assert (await client.get("/v1/c?prefix=u")).json()["collections"] == []
        assert lines_of(await client.get("/v1/c", headers=LINES)) == ["eu-a", "eu-b", {"end": 2}]
        for method, path in (
            ("DELETE", "/v1/c?all=1"),
            ("POST", "/v1/cull"),
            ("GET", "/v1/c/us-a"),
            ("GET", "/metrics"),
        ):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert await store.exists("us-a", "k")


class Failing(MemoryStore):
    """Store whose listing fails after some keys."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    async def keys(self, *_args, **_options):
        for number in range(self.after):
            yield f"k{number}"
        raise StoreUnavailableError("the store went away", store="x", operation="keys")


@pytest.mark.parametrize("after", [0, 1, 700])
async def test_a_stream_that_fails_says_so(after):
    async with serving(Failing(after)) as client:
        answer = await client.get("/v1/c/a", headers=LINES)
        if after == 0:
            assert (answer.status_code, answer.json()["error"]) == (503, "store_unavailable")
        else:
            *names, end = lines_of(answer)
            assert len(names) == after
            assert (end["error"], end["retryable"]) == ("store_unavailable", True)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.night)])
async def test_a_large_listing_streams_in_constant_memory(count):
    class Endless(MemoryStore):
        async def keys(self, *_args, limit=None, **_options):
            for number in range(limit):
                yield f"key-{number:012}"

    async with serving(Endless()) as client:
        await client.get("/v1/c/a?limit=1000", headers=LINES)
        tracemalloc.start()
        try:
            size = 0
            async with client.stream("GET", f"/v1/c/a?limit={count}", headers=LINES) as answer:
                async for piece in answer.aiter_bytes():
                    size += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert size == count * 19 + len(f'{{"end":{count}}}\n')
    assert peak < 2_000_000
