"""Batches over a socket."""

import base64
import json

import pytest

from satchel import MemoryStore
from satchel.server import Token
from satchel.testing import FlakyStore
from tests.server.serving import serving

SECRET = "a-token-of-the-tests"  # it opens nothing else


def op(name, key="k", collection="c", **more):
    return {"op": name, "collection": collection, "key": key, **more}


async def send(client, *operations, **options):
    answer = await client.post("/v1/batch", json={"operations": list(operations)}, **options)
    return answer.status_code, answer.json()


async def results(client, *operations):
    status, body = await send(client, *operations)
    assert status == 200, body
    return body["results"]


async def test_every_operation(client, store):
    await store.put("c", "old", {"a": 1}, ttl=60)
    await store.put("c", "bytes", b"\0\xff")
    await store.put_many("c", {"gone": 1, "kept": 1, "touched": 1, "swapped": 1, "other": 1})
    version = (await store.get_entry("c", "swapped")).version
    done = await results(
        client,
        op("get", "old"),
        op("get", "bytes"),
        op("get", "nothing"),
        op("info", "touched", "elsewhere"),
        op("exists", "kept"),
        op("exists", "nothing", "elsewhere"),
        op("put", "new", value=[1, "ü"], ttl=30),
        op("put", "raw", bytes=base64.b64encode(b"\xff\0").decode()),
        op("put", "null", value=None),
        op("put", "first", value=1, if_absent=True),
        op("put", "other", value=2, if_absent=True),
        op("put", "swapped", value=2, if_version=version),
        op("delete", "gone"),
        op("delete", "never"),
        op("touch", "touched", ttl=5),
        op("touch", "never", "elsewhere2", ttl=None),
    )
    old, raw = done[0]["entry"], done[1]["entry"]
    assert (old["value"], old["size"], old["expires_at"][-1]) == ({"a": 1}, 7, "Z")
    assert 50 < old["ttl"] <= 60
    assert (base64.b64decode(raw["bytes"]), "value" in raw, raw["ttl"]) == (b"\0\xff", False, None)
    assert done[2:6] == [{"entry": None}, {"entry": None}, {"done": True}, {"done": False}]
    assert done[6:9] == [{"done": True}] * 3
    assert done[9]["version"] == (await store.get_entry("c", "first")).version
    assert done[10] == {"version": None}
    assert done[11]["version"] == (await store.get_entry("c", "swapped")).version
    assert done[12:] == [{"done": True}, {"done": False}, {"done": True}, {"done": False}]
    assert await store.get_many("c", ["new", "raw", "null", "other", "swapped"]) == {
        "new": [1, "ü"], "raw": b"\xff\0", "null": None, "other": 1, "swapped": 2,
    }  # fmt: skip
    assert (await store.get_entry("c", "new")).ttl <= 30
    assert (await store.get_entry("c", "touched")).ttl <= 5


async def test_info_has_no_value(client, store):
    await store.put("c", "k", {"a": 1})
    (found,) = await results(client, op("info"))
    assert found["entry"].keys() == {"version", "updated_at", "expires_at", "ttl", "size"}


async def test_deadlines(client, store):
    moment = "2093-01-31T12:00:00.123457Z"
    await store.put("c", "touched", 1, ttl=5)
    await results(client, op("put", "a", value=1, expires_at=moment), op("touch", "touched", expires_at=moment))
    for key in ("a", "touched"):
        assert (await store.get_entry("c", key)).expires_at.isoformat() == moment.replace("Z", "+00:00")


async def test_a_value_that_cannot_be_kept_fails_alone(client, store):
    done = await results(client, *(op("put", str(n), value=n if n != 3 else 2**70) for n in range(6)))
    assert (done[3]["error"], done[3]["status"]) == ("unserializable", 422)
    assert [result for result in done if result != {"done": True}] == [done[3]]
    assert await store.count("c") == 5


