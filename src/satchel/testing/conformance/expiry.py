"""A time to live is exact, and an expired entry is absent on every path."""

from __future__ import annotations

from datetime import timedelta

from ...capability import Capability
from ...protocol import SupportsEverything
from ..clock import FakeClock
from .suite import Suite, absent, listed, needs

CONDITIONAL = Capability.CONDITIONAL


class ExpiryPromises(Suite):
    """Tests of time to live."""

    async def test_two_seconds_are_two_seconds(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put("c", "k", 1, ttl=2)
        clock.advance(1.9)
        assert await store.get("c", "k") == 1
        clock.advance(0.2)
        assert await store.get("c", "k") is None

    async def test_a_fifth_of_a_second_is_a_fifth_of_a_second(
        self, store: SupportsEverything, clock: FakeClock
    ) -> None:
        await store.put("c", "k", 1, ttl=0.2)
        clock.advance(0.1)
        assert await store.get("c", "k") == 1
        clock.advance(0.2)
        assert await store.get("c", "k") is None

    async def test_sixty_days_are_sixty_days(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put("c", "k", 1, ttl=60 * 86_400)
        clock.advance(59 * 86_400)
        assert await store.get("c", "k") == 1
        clock.advance(2 * 86_400)
        assert await store.get("c", "k") is None

    async def test_a_timedelta_is_a_ttl(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put("c", "k", 1, ttl=timedelta(minutes=1))
        await store.put_many("c", {"l": 1}, ttl=timedelta(minutes=1))
        clock.advance(59)
        assert len(await store.get_many("c", ["k", "l"])) == 2
        clock.advance(2)
        assert await store.get_many("c", ["k", "l"]) == {}

    async def test_without_ttl_an_entry_stays(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put("c", "k", 1)
        await store.put_many("c", {"l": 2})
        clock.advance(50 * 365 * 86_400)
        assert await store.get_many("c", ["k", "l"]) == {"k": 1, "l": 2}

    async def test_a_put_without_ttl_clears_the_old_deadline(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put_many("c", {"k": 1, "l": 1}, ttl=10)
        await store.put("c", "k", 2)
        await store.put_many("c", {"l": 2})
        clock.advance(11)
        assert await store.get_many("c", ["k", "l"]) == {"k": 2, "l": 2}

    async def test_a_put_with_ttl_replaces_the_old_deadline(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put("c", "longer", 1, ttl=10)
        await store.put("c", "longer", 2, ttl=100)
        await store.put("c", "shorter", 1, ttl=100)
        await store.put("c", "shorter", 2, ttl=10)
        clock.advance(50)
        assert await store.get_many("c", ["longer", "shorter"]) == {"longer": 2}

    async def test_an_expired_entry_is_absent_on_every_read(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put_many("c", {"gone": 1, "expired": 2}, ttl=5)
        await store.put("c", "kept", 3)
        clock.advance(6)
        default = absent()
        assert await store.get("c", "gone", default) is default
        assert await store.exists("c", "gone") is False
        assert await store.get_entry("c", "gone") is None
        assert await store.get_many("c", ["gone", "kept", "expired"]) == {"kept": 3}
        assert list(await store.get_entries("c", ["gone", "kept", "expired"])) == ["kept"]

    async def test_deleting_an_expired_entry_says_it_was_not_there(
        self, store: SupportsEverything, clock: FakeClock
    ) -> None:
        await store.put_many("c", {"k": 1, "l": 1}, ttl=5)
        await store.put("c", "kept", 1)
        clock.advance(6)
        assert await store.delete("c", "k") is False
        assert await store.delete_many("c", ["k", "l", "kept"]) == 1

    async def test_an_expired_entry_can_be_put_again(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put("c", "k", "old", ttl=5)
        clock.advance(6)
        await store.put("c", "k", "new")
        assert await store.get("c", "k") == "new"
        assert await store.delete("c", "k") is True

    @needs(Capability.ENUMERATE_KEYS)
    async def test_an_expired_entry_is_not_listed(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put_many("c", {"gone 1": 1, "gone 2": 1}, ttl=5)
        await store.put_many("c", {"kept 1": 1, "kept 2": 1}, ttl=50)
        clock.advance(6)
        assert await listed(store.keys("c")) == ["kept 1", "kept 2"]
        assert await listed(store.keys("c", prefix="gone")) == []
        assert len(await listed(store.keys("c", limit=2))) == 2

    @needs(Capability.ENUMERATE_COLLECTIONS)
    async def test_a_collection_of_expired_entries_is_not_listed(
        self, store: SupportsEverything, clock: FakeClock
    ) -> None:
        await store.put_many("gone", {"k": 1, "l": 1}, ttl=5)
        await store.put("kept", "k", 1, ttl=5)
        await store.put("kept", "l", 1)
        clock.advance(6)
        assert await listed(store.collections()) == ["kept"]

    @needs(CONDITIONAL)
    async def test_put_if_absent_succeeds_over_an_expired_entry(
        self, store: SupportsEverything, clock: FakeClock
    ) -> None:
        await store.put("c", "k", "old", ttl=5)
        assert await store.put_if_absent("c", "k", "new") is None
        clock.advance(6)
        assert await store.put_if_absent("c", "k", "new", ttl=5) is not None
        assert await store.get("c", "k") == "new"
        clock.advance(6)
        assert await store.get("c", "k") is None

    @needs(CONDITIONAL)
    async def test_conditional_writes_do_not_see_an_expired_entry(
        self, store: SupportsEverything, clock: FakeClock
    ) -> None:
        await store.put("c", "k", 1, ttl=5)
        entry = await store.get_entry("c", "k")
        assert entry is not None
        clock.advance(6)
        assert await store.touch("c", "k", ttl=60) is False
        assert await store.compare_and_put("c", "k", 2, version=entry.version) is None
        assert await store.compare_and_delete("c", "k", version=entry.version) is False
        assert await store.exists("c", "k") is False

    @needs(CONDITIONAL)
    async def test_compare_and_put_sets_or_clears_the_deadline(
        self, store: SupportsEverything, clock: FakeClock
    ) -> None:
        first = await store.put_if_absent("c", "k", 1, ttl=5)
        assert first is not None
        second = await store.compare_and_put("c", "k", 2, version=first)
        assert second is not None
        clock.advance(6)
        assert await store.get("c", "k") == 2
        assert await store.compare_and_put("c", "k", 3, version=second, ttl=5) is not None
        clock.advance(6)
        assert await store.get("c", "k") is None

    @needs(CONDITIONAL)
    async def test_touch_prolongs_shortens_and_clears(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put_many("c", {"longer": 1, "shorter": 2, "cleared": 3}, ttl=20)
        await store.put("c", "limited", 4)
        assert await store.touch("c", "longer", ttl=100) is True
        assert await store.touch("c", "shorter", ttl=timedelta(seconds=5)) is True
        assert await store.touch("c", "cleared", ttl=None) is True
        assert await store.touch("c", "limited", ttl=5) is True
        assert await store.touch("c", "missing", ttl=5) is False
        clock.advance(6)
        assert await store.get_many("c", ["longer", "shorter", "cleared", "limited"]) == {"longer": 1, "cleared": 3}
        clock.advance(50)
        assert await store.get_many("c", ["longer", "cleared"]) == {"longer": 1, "cleared": 3}
        clock.advance(50)
        assert await store.get_many("c", ["longer", "cleared"]) == {"cleared": 3}
        assert await store.exists("c", "missing") is False
