"""Listings, destroying and culling are exact."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ...capability import Capability
from ...protocol import SupportsEverything
from ..clock import FakeClock
from .suite import Suite, close_if_open, listed, needs, new_place

KEYS = Capability.ENUMERATE_KEYS
COLLECTIONS = Capability.ENUMERATE_COLLECTIONS


class ListingPromises(Suite):
    """Tests of `keys`, `collections`, `destroy_collection`, `destroy` and `cull`."""

    @pytest.fixture
    def other_place(self, tmp_path: Path) -> Path:
        """Return a place separate from that of the test's store."""
        return new_place(tmp_path)

    @needs(KEYS)
    async def test_a_missing_collection_has_no_keys(self, store: SupportsEverything) -> None:
        await store.put("other", "k", 1)
        assert await listed(store.keys("c")) == []

    @needs(KEYS)
    async def test_a_prefix_is_matched_literally(self, store: SupportsEverything) -> None:
        keys = [
            "a_1",
            "axb",
            "a%1",
            "a*",
            "a*1",
            "ab",
            "[a]",
            "[a]1",
            "a",
            "A_1",
            "?",
            "?1",
            "\\",
            "\\a",
            "é",
            "e\u0301",
            "^a",
        ]
        await store.put_many("c", dict.fromkeys(keys, 1))
        for prefix in ("a_", "a%", "a*", "[a]", "?", "*", "%", "_", "\\", "a", "A", "é", "e", "^", "", "nothing", ".*"):
            expected = sorted(key for key in keys if key.startswith(prefix))
            assert await listed(store.keys("c", prefix=prefix)) == expected, f"prefix {prefix!r}"

    @needs(KEYS)
    async def test_a_prefix_does_not_reach_into_another_collection(self, store: SupportsEverything) -> None:
        for collection in ("foo", "foobar", "foo:", "foo::bar", "foo/", "fo", "Foo", "foo\x00"):
            await store.put(collection, f"key of {collection}", 1)
        assert await listed(store.keys("foo")) == ["key of foo"]
        assert await listed(store.keys("foo", prefix="key")) == ["key of foo"]
        assert await listed(store.keys("fo", prefix="o")) == []

    @needs(KEYS)
    async def test_a_limit_is_the_most_that_is_listed(self, store: SupportsEverything) -> None:
        await store.put_many("c", {f"a{number}": 1 for number in range(5)} | {f"b{number}": 1 for number in range(5)})
        for limit, expected in ((0, 0), (1, 1), (4, 4), (5, 5), (6, 5), (1000, 5), (None, 5)):
            found = await listed(store.keys("c", prefix="b", limit=limit))
            assert len(found) == len(set(found)) == expected
            assert all(key.startswith("b") for key in found)
        assert len(await listed(store.keys("c", limit=7))) == 7

    @needs(KEYS)
    async def test_a_listing_goes_on_over_all_pages(self, store: SupportsEverything) -> None:
        keys = [f"key {number:04}" for number in range(2500)]
        await store.put_many("c", dict.fromkeys(keys, 1))
        assert await listed(store.keys("c")) == keys
        assert await listed(store.keys("c", prefix="key 1")) == keys[1000:2000]
        assert len(set(await listed(store.keys("c", limit=2200)))) == 2200

    @needs(KEYS)
    async def test_pages_follow_one_another_in_order(self, store: SupportsEverything) -> None:
        keys = sorted([f"{start}{number:02}" for start in ("a", "b/", "é", "\U0001f600", "%") for number in range(12)])
        await store.put_many("c", dict.fromkeys(keys, 1))
        await store.put("other", "a000", 1)
        found: list[str] = []
        while page := [key async for key in store.keys("c", limit=7, after=found[-1] if found else "")]:
            found += page
        assert found == keys
        assert [key async for key in store.keys("c", after="")] == keys
        assert [key async for key in store.keys("c", after=keys[-1])] == []
        assert [key async for key in store.keys("c", limit=0, after="")] == []

    @needs(KEYS)
    async def test_a_page_starts_after_any_key_and_keeps_to_its_prefix(self, store: SupportsEverything) -> None:
        keys = ["a", "b", "ba", "bb", "bbb", "c"]
        await store.put_many("c", dict.fromkeys(keys, 1))
        for after in ("", "0", "a", "aa", "b", "bab", "bbb", "bz", "c", "z"):
            for prefix in ("", "b", "bb", "x"):
                expected = [key for key in keys if key > after and key.startswith(prefix)]
                assert [key async for key in store.keys("c", prefix=prefix, after=after)] == expected, (after, prefix)
                assert [key async for key in store.keys("c", prefix=prefix, limit=2, after=after)] == expected[:2]

    @needs(KEYS)
    async def test_a_count_is_how_many_there_are(self, store: SupportsEverything, clock: FakeClock) -> None:
        assert await store.count("c") == 0
        await store.put_many("c", {f"a{number}": 1 for number in range(1200)} | {"b%": 1, "b_": 1, "bx": 1})
        await store.put("cc", "a", 1)
        await store.put("c", "b gone", 1, ttl=5)
        clock.advance(6)
        assert await store.count("c") == 1203
        for prefix, expected in (("a", 1200), ("a1", 311), ("b", 3), ("b%", 1), ("b_", 1), ("c", 0), ("A", 0)):
            assert await store.count("c", prefix=prefix) == expected, f"prefix {prefix!r}"
        long = "l" * (store.max_key_bytes - 1)
        await store.put_many("c", {long + "a": 1, long + "b": 1})
        assert await store.count("c", prefix=long) == 2
        assert await store.count("c", prefix=long + "a") == 1
        await store.delete("c", "a7")
        assert await store.count("c", prefix="a") == 1199

    @needs(KEYS)
    async def test_what_is_there_throughout_is_listed_once(self, store: SupportsEverything) -> None:
        stay, go = [f"stay {number}" for number in range(1200)], [f"go {number}" for number in range(1200)]
        await store.put_many("c", dict.fromkeys([key for pair in zip(stay, go, strict=True) for key in pair], 1))
        found = []
        async for key in store.keys("c"):
            found.append(key)
            if len(found) % 100 == 1:
                await store.delete_many("c", [go.pop() for _ in range(50) if go])
                await store.put("c", f"new {len(found)}", 1)
        assert sorted(key for key in found if key.startswith("stay")) == sorted(stay)
        assert len(found) == len(set(found)), "a key was listed twice"

    @needs(KEYS)
    async def test_every_key_can_be_deleted_while_it_is_listed(self, store: SupportsEverything) -> None:
        await store.put_many("c", {f"key {number}": 1 for number in range(1500)})
        behind: list[str] = []
        async for key in store.keys("c"):
            behind.append(key)
            if len(behind) == 10:  # at once: where each write costs much, stores put them together
                assert await asyncio.gather(*(store.delete("c", each) for each in behind)) == [True] * 10
                behind.clear()
        assert await listed(store.keys("c")) == []

    @needs(KEYS)
    async def test_a_listing_can_be_left_half_way(self, store: SupportsEverything) -> None:
        await store.put_many("c", {f"key {number}": 1 for number in range(1500)})
        async for key in store.keys("c"):
            assert key.startswith("key ")
            break
        await store.put("c", "after", 1)
        assert await store.get("c", "after") == 1

    @needs(COLLECTIONS)
    async def test_collections_are_those_with_entries(self, store: SupportsEverything) -> None:
        assert await listed(store.collections()) == []
        for collection in ("a", "b", "A", "a b"):
            await store.put_many(collection, {"k": 1, "l": 2})
        assert await listed(store.collections()) == ["A", "a", "a b", "b"]
        await store.delete_many("b", ["k", "l"])
        assert await listed(store.collections()) == ["A", "a", "a b"]

    @needs(COLLECTIONS)
    async def test_many_collections_are_listed_once_each(self, store: SupportsEverything) -> None:
        names = [f"collection {number:03}" for number in range(300)]
        for name in names:
            await store.put(name, "k", 1)
        assert await listed(store.collections()) == names

    @needs(COLLECTIONS)
    async def test_reading_a_missing_collection_creates_nothing(self, store: SupportsEverything) -> None:
        await store.get("c", "k")
        await store.exists("c", "k")
        await store.get_entry("c", "k")
        await store.get_many("c", ["k"])
        await store.delete("c", "k")
        if KEYS in store.capabilities:
            assert await listed(store.keys("c")) == []
        assert await listed(store.collections()) == []

    @needs(Capability.DESTROY_COLLECTION)
    async def test_destroy_collection_removes_it_alone(self, store: SupportsEverything) -> None:
        for collection in ("c", "C", "cc", "c:", "c/d", "c%", "c_", "cx"):
            await store.put_many(collection, {"k": 1, "l": 2})
        assert await store.destroy_collection("c") is True
        assert await store.get_many("c", ["k", "l"]) == {}
        assert await store.destroy_collection("c_") is True
        for collection in ("C", "cc", "c:", "c/d", "c%", "cx"):
            assert await store.get_many(collection, ["k", "l"]) == {"k": 1, "l": 2}, f"{collection!r} was affected"
        assert await store.destroy_collection("c") is False
        assert await store.destroy_collection("missing") is False

    @needs(Capability.DESTROY_COLLECTION)
    async def test_a_destroyed_collection_is_usable_at_once(self, store: SupportsEverything) -> None:
        await store.put_many("c", {f"key {number}": number for number in range(1200)}, ttl=60)
        assert await store.destroy_collection("c") is True
        await store.put("c", "key 1", "new")
        assert await store.get_many("c", ["key 1", "key 2"]) == {"key 1": "new"}
        assert await store.destroy_collection("c") is True

    @needs(Capability.DESTROY_COLLECTION)
    async def test_a_collection_of_expired_entries_was_not_there(
        self, store: SupportsEverything, clock: FakeClock
    ) -> None:
        await store.put("c", "k", 1, ttl=5)
        clock.advance(6)
        assert await store.destroy_collection("c") is False

    @needs(Capability.DESTROY_STORE)
    async def test_destroy_removes_everything_and_the_store_is_usable_at_once(self, store: SupportsEverything) -> None:
        for collection in ("a", "b", "../c"):
            await store.put_many(collection, {"k": 1, "l": b"2"})
        assert await store.destroy() is True
        for collection in ("a", "b", "../c"):
            assert await store.get_many(collection, ["k", "l"]) == {}
        assert await store.destroy() is False
        await store.put("a", "k", "new")
        assert await store.get_many("a", ["k", "l"]) == {"k": "new"}
        assert await store.destroy() is True

    @needs(Capability.DESTROY_STORE)
    async def test_destroy_leaves_other_stores_alone(
        self, store: SupportsEverything, clock: FakeClock, other_place: Path
    ) -> None:
        other = self.make_store(clock, other_place)
        await other.put("c", "k", "kept")
        await store.put("c", "k", "mine")
        assert await store.destroy() is True
        assert await other.get("c", "k") == "kept"
        await close_if_open(other)

    @needs(Capability.CULL)
    async def test_cull_counts_and_hides_nothing_alive(self, store: SupportsEverything, clock: FakeClock) -> None:
        alive: dict[str, Any] = {f"alive {number}": number for number in range(20)}
        await store.put_many("c", alive)
        await store.put_many("d", {"later": 1}, ttl=100)
        await store.put_many("c", {f"expired {number}": number for number in range(30)}, ttl=5)
        await store.put("c", "renewed", 1, ttl=5)
        await store.put("c", "renewed", 2)
        clock.advance(6)
        culled = await store.cull()
        assert type(culled) is int
        assert 0 <= culled <= 30  # the engine may already have reclaimed some
        assert await store.cull() == 0
        assert await store.get_many("c", alive) == alive
        assert await store.get("d", "later") == 1
        assert await store.get("c", "renewed") == 2
