"""Every key works, and two names never share an entry."""

from __future__ import annotations

import itertools

from ...capability import Capability
from ...protocol import SupportsEverything
from .cases import LEGAL_NAMES, Text, long_names
from .suite import Suite, listed, needs

LISTING = Capability.ENUMERATE_KEYS


async def check_apart(store: SupportsEverything, collection: str, keys: list[str]) -> None:
    """Check that different keys are different entries, one by one and in a batch."""
    for number, key in enumerate(keys):
        await store.put(collection, key, number)
    for number, key in enumerate(keys):
        assert await store.get(collection, key) == number, f"{key[:40]!r} has another entry"
    assert await store.get_many(collection, keys) == {key: number for number, key in enumerate(keys)}


class NamePromises(Suite):
    """Tests of keys and collections."""

    async def test_hostile_keys_are_entries_of_their_own(self, store: SupportsEverything) -> None:
        await check_apart(store, "c", list(LEGAL_NAMES))

    async def test_hostile_collections_are_collections_of_their_own(self, store: SupportsEverything) -> None:
        for number, name in enumerate(LEGAL_NAMES):
            await store.put(name, "k", number)
        for number, name in enumerate(LEGAL_NAMES):
            assert await store.get(name, "k") == number, f"{name!r} has another collection's entry"

    async def test_hostile_keys_are_deleted_one_by_one(self, store: SupportsEverything) -> None:
        await store.put_many("c", dict.fromkeys(LEGAL_NAMES, 1))
        for number, name in enumerate(LEGAL_NAMES):
            assert await store.delete("c", name) is True, f"{name!r} was already gone"
            if number % 20 == 0:
                assert list(await store.get_many("c", LEGAL_NAMES)) == list(LEGAL_NAMES[number + 1 :])

    @needs(LISTING)
    async def test_hostile_keys_are_listed_as_they_were_put(self, store: SupportsEverything) -> None:
        await store.put_many("c", dict.fromkeys(LEGAL_NAMES, 1))
        assert await listed(store.keys("c")) == sorted(LEGAL_NAMES)

    @needs(Capability.ENUMERATE_COLLECTIONS)
    async def test_hostile_collections_are_listed_as_they_were_put(self, store: SupportsEverything) -> None:
        for name in LEGAL_NAMES:
            await store.put(name, "k", 1)
        assert await listed(store.collections()) == sorted(LEGAL_NAMES)

    async def test_names_that_differ_only_in_case_are_two_entries(self, store: SupportsEverything) -> None:
        await check_apart(store, "c", ["readme", "README", "ReadMe", "straße", "STRASSE", "ı", "i", "I", "İ"])  # noqa: RUF001  # the dotless i is meant
        await store.put("Users", "k", "upper")
        await store.put("users", "k", "lower")
        assert (await store.get("Users", "k"), await store.get("users", "k")) == ("upper", "lower")

    async def test_composed_and_decomposed_accents_are_two_entries(self, store: SupportsEverything) -> None:
        await check_apart(store, "c", ["caf\u00e9", "cafe\u0301"])
        await store.put("caf\u00e9", "k", 1)
        assert await store.get("cafe\u0301", "k") is None

    async def test_names_joined_with_separators_do_not_collide(self, store: SupportsEverything) -> None:
        separators = ["::", ":", "__", "/", "\x00", "%", ".", "-", "\n", "\\", "|", "#"]
        for separator in separators:
            await store.put("a", f"c{separator}k", "in the key")
            await store.put(f"a{separator}c", "k", "in the collection")
            assert await store.get("a", f"c{separator}k") == "in the key", f"collision over {separator!r}"
            assert await store.get(f"a{separator}c", "k") == "in the collection", f"collision over {separator!r}"
        await store.put("a", "bKEY", 1)
        assert await store.get("ab", "KEY") is None

    async def test_keys_of_the_greatest_length_are_entries_of_their_own(self, store: SupportsEverything) -> None:
        await check_apart(store, "c", long_names(store.max_key_bytes))

    async def test_keys_that_differ_only_past_1000_bytes_are_two_entries(self, store: SupportsEverything) -> None:
        for length in (200, 250, 500, 1000, 1024, 2048, store.max_key_bytes - 1):
            start = ("0123456789" * 410)[: min(length, store.max_key_bytes - 1)]
            await check_apart(store, f"c{length}", [start + "a", start + "b", start])

    @needs(LISTING)
    async def test_keys_of_the_greatest_length_are_listed_as_they_were_put(self, store: SupportsEverything) -> None:
        names = long_names(store.max_key_bytes)
        await store.put_many("c", dict.fromkeys(names, 1))
        assert await listed(store.keys("c")) == sorted(names)
        assert await listed(store.keys("c", prefix=names[0][:-1])) == sorted(names[:3])

    async def test_collections_of_4096_bytes_are_collections_of_their_own(self, store: SupportsEverything) -> None:
        names = long_names(4096)
        for number, name in enumerate(names):
            await store.put(name, "k", number)
        assert [await store.get(name, "k") for name in names] == list(range(len(names)))

    @needs(Capability.ENUMERATE_COLLECTIONS)
    async def test_collections_of_4096_bytes_are_listed_as_they_were_put(self, store: SupportsEverything) -> None:
        names = long_names(4096)
        for name in names:
            await store.put(name, "k", 1)
        assert await listed(store.collections()) == sorted(names)

    async def test_a_long_key_in_a_long_collection_works(self, store: SupportsEverything) -> None:
        keys, collections = long_names(store.max_key_bytes), long_names(4096)
        for number, (collection, key) in enumerate(itertools.product(collections, keys)):
            await store.put(collection, key, number)
        found = [await store.get(collection, key) for collection, key in itertools.product(collections, keys)]
        assert found == list(range(len(keys) * len(collections)))

    async def test_a_subclass_of_str_names_the_same_entry(self, store: SupportsEverything) -> None:
        await store.put(Text("c"), Text("k"), 1)
        assert await store.get("c", "k") == 1
        found = await store.get_many("c", [Text("k")])
        assert [type(key) for key in found] == [str]

    async def test_path_like_names_stay_in_their_collection(self, store: SupportsEverything) -> None:
        await store.put("other", "x", "kept")
        for key in ("../other/x", "..\\other\\x", "/other/x", "other/x", "./../other/x", "%2e%2e/other/x"):
            await store.put("c", key, "mine")
            assert await store.get("other", "x") == "kept"
            assert await store.delete("c", key) is True
            assert await store.get("other", "x") == "kept"
