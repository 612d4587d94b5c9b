"""What content looks like in a store, as every release reads it."""

import asyncio
import json
from pathlib import Path

import pytest

from satchel import MemoryStore
from satchel.content import ContentStore, destructuring, digest, register_destructurer
from satchel.testing.conformance.suite import listed
from tests.content import values
from tests.content.values import Frozen, Matrix, Pair, Point, Sized

GOLDEN = Path(__file__).parents[1] / "golden" / "content"
KEY = bytes(range(32))

LEAVES = {"leaf-json": {"n": [1, 2.5, None, "é"]}, "leaf-bytes": b"\x00\xff"}
NODES = {
    "node-list": [1, "a"],
    "node-tuple": (1, "a"),
    "node-dict": {"a": 1, "b": "a"},
    "node-dict-of-other-keys": {1: "a"},
    "node-dataclass": Point(1, "a"),
    "node-slots": Frozen("a", []),
    "node-attrs": Sized(1, "a"),
    "node-named-tuple": Pair(1, "a"),
    "node-joined": Matrix([1]),
}
PICKLED = {1, 2}
DIGESTS = {name: digest(value) for name, value in (LEAVES | NODES).items()}


@pytest.fixture(autouse=True)
def matrices():
    before = dict(destructuring._registered)
    register_destructurer(values.is_matrix, values.split_matrix, values.matrix_of)
    yield
    destructuring._registered.clear()
    destructuring._registered.update(before)


def golden(name):
    return (GOLDEN / f"{name}.bin").read_bytes()


async def frame(value, **options):
    content = ContentStore(MemoryStore(), **options)
    return await content.store.get("content", await content.save(value))


@pytest.mark.parametrize("name", [*LEAVES, *NODES])
async def test_values_are_written_as_ever(name):
    value = (LEAVES | NODES)[name]
    assert await frame(value, depth=int(name in NODES)) == golden(name)


@pytest.mark.parametrize("name", [*LEAVES, *NODES])
async def test_golden_values_are_read(name):
    value = (LEAVES | NODES)[name]
    content = ContentStore(MemoryStore())
    for part in (1, "a", [], [1]):
        await content.save(part)
    await content.store.put("content", DIGESTS[name], golden(name))
    loaded = await content.load(DIGESTS[name])
    assert (type(loaded), loaded) == (type(value), value)


async def test_a_golden_pickle_is_read_and_what_is_signed_is_as_ever(monkeypatch):
    content = ContentStore(MemoryStore(), leaf="pickle", keys=[KEY])
    await content.store.put("content", digest(PICKLED), golden("leaf-pickle"))
    assert await content.load(digest(PICKLED)) == PICKLED
    monkeypatch.setattr("satchel.content.pickles._pickled", lambda value: golden("leaf-pickle")[45:])
    assert await frame(PICKLED, leaf="pickle", keys=[KEY]) == golden("leaf-pickle")


async def test_a_golden_hdf5_file_is_read():
    numpy = pytest.importorskip("numpy")
    value = {"a": numpy.arange(3, dtype="<i4"), "b": (numpy.float64(2.5), [None, "text", float("inf")])}
    content = ContentStore(MemoryStore(), leaf="hdf5")
    saved = await asyncio.to_thread(digest, value)
    await content.store.put("content", saved, golden("leaf-hdf5"))
    assert repr(await content.load(saved)) == repr(value)


async def test_the_records_beside_the_content_are_as_ever():
    content = ContentStore(MemoryStore())
    await content.pin(await content.save(1))
    await content.register_roots("calls")
    records = {}
    for collection in ("content/pins", "content/roots", "content/settings"):
        keys = await listed(content.store.keys(collection))
        records[collection] = await content.store.get_many(collection, keys)
    assert records == json.loads((GOLDEN / "beside.json").read_text("utf-8"))
