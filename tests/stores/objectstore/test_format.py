"""How entries lie in a bucket: objects written by an earlier release stay readable."""

import hashlib
import json
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from satchel import IntegrityError
from satchel.backend.record import unpack
from satchel.stores.objectstore import ObjectStore
from satchel.testing import FakeClock

GOLDEN = Path(__file__).parents[2] / "golden" / "objectstore" / "objects.json"
LONG = "long key " * 200
VALUES = {
    ("users", "ada"): {"name": "Ada Lovelace", "born": 1815},
    ("users", "photo/1"): b"\x89PNG",
    ("a/b", ".."): None,
    ("users", LONG): ["found", "again"],
}


def golden_objects() -> dict[str, bytes]:
    return {path: bytes.fromhex(wire) for path, wire in json.loads(GOLDEN.read_text()).items()}


async def objects(client: MemoryStore) -> dict[str, bytes]:
    return {meta["path"]: bytes(client.get(meta["path"]).bytes()) for meta in client.list().collect()}


async def test_golden_objects_are_read() -> None:
    client = MemoryStore()
    for path, wire in golden_objects().items():
        client.put(path, wire)
    async with ObjectStore(client=client, clock=FakeClock(1_800_000_000.0)) as store:
        for (collection, key), value in VALUES.items():
            assert await store.get(collection, key) == value
        assert sorted([key async for key in store.keys("users")]) == sorted(["ada", "photo/1", LONG])
        assert sorted([name async for name in store.collections()]) == ["a/b", "users"]
        assert await store.exists("users", "gone") is False
        entry = await store.get_entry("users", "ada")
        assert entry is not None
        assert entry.expires_at is not None
        assert entry.expires_at.timestamp() == 1_900_000_000.0


async def test_objects_are_named_as_ever() -> None:
    client = MemoryStore()
    async with ObjectStore(client=client) as store:
        for (collection, key), value in VALUES.items():
            await store.put(collection, key, value)
        await store.put("users", "gone", 1)
        await store.delete("users", "gone")
    assert set(await objects(client)) == set(golden_objects())
    hashed = next(path for path in golden_objects() if "%-" in path)
    assert hashed.endswith("%-" + hashlib.sha256(LONG.encode()).hexdigest())
    assert len(hashed.rpartition("/")[2]) <= 255
    stone = (await objects(client))["satchel/users/gone"]
    assert (len(stone), unpack(stone).deadline, unpack(stone).payload) == (46, 0.0, b"")


@pytest.mark.parametrize(
    "content", [b"", b"x", b"a text of somebody else's that is long enough", b"\x89S" + b"\xff" * 60]
)
async def test_an_object_that_is_not_ours_is_refused_and_left_alone(content: bytes) -> None:
    client = MemoryStore()
    async with ObjectStore(client=client) as store:
        await store.put("c", "mine", 1)
        client.put("satchel/c/theirs", content)
        client.put("satchel/c/deeper/down", b"x")
        client.put("satchel/not%ours/k", b"x")
        client.put("elsewhere", b"x")
        for call in (store.get, store.delete):
            with pytest.raises(IntegrityError):
                await call("c", "theirs")
        assert [key async for key in store.keys("c")] == ["mine"]
        assert [name async for name in store.collections()] == ["c"]
        assert await store.cull() == 0
        assert await store.destroy_collection("c") is True
        assert await store.destroy() is False
    damaged = {"satchel/c/theirs"} - ({"satchel/c/theirs"} if content.startswith(b"\x89S") else set())
    assert set(await objects(client)) == {"satchel/c/deeper/down", "satchel/not%ours/k", "elsewhere"} | damaged


async def test_a_damaged_value_is_refused_and_can_be_replaced() -> None:
    client = MemoryStore()
    async with ObjectStore(client=client) as store:
        await store.put("c", "k", "a value")
        wire = bytearray((await objects(client))["satchel/c/k"])
        wire[-3] ^= 1
        client.put("satchel/c/k", bytes(wire))
        assert await store.touch("c", "k", ttl=60) is True
        with pytest.raises(IntegrityError):
            await store.get("c", "k")
        await store.put("c", "k", "again")
        assert await store.get("c", "k") == "again"


@pytest.mark.parametrize("dots", [".", "..", "...", "a.", "a..", "x" * 186 + ".", "x" * 187 + ".", "x" * 254 + "."])
async def test_a_prefix_that_ends_with_a_dot_finds_the_key_that_ends_there(dots: str) -> None:
    async with ObjectStore(client=MemoryStore()) as store:
        expected = {dots, dots + ".", dots + "a", dots + "\0"}
        await store.put_many("c", dict.fromkeys({*expected, "b", "0", dots[:-1] + "-", dots[:-1] + "/"}, 1))
        assert {key async for key in store.keys("c", prefix=dots)} == expected
