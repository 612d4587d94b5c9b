"""Conformance suite of content: promises of `ContentStore`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ...capability import Capability
from ...content import ContentStore, digest
from ...errors import KeyMissingError
from ..clock import FakeClock
from .suite import NewStore, Suite, listed, needs

Pair = tuple[ContentStore, ContentStore]

_PATIENCE = 50
_AGE = 100
_VALUE: Any = {"rows": [{"n": 1, "tags": ("a", b"b")}, {"n": 2}], "none": None}


class ContentConformance(Suite):
    """Suite for a store with `Capability.CONDITIONAL` that is to carry content.

    A subclass says how to make a store, as for `StoreConformance`.
    """

    @pytest.fixture
    def pair(self, store: Any, new_store: NewStore, clock: FakeClock) -> Pair:
        """Return two content stores over the same place, as two processes have them."""
        other = new_store() if self.persistent else store
        return (
            ContentStore(store, older_than=_AGE, clock=clock),
            ContentStore(other, depth=3, older_than=_AGE, clock=clock),
        )

    async def test_a_value_is_loaded_by_its_digest(self, pair: Pair) -> None:
        one, other = pair
        saved = await one.save(_VALUE)
        assert saved == digest(_VALUE)
        assert await other.load(saved) == _VALUE
        assert await other.contains(saved)
        assert await one.save(_VALUE) == saved
        with pytest.raises(KeyMissingError):
            await other.load(digest("missing"))

    async def test_saves_at_once_at_several_depths_agree(self, pair: Pair) -> None:
        one, other = pair
        saves = [store.save([_VALUE, number % 3]) for number in range(12) for store in (one, other)]
        saved = await asyncio.wait_for(asyncio.gather(*saves), _PATIENCE)
        assert len(set(saved)) == 3
        for number in range(3):
            assert await one.load(digest([_VALUE, number])) == [_VALUE, number]

    async def test_a_long_list_is_stored_in_parts(self, pair: Pair) -> None:
        one, other = pair
        value: list[Any] = [{"n": number} for number in range(600)]
        saved = await one.save(value)
        assert await other.child_digests(saved) == tuple(map(digest, value))
        value[300] = {"n": "changed"}
        assert await one.load(await other.save(value)) == value

    async def test_an_evicted_part_is_named_and_comes_back_with_the_next_save(self, pair: Pair) -> None:
        one, other = pair
        saved = await one.save([[1], [2]])
        assert await other.evict(digest([2]))
        assert not await other.evict(digest([2]))
        assert not await one.contains(saved)
        with pytest.raises(KeyMissingError, match=digest([2])):
            await one.load(saved)
        await one.save([[1], [2]])
        assert await other.load(saved) == [[1], [2]]

    @needs(Capability.ENUMERATE_KEYS)
    async def test_short_digests_are_made_and_completed(self, store: Any, pair: Pair) -> None:
        one, other = pair
        saved = [await one.save(number) for number in range(20)]
        assert await store.count("content") == 20
        for full, short in zip(saved, await other.shrink(*saved), strict=True):
            assert await other.expand(short) == full

    @needs(Capability.ENUMERATE_KEYS)
    async def test_reuses_are_counted(self, store: Any, pair: Pair) -> None:
        one, other = pair
        saved = await one.save([["shared"], ["shared"]])
        assert await store.count("content") == 2
        counts = await other.count_reuses()
        assert (counts[saved], counts[digest(["shared"])], len(counts)) == (0, 2, 2)

    @needs(Capability.ENUMERATE_KEYS)
    async def test_what_is_pinned_or_recorded_is_kept_and_the_rest_is_collected(
        self, store: Any, pair: Pair, clock: FakeClock
    ) -> None:
        one, other = pair
        pinned, recorded, loose = [await one.save([[name]]) for name in ("pinned", "recorded", "loose")]
        await one.pin(pinned)
        saving = one.saving()
        await saving.save([["recorded"]])
        await one.register_roots("calls")
        await store.put("calls", "k", {"format": 1, "roots": [str(recorded)]})
        await saving.finish()
        clock.advance(_AGE + 1)
        fresh = await one.save([["fresh"]])
        dry = await other.gc(dry_run=True)
        report = await other.gc()
        assert report == dry
        assert (report.examined, report.old, report.kept, report.removed) == (8, 6, 4, 2)
        for kept in (pinned, recorded, fresh):
            assert await one.contains(kept)
        assert not await one.contains(loose)

    @needs(Capability.ENUMERATE_KEYS)
    async def test_what_is_saved_again_is_not_collected(self, store: Any, pair: Pair, clock: FakeClock) -> None:
        one, other = pair
        saved = await one.save([[1], [2]])
        clock.advance(_AGE)
        await other.save([[1], [2]])
        clock.advance(_AGE)
        assert (await one.gc()).removed == 0
        assert await one.load(saved) == [[1], [2]]
        clock.advance(1)
        assert (await one.gc()).removed == 3
        assert await listed(store.keys("content")) == []
