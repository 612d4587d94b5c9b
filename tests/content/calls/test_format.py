"""What recorded calls look like in a store, as every release reads it."""

import json
from pathlib import Path

import pytest

from satchel import MemoryStore
from satchel.content import Calls, ContentStore, FunctionCall
from satchel.testing import FakeClock

GOLDEN = Path(__file__).parents[2] / "golden" / "content"
START = 1_767_225_600.25
CALL = FunctionCall(
    "pkg.simulate",
    {"steps": 100, "name": "Ada", "options": {"seed": 7, "dense": True}},
    result=[1.5, None],
    version=2,
    tags={"project": "alpha", "n": 1, "ok": True},
    metadata={"runtime": {"seconds": 0.25}},
)
KEPT = {name: json.loads((GOLDEN / name).read_text()) for name in ("call.json", "call-index.json")}


@pytest.fixture
def store():
    return MemoryStore(clock=FakeClock(START))


@pytest.fixture
def calls(store):
    return Calls(ContentStore(store), clock=FakeClock(START))


async def test_a_call_is_recorded_as_ever(calls, store):
    digest = await calls.record(CALL)
    assert {digest: await store.get("calls", digest)} == KEPT["call.json"]
    keys = [key async for key in store.keys("calls/index")]
    assert sorted(keys) == KEPT["call-index.json"]
    assert await store.get("calls/index", keys[0]) == {"format": 1}
    assert await store.get("content/roots", "calls") is not None


async def test_a_call_of_the_first_release_is_read(calls, store):
    for value in (100, "Ada", {"seed": 7, "dense": True}, [1.5, None]):
        await calls.content.save(value)
    for digest, record in KEPT["call.json"].items():
        await store.put("calls", digest, record)
    for key in KEPT["call-index.json"]:
        await store.put("calls/index", key, {"format": 1})
    for query in (
        calls.query(fn="pkg.simulate"),
        calls.query(args={"options": {"dense": True, "seed": 7}}),
        calls.query(result=[1.5, None]),
        calls.query(tags={"ok": True}),
    ):
        call = await query.only()
        assert await call.load() == FunctionCall(
            **{**{f: getattr(CALL, f) for f in CALL.__slots__}, "recorded_at": START}
        )
