"""Reading returns what was put: single calls, batches, and values of every accepted kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ...errors import ValueTooLargeError
from ...protocol import SupportsEverything
from .cases import ACCEPTED_VALUES, identical
from .suite import Suite, absent

FALSY: list[Any] = [None, False, 0, 0.0, "", b"", [], {}]


class _View(Mapping[str, object]):
    """Mapping that is not a dict."""

    def __getitem__(self, key: str) -> object:
        return {"a": 1, "b": 2}[key]

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


class VerbPromises(Suite):
    """Tests of reading and writing."""

    @pytest.mark.parametrize("theme", ACCEPTED_VALUES)
    async def test_values_come_back_with_their_exact_types(self, store: SupportsEverything, theme: str) -> None:
        for value in ACCEPTED_VALUES[theme]:
            await store.put("c", "k", value)
            found = await store.get("c", "k")
            assert identical(found, value), f"put {value!r:.80}, got {found!r:.80}"

    @pytest.mark.parametrize("theme", ACCEPTED_VALUES)
    async def test_batches_and_entries_give_the_same_values(self, store: SupportsEverything, theme: str) -> None:
        items = {f"key {index}": value for index, value in enumerate(ACCEPTED_VALUES[theme])}
        await store.put_many("c", items)
        assert identical(await store.get_many("c", items), items)
        entries = await store.get_entries("c", items)
        assert identical({key: entry.value for key, entry in entries.items()}, items)

    async def test_falsy_values_are_hits(self, store: SupportsEverything) -> None:
        default = absent()
        for value in FALSY:
            await store.put("c", "k", value)
            assert await store.get("c", "k", default) == value
            assert await store.exists("c", "k") is True
            assert await store.get_entry("c", "k") is not None
            assert identical(await store.get_many("c", ["k"]), {"k": value})
            assert await store.delete("c", "k") is True

    async def test_a_put_replaces_whatever_was_there(self, store: SupportsEverything) -> None:
        values: list[Any] = [{"a": 1}, b"raw", None, "text", [1], {"b": 2}, 7]
        for value in values:
            await store.put("c", "k", value)
            assert identical(await store.get("c", "k"), value)

    async def test_a_value_changed_after_put_is_stored_as_it_was(self, store: SupportsEverything) -> None:
        value = {"tags": ["a"]}
        await store.put("c", "one", value)
        await store.put_many("c", {"two": value})
        value["tags"].append("b")
        assert await store.get("c", "one") == {"tags": ["a"]}
        assert await store.get("c", "two") == {"tags": ["a"]}

    async def test_a_value_changed_after_get_changes_nothing_stored(self, store: SupportsEverything) -> None:
        await store.put("c", "k", {"tags": ["a"]})
        found: Any = await store.get("c", "k")
        found["tags"].append("b")
        (await store.get_many("c", ["k"]))["k"]["tags"].append("c")
        entry = await store.get_entry("c", "k")
        assert entry is not None
        entry.value["tags"].append("d")
        assert await store.get("c", "k") == {"tags": ["a"]}

    async def test_delete_says_what_was_there(self, store: SupportsEverything) -> None:
        await store.put("c", "k", 1)
        await store.put("c", "other", 2)
        assert await store.delete("c", "k") is True
        assert await store.delete("c", "k") is False
        assert await store.exists("c", "k") is False
        assert await store.get("c", "k") is None
        assert await store.get("c", "other") == 2

    async def test_get_many_gives_those_found_in_the_order_asked(self, store: SupportsEverything) -> None:
        await store.put_many("c", {key: key.upper() for key in "abcdefgh"})
        asked = ["h", "x", "a", "e", "h", "y", "b"]
        assert list((await store.get_many("c", asked)).items()) == [("h", "H"), ("a", "A"), ("e", "E"), ("b", "B")]
        assert list(await store.get_entries("c", iter(asked))) == ["h", "a", "e", "b"]

    async def test_batches_take_any_iterable_and_any_mapping(self, store: SupportsEverything) -> None:
        await store.put_many("c", _View())
        assert await store.get_many("c", (key for key in "ab")) == {"a": 1, "b": 2}
        assert await store.get_many("c", {"a": 0}) == {"a": 1}
        assert await store.delete_many("c", frozenset("ab")) == 2

    async def test_delete_many_counts_what_was_there(self, store: SupportsEverything) -> None:
        await store.put_many("c", {"a": 1, "b": None, "c": 0})
        assert await store.delete_many("c", ["a", "b", "x", "a"]) == 2
        assert await store.get_many("c", ["a", "b", "c"]) == {"c": 0}
        assert await store.delete_many("c", ["a", "b"]) == 0

    async def test_large_batches_are_whole(self, store: SupportsEverything) -> None:
        items = {f"key {number}": number for number in range(3000)}
        await store.put_many("c", items)
        found = await store.get_many("c", items)
        assert found == items
        assert list(found) == list(items)
        assert await store.delete_many("c", items) == 3000

    async def test_five_megabytes_of_bytes_come_back(self, store: SupportsEverything) -> None:
        await self.check_large(store, bytes(range(256)) * (5 * 4096))

    async def test_three_megabytes_of_json_come_back(self, store: SupportsEverything) -> None:
        users = [{"name": f"user {number}", "tags": ["a", "b"], "about": "é" * 150} for number in range(9_000)]
        await self.check_large(store, users)

    async def check_large(self, store: SupportsEverything, value: Any) -> None:
        """Check that a large value comes back, or is refused in full with the limit named."""
        try:
            await store.put("c", "large", value)
        except ValueTooLargeError:
            with pytest.raises(ValueTooLargeError, match=r"\d+ *(bytes|B)"):
                await store.put("c", "large", value)
            assert await store.exists("c", "large") is False
        else:
            assert await store.get("c", "large") == value
            assert (await store.get_many("c", ["large", "none"])) == {"large": value}

    async def test_several_large_values_in_a_batch_come_back(self, store: SupportsEverything) -> None:
        items: dict[str, Any] = {f"large {number}": bytes([number]) * 700_000 for number in range(8)}
        try:
            await store.put_many("c", items)
        except ValueTooLargeError:
            items = {key: value[:10_000] for key, value in items.items()}
            await store.put_many("c", items)
        assert await store.get_many("c", items) == items
