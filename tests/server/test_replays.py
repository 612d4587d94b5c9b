"""Changes that are sent again because their answer was lost."""

import asyncio

import pytest

from satchel import MemoryStore
from satchel.server import Token, replays
from satchel.testing import FlakyStore
from tests.server.serving import serving

FIRST, SECOND = "first-token-of-tests", "second-token-of-tests"


def ids(name, **more):
    return {"Satchel-Request-Id": name, **more}


@pytest.fixture
async def client():
    async with serving(MemoryStore()) as client:
        yield client


async def test_a_repeated_change_happens_once(client):
    tag = {"If-None-Match": "*"}
    first = await client.put("/v1/c/a/b", json=1, headers=ids("x", **tag))
    again = await client.put("/v1/c/a/b", json=1, headers=ids("x", **tag))
    other = await client.put("/v1/c/a/b", json=1, headers=ids("y", **tag))
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 412)
    assert again.headers["etag"] == first.headers["etag"]
    assert (again.headers["satchel-replayed"], "satchel-replayed" in first.headers) == ("1", False)
    names = [name for name, _ in again.headers.multi_items()]
    assert len(names) == len(set(names))


async def test_a_repetition_does_not_undo_what_came_between(client):
    await client.put("/v1/c/a/b", json=1, headers=ids("x"))
    await client.put("/v1/c/a/b", json=2)
    assert (await client.put("/v1/c/a/b", json=1, headers=ids("x"))).status_code == 204
    assert (await client.get("/v1/c/a/b")).json() == 2
    assert (await client.delete("/v1/c/a/b", headers=ids("d"))).status_code == 204
    await client.put("/v1/c/a/b", json=3)
    assert (await client.delete("/v1/c/a/b", headers=ids("d"))).status_code == 204
    assert (await client.get("/v1/c/a/b")).json() == 3


async def test_a_repeated_batch_happens_once(client):
    batch = {"operations": [{"op": "put", "collection": "a", "key": "b", "value": 1, "if_absent": True}]}
    first = await client.post("/v1/batch", json=batch, headers=ids("x"))
    again = await client.post("/v1/batch", json=batch, headers=ids("x"))
    assert first.json()["results"][0]["version"]
    assert again.json() == first.json()
    reading = {"operations": [{"op": "get", "collection": "a", "key": "b"}]}
    assert (await client.post("/v1/batch", json=reading, headers=ids("y"))).status_code == 400


async def test_refusals_are_remembered_too(client):
    missing = await client.delete("/v1/c/a/b", headers=ids("x"))
    await client.put("/v1/c/a/b", json=1)
    again = await client.delete("/v1/c/a/b", headers=ids("x"))
    assert (missing.status_code, again.status_code) == (404, 404)
    assert again.json() == missing.json()
    assert (await client.get("/v1/c/a/b")).status_code == 200


async def test_an_id_belongs_to_one_request(client):
    await client.put("/v1/c/a/b", json=1, headers=ids("x"))
    for method, path, options in (
        ("PUT", "/v1/c/a/b", {"json": 2}),
        ("PUT", "/v1/c/a/c", {"json": 1}),
        ("DELETE", "/v1/c/a/b", {}),
        ("PUT", "/v1/c/a/b", {"json": 1, "headers": {"Satchel-TTL": "5"}}),
        ("PUT", "/v1/c/a/b", {"json": 1, "headers": {"If-None-Match": "*"}}),
    ):
        headers = {**options.pop("headers", {}), **ids("x")}
        answer = await client.request(method, path, headers=headers, **options)
        assert (answer.status_code, answer.json()["error"]) == (409, "request_id_reused")
    assert (await client.get("/v1/c/a/b")).json() == 1


async def test_an_id_belongs_to_one_token():
    async with serving(MemoryStore(), tokens=[Token(FIRST), Token(SECOND)]) as client:
        for token in (FIRST, SECOND):
            headers = ids("x", Authorization=f"Bearer {token}", **{"If-None-Match": "*"})
            answer = await client.put("/v1/c/a/b", json=1, headers=headers)
            assert "satchel-replayed" not in answer.headers


async def test_a_repetition_waits_for_the_first():
    store = FlakyStore(latency=0.2)
    async with serving(store) as client:
        requests = [client.put("/v1/c/a/b", json=1, headers=ids("x", **{"If-None-Match": "*"})) for _ in range(3)]
        answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers] == [201] * 3
    assert sorted("satchel-replayed" in answer.headers for answer in answers) == [False, True, True]


async def test_a_failure_is_not_remembered():
    store = FlakyStore(failure_rate=1.0)
    async with serving(store) as client:
        assert (await client.put("/v1/c/a/b", json=1, headers=ids("x"))).status_code == 503
        again = await client.put("/v1/c/a/b", json=1, headers=ids("x"))
        assert (again.status_code, "satchel-replayed" in again.headers) == (503, False)


async def test_another_run_of_the_server_says_that_it_cannot_know(client):
    instance = (await client.get("/v1")).headers["satchel-instance"]
    assert instance == (await client.get("/v1")).json()["instance"]
    lost = await client.put("/v1/c/a/b", json=1, headers=ids("x", **{"Satchel-Retry": "an-earlier-run"}))
    assert (lost.status_code, lost.json()["error"]) == (409, "outcome_unknown")
    assert (await client.get("/v1/c/a/b")).status_code == 404
    sent = await client.put("/v1/c/a/b", json=1, headers=ids("x", **{"Satchel-Retry": instance}))
    assert sent.status_code == 204
    known = await client.put("/v1/c/a/b", json=1, headers=ids("x", **{"Satchel-Retry": "an-earlier-run"}))
    assert (known.status_code, known.headers["satchel-replayed"]) == (204, "1")


async def test_an_id_has_a_form(client):
    for text in ("", "x" * 65, "a b", "ü", "a,b", "a/b"):
        answer = await client.put("/v1/c/a/b", json=1, headers={"Satchel-Request-Id": text.encode()})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_memory_for_answers_is_bounded(client, monkeypatch):
    monkeypatch.setattr(replays, "_MOST", 3)
    for number in range(3):
        assert (await client.put("/v1/c/a/b", json=1, headers=ids(f"x{number}"))).status_code == 204
    full = await client.put("/v1/c/a/c", json=1, headers=ids("x3"))
    assert (full.status_code, full.json()["error"]) == (503, "overloaded")
    assert (await client.put("/v1/c/a/b", json=1)).status_code == 204
    later = replays.monotonic() + 60
    monkeypatch.setattr(replays, "monotonic", lambda: later)
    assert (await client.put("/v1/c/a/c", json=1, headers=ids("x3"))).status_code == 204
    again = await client.put("/v1/c/a/b", json=1, headers=ids("x0"))
    assert "satchel-replayed" not in again.headers
