"""Conditional writes are atomic under concurrency."""

from __future__ import annotations

import asyncio
from typing import Any

from ...capability import Capability
from ...protocol import SupportsEverything
from .cases import ACCEPTED_VALUES, LEGAL_NAMES, identical
from .suite import NewStore, Suite, needs

CONDITIONAL = Capability.CONDITIONAL


async def increment(store: SupportsEverything, key: str) -> None:
    """Add one to a number, trying again until no other writer interferes."""
    while True:
        entry = await store.get_entry("c", key)
        if entry is None:
            written = await store.put_if_absent("c", key, 1)
        else:
            written = await store.compare_and_put("c", key, entry.value + 1, version=entry.version)
        if written is not None:
            return


class ConditionalPromises(Suite):
    """Tests of `put_if_absent`, `compare_and_put` and `compare_and_delete`."""

    @needs(CONDITIONAL)
    async def test_put_if_absent_writes_once(self, store: SupportsEverything) -> None:
        assert type(await store.put_if_absent("c", "k", 1)) is str
        assert await store.put_if_absent("c", "k", 2) is None
        assert await store.get("c", "k") == 1
        await store.delete("c", "k")
        assert await store.put_if_absent("c", "k", 3) is not None
        assert await store.get("c", "k") == 3

    @needs(CONDITIONAL)
    async def test_a_stored_none_is_not_absent(self, store: SupportsEverything) -> None:
        await store.put("c", "k", None)
        assert await store.put_if_absent("c", "k", 1) is None
        assert await store.get("c", "k", 2) is None

    @needs(CONDITIONAL)
    async def test_compare_and_put_needs_the_current_version(self, store: SupportsEverything) -> None:
        first = await store.put_if_absent("c", "k", 1)
        assert first is not None
        second = await store.compare_and_put("c", "k", 2, version=first)
        assert second is not None
        assert await store.compare_and_put("c", "k", 3, version=first) is None
        assert await store.compare_and_put("c", "k", 3, version="") is None
        assert await store.compare_and_put("c", "k", 3, version="0" * 32) is None
        assert await store.compare_and_put("c", "k", 3, version="'; --\x00é") is None
        assert await store.compare_and_put("c", "missing", 3, version=second) is None
        assert await store.get_many("c", ["k", "missing"]) == {"k": 2}

    @needs(CONDITIONAL)
    async def test_compare_and_delete_needs_the_current_version(self, store: SupportsEverything) -> None:
        first = await store.put_if_absent("c", "k", 1)
        assert first is not None
        await store.put("c", "k", 2)
        assert await store.compare_and_delete("c", "k", version=first) is False
        assert await store.compare_and_delete("c", "k", version="") is False
        assert await store.get("c", "k") == 2
        entry = await store.get_entry("c", "k")
        assert entry is not None
        assert await store.compare_and_delete("c", "missing", version=entry.version) is False
        assert await store.compare_and_delete("c", "k", version=entry.version) is True
        assert await store.exists("c", "k") is False

    @needs(CONDITIONAL)
    async def test_a_version_of_a_deleted_entry_does_not_fit_its_successor(self, store: SupportsEverything) -> None:
        first = await store.put_if_absent("c", "k", 1)
        assert first is not None
        await store.delete("c", "k")
        await store.put("c", "k", 1)
        assert await store.compare_and_put("c", "k", 2, version=first) is None
        assert await store.compare_and_delete("c", "k", version=first) is False
        assert await store.get("c", "k") == 1

    @needs(CONDITIONAL)
    async def test_conditional_writes_keep_values_and_names_exactly(self, store: SupportsEverything) -> None:
        for values in ACCEPTED_VALUES.values():
            for value in values:
                await store.delete("c", "k")
                version = await store.put_if_absent("c", "k", value)
                assert identical(await store.get("c", "k"), value)
                assert version is not None
                assert await store.compare_and_put("c", "k", [value] if type(value) is bool else value, version=version)
        for number, name in enumerate(LEGAL_NAMES):
            assert await store.put_if_absent("names", name, number) is not None, f"{name!r} already existed"

    @needs(CONDITIONAL)
    async def test_one_of_50_concurrent_put_if_absent_wins(self, store: SupportsEverything) -> None:
        versions = await asyncio.gather(*(store.put_if_absent("c", "k", number) for number in range(50)))
        winners = [number for number, version in enumerate(versions) if version is not None]
        assert len(winners) == 1
        assert await store.get("c", "k") == winners[0]

    @needs(CONDITIONAL)
    async def test_concurrent_increments_lose_nothing(self, store: SupportsEverything) -> None:
        await asyncio.wait_for(asyncio.gather(*(increment(store, "k") for _ in range(20))), 50)
        assert await store.get("c", "k") == 20

    @needs(CONDITIONAL)
    async def test_one_of_20_concurrent_compare_and_delete_wins(self, store: SupportsEverything) -> None:
        version = await store.put_if_absent("c", "k", 1)
        assert version is not None
        done = await asyncio.gather(*(store.compare_and_delete("c", "k", version=version) for _ in range(20)))
        assert sorted(done) == [False] * 19 + [True]

    @needs(CONDITIONAL)
    async def test_conditional_writes_hold_against_plain_ones(self, store: SupportsEverything) -> None:
        for number in range(10):
            key = str(number)
            version = await store.put_if_absent("c", key, "first")
            assert version is not None
            swapped, _ = await asyncio.gather(
                store.compare_and_put("c", key, "swapped", version=version), store.put("c", key, "plain")
            )
            found = await store.get("c", key)
            assert found == "plain" if swapped is None else found in ("plain", "swapped")

    @needs(CONDITIONAL)
    async def test_two_stores_over_one_place_compete_fairly(
        self, store: SupportsEverything, new_store: NewStore
    ) -> None:
        other = new_store()
        versions: list[Any] = await asyncio.gather(
            *(each.put_if_absent("c", str(number), number) for number in range(20) for each in (store, other))
        )
        winners = sum(version is not None for version in versions)
        assert winners == (20 if self.persistent else 40)
