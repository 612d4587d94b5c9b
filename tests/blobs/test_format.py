"""What blobs write into a store, as every release reads it."""

import json
from pathlib import Path

import pytest

from satchel import IntegrityError, MemoryStore
from satchel.blobs import StoreBlobs
from satchel.testing import FakeClock

GOLDEN = Path(__file__).parents[1] / "golden" / "blobs"
START = 1_767_225_600.0
IDS = ["8f14e45fceea167a5a36dedd4bea2543", "0cc175b9c0f1b6a831c399e269772661", "92eb5ffee6ae2fec3ad71c777531578f"]
LONG = bytes(range(256)) * 80


KEPT = {path.name: path.read_bytes() for path in GOLDEN.iterdir()}


def golden(name):
    return KEPT[name] if name.endswith(".bin") else json.loads(KEPT[name])


@pytest.fixture
def clock():
    return FakeClock(START)


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def blobs(store, clock, monkeypatch):
    ids = iter(IDS)
    monkeypatch.setattr("secrets.token_hex", lambda _: next(ids))
    return StoreBlobs(store, chunk_size=8192, clock=clock)


async def test_a_short_blob_is_written_as_ever(blobs, store):
    await blobs.put("hello.txt", b"hello", metadata={"by": "Ada"})
    assert await store.get("blobs", "hello.txt") == golden("manifest-inline.bin")


async def test_a_long_blob_is_written_as_ever(blobs, store, clock):
    await blobs.put("long", LONG)
    assert await store.get("blobs", "long") == golden("manifest-chunks.bin")
    assert await store.get("blobs/chunks", f"{IDS[0]}/00000002") == golden("chunk-2.bin")
    clock.advance(60)
    await blobs.put("long", b"short")
    assert await store.get("blobs/uploads", f"old/{IDS[0]}") == golden("retired.json")


async def test_an_intent_is_written_as_ever(blobs, store):
    async def pieces():
        yield LONG
        begun = await store.get("blobs/uploads", f"new/{IDS[0]}")
        assert begun == golden("intent.json")
        yield b""

    await blobs.put("long", pieces())


async def test_an_intent_that_replaces_is_written_as_ever(blobs, store):
    await blobs.put("long", LONG)
    delete = store.compare_and_delete

    async def looking(collection, key, **given):
        if collection == "blobs":
            assert await store.get("blobs/uploads", f"new/{IDS[1]}") == golden("intent-replaces.json")
        return await delete(collection, key, **given)

    store.compare_and_delete = looking
    assert await blobs.delete("long")


async def test_the_golden_blobs_are_read(store, clock):
    await store.put("blobs", "hello.txt", golden("manifest-inline.bin"))
    await store.put("blobs", "long", golden("manifest-chunks.bin"))
    for number in range(3):
        header = golden("chunk-2.bin")[:20] + number.to_bytes(4, "big")
        await store.put("blobs/chunks", f"{IDS[0]}/{number:08x}", header + LONG[8192 * number : 8192 * (number + 1)])
    blobs = StoreBlobs(store, clock=clock)
    assert await blobs.get("hello.txt") == b"hello"
    info = await blobs.info("hello.txt")
    assert (info.content_type, info.metadata) == ("text/plain", {"by": "Ada"})
    assert info.created_at.timestamp() == info.updated_at.timestamp() == START
    assert await blobs.get("long") == LONG
    assert (await blobs.info("long")).version == IDS[0]


async def test_the_golden_records_are_swept(store, clock):
    await store.put("blobs", "long", golden("manifest-chunks.bin"))
    for name, key in (("intent", IDS[1]), ("intent-replaces", IDS[2])):
        await store.put("blobs/uploads", f"new/{key}", golden(f"{name}.json"))
    await store.put("blobs/chunks", f"{IDS[1]}/00000007", golden("chunk-2.bin"))
    await store.put("blobs/uploads", "old/00", golden("retired.json"))
    await store.put("blobs/chunks", "00/00000002", golden("chunk-2.bin"))
    blobs = StoreBlobs(store, clock=clock)
    for _ in range(3):
        clock.advance(3700)
        await blobs.sweep()
    assert await store.count("blobs/chunks") == await store.count("blobs/uploads") == 0
    assert await blobs.exists("long")


MANIFEST = {"format": 1, "version": IDS[0], "size": 3, "sha256": "0" * 64, "created": 1.0, "updated": 1.0}


def manifest(content=b"abc", *, length=0, **fields):
    text = json.dumps(MANIFEST | fields).encode()
    return b"SBM1" + (len(text) + length).to_bytes(4, "big") + text + content


@pytest.mark.parametrize(
    "value",
    [
        manifest().replace(b"8f14", b"8f\xff4"),
        manifest(version="../../" + "0" * 26),
        manifest(b"", length=5, size=-5),
        manifest(b"", size=-3, chunk_size=2),
        manifest(b"", size=3, chunk_size=-2),
        manifest(b"", size=2**62, chunk_size=1),  # chunks are numbered with 32 bits
        manifest(created=1e300),
        manifest(more=None).replace(b"null", b"[" * 100_000),
    ],
    ids=["text", "version", "shorter", "negative", "chunks", "many", "time", "deep"],
)
async def test_a_manifest_that_no_release_wrote_is_damaged(store, blobs, value):
    await store.put("blobs", "k", value)
    with pytest.raises(IntegrityError):
        await blobs.info("k")


@pytest.mark.parametrize("place", ["new/", "old/"])
@pytest.mark.parametrize("fields", [{"key": ""}, {"key": "k" * 5000}, {"chunks": -1}, {"chunks": 2**62}])
async def test_a_damaged_record_is_reported_after_the_others_were_swept(blobs, store, clock, place, fields):
    await blobs.put("long", LONG)
    await blobs.delete("long")
    record = {"format": 1, "key": "k", "at": 1.0, "chunks": 2} | fields
    await store.put("blobs/uploads", f"{place}00", record)
    clock.advance(7200)
    with pytest.raises(IntegrityError):
        await blobs.sweep()
    assert [key async for key in store.keys("blobs/uploads")] == [f"{place}00"]
    assert await store.count("blobs/chunks") == 0
