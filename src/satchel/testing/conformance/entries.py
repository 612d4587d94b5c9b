"""Entries and their versions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ...capability import Capability
from ...entry import Entry
from ...protocol import SupportsEverything
from ..clock import FakeClock
from .suite import Suite, needs

CONDITIONAL = Capability.CONDITIONAL


async def entry_of(store: SupportsEverything, key: str = "k") -> Entry:
    """Return an entry that must exist."""
    entry = await store.get_entry("c", key)
    assert entry is not None, f"there is no entry under {key!r}"
    return entry


class EntryPromises(Suite):
    """Tests of `Entry` and versions."""

    async def test_an_entry_tells_value_times_and_size(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put("c", "k", {"a": 1}, ttl=60)
        written = datetime.fromtimestamp(clock(), UTC)
        clock.advance(15)
        entry = await entry_of(store)
        assert isinstance(entry, Entry)
        assert entry.value == {"a": 1}
        assert type(entry.version) is str
        assert entry.version
        assert entry.updated_at.utcoffset() is not None
        assert abs((entry.updated_at - written).total_seconds()) < 0.01
        assert entry.expires_at is not None
        assert abs((entry.expires_at - written).total_seconds() - 60) < 0.01
        assert entry.ttl == pytest.approx(45, abs=0.01)
        assert type(entry.size) is int
        assert entry.size > 0

    async def test_an_entry_without_ttl_has_no_deadline(self, store: SupportsEverything) -> None:
        await store.put("c", "k", 1)
        entry = await entry_of(store)
        assert entry.expires_at is None
        assert entry.ttl is None

    async def test_get_entries_gives_what_get_entry_gives(self, store: SupportsEverything) -> None:
        await store.put_many("c", {"k": 1, "l": b"2"}, ttl=60)
        entries = await store.get_entries("c", ["l", "missing", "k"])
        assert list(entries) == ["l", "k"]
        assert entries["k"] == await entry_of(store, "k")
        assert entries["l"] == await entry_of(store, "l")

    async def test_the_representation_of_an_entry_has_no_value(self, store: SupportsEverything) -> None:
        await store.put("c", "k", "hunter2")
        assert "hunter2" not in repr(await entry_of(store))

    async def test_every_write_makes_a_new_version(self, store: SupportsEverything) -> None:
        seen = []
        for value in (1, 2, 2, 2):
            await store.put("c", "k", value)
            seen.append((await entry_of(store)).version)
        await store.put_many("c", {"k": 2, "l": 2})
        seen += [(await entry_of(store, key)).version for key in "kl"]
        await store.delete("c", "k")
        await store.put("c", "k", 2)
        seen.append((await entry_of(store)).version)
        assert len(set(seen)) == len(seen), "two writes have the same version"

    async def test_reading_does_not_change_the_version(self, store: SupportsEverything) -> None:
        await store.put("c", "k", 1, ttl=60)
        before = await entry_of(store)
        await store.get("c", "k")
        await store.exists("c", "k")
        await store.get_many("c", ["k"])
        assert await entry_of(store) == before

    async def test_updated_at_follows_the_last_write(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put("c", "k", 1)
        before = await entry_of(store)
        clock.advance(10)
        await store.put("c", "k", 1)
        assert ((await entry_of(store)).updated_at - before.updated_at).total_seconds() == pytest.approx(10, abs=0.01)

    @needs(CONDITIONAL)
    async def test_touch_keeps_version_value_and_updated_at(self, store: SupportsEverything, clock: FakeClock) -> None:
        await store.put("c", "k", {"a": 1}, ttl=60)
        before = await entry_of(store)
        clock.advance(10)
        assert await store.touch("c", "k", ttl=60) is True
        after = await entry_of(store)
        assert after.version == before.version
        assert after.updated_at == before.updated_at
        assert after.value == before.value
        assert after.ttl == pytest.approx(60, abs=0.01)
        assert await store.touch("c", "k", ttl=None) is True
        assert ((await entry_of(store)).version, (await entry_of(store)).ttl) == (before.version, None)

    @needs(CONDITIONAL)
    async def test_conditional_writes_return_the_version_of_the_entry(self, store: SupportsEverything) -> None:
        first = await store.put_if_absent("c", "k", 1)
        assert first == (await entry_of(store)).version
        assert first is not None
        second = await store.compare_and_put("c", "k", 1, version=first)
        assert second == (await entry_of(store)).version
        assert second != first