async def test_a_batch_with_a_mistake_changes_nothing():
    store = MemoryStore()
    good = op("put", "good", value=1)
    async with serving(store) as client:
        for bad, code in (
            (op("put"), "invalid_request"),
            (op("put", value=1, bytes=""), "invalid_request"),
            (op("put", value=1, ttl=5, expires_at="2093-01-31T12:00:00Z"), "invalid_request"),
            (op("put", value=1, if_absent=True, if_version="v"), "invalid_request"),
            (op("get", value=1), "invalid_request"),
            (op("get", ttl=1), "invalid_request"),
            (op("touch"), "invalid_request"),
            (op("delete", if_absent=True), "invalid_request"),
            (op("pop"), "invalid_request"),
            (op("get", more=1), "invalid_request"),
            ({"op": "get", "key": "k"}, "invalid_request"),
            (op("put", bytes="not base64!"), "invalid_request"),
            (op("put", value=1, ttl="5"), "invalid_request"),
            (op("put", value=1, expires_at="2093-01-31T12:00:00"), "invalid_request"),
            (op("put", value=1, ttl=0), "invalid_ttl"),
            (op("touch", ttl=1e12), "invalid_ttl"),
            (op("get", ""), "invalid_key"),
            (op("get", "x" * 4097), "invalid_key"),
            (op("get", "k", ""), "invalid_key"),
            (op("exists", "good"), "invalid_request"),
        ):
            status, body = await send(client, good, bad)
            assert (status, body["error"]) == (400, code), bad
            assert body.get("index", 1) == 1
    assert await store.exists("c", "good") is False


async def test_a_batch_that_is_not_one_is_refused():
    async with serving(MemoryStore()) as client:
        value = b"[" * 100_000 + b"]" * 100_000
        deep = b'{"operations":[{"op":"put","collection":"a","key":"b","value":' + value + b"}]}"
        for body in (b"", b"[]", b"{}", b'{"operations":1}', b'{"operations":[1]}', b"\xff", deep):
            answer = await client.post("/v1/batch", content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        many = json.dumps({"operations": [op("get", str(number)) for number in range(1001)]})
        answer = await client.post("/v1/batch", content=many, headers={"Content-Type": "application/json"})
        assert (answer.status_code, "1000" in answer.json()["message"]) == (400, True)
        answer = await client.post("/v1/batch", content=b'{"operations":[]}', headers={"Content-Type": "text/plain"})
        assert answer.status_code == 415
        assert await results(client) == []


async def test_the_scope_of_a_token_holds_for_every_operation():
    store = MemoryStore()
    tokens = [Token(SECRET, prefix="eu-"), Token(SECRET[::-1], read_only=True)]
    async with serving(store, tokens=tokens) as client:
        mine, other = op("put", "a", "eu-x", value=1), op("get", "a", "us-x")
        status, body = await send(client, mine, other, headers={"Authorization": f"Bearer {SECRET}"})
        assert (status, body["error"], body["index"]) == (403, "forbidden", 1)
        status, body = await send(client, other, mine, headers={"Authorization": f"Bearer {SECRET[::-1]}"})
        assert (status, body["error"], body["index"]) == (403, "read_only", 1)
        status, _ = await send(client, other, headers={"Authorization": f"Bearer {SECRET[::-1]}"})
        assert status == 200
    assert await store.exists("eu-x", "a") is False


async def test_the_answer_has_a_limit():
    store = MemoryStore()
    await store.put_many("c", {f"k{number}": b"x" * 5_000 for number in range(300)})
    async with serving(store, max_body=100_000) as client:
        wanted, rounds = [f"k{number}" for number in range(300)], 0
        while wanted:
            done = await results(client, *(op("get", key) for key in wanted))
            answered = [result for result in done if "entry" in result]
            assert answered
            assert len(answered) * 5_000 <= 250_000
            assert {result["error"] for result in done if "entry" not in result} <= {"answer_full"}
            wanted = [key for key, result in zip(wanted, done, strict=True) if "entry" not in result]
            rounds += 1
        assert rounds > 5
        await store.put("c", "large", b"x" * 300_000)
        (only,) = await results(client, op("get", "large"))
        assert only["entry"]["size"] == 300_000


async def test_a_store_that_fails_fails_each_operation():
    store = FlakyStore(failure_rate=1.0)
    async with serving(store) as client:
        done = await results(client, op("get", "a"), op("put", "b", value=1), op("delete", "c"), op("exists", "d"))
    assert {result["error"] for result in done} == {"store_unavailable"}
    assert {result["status"] for result in done} == {503}
    assert all(result["retryable"] for result in done)


@pytest.mark.parametrize("count", [1000])
async def test_a_thousand_operations(client, store, count):
    done = await results(client, *(op("put", str(n), value=n) for n in range(count)))
    assert done == [{"done": True}] * count
    found = await results(client, *(op("get", str(n)) for n in range(count)))
    assert [result["entry"]["value"] for result in found] == list(range(count))
