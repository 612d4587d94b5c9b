"""`rotate`, of encryption and of signing."""

import asyncio
import random

import pytest

from satchel import (
    ConfigurationError,
    ConflictError,
    DiskStore,
    IntegrityError,
    MemoryStore,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from satchel._threads import tally
from satchel.testing import FakeClock
from satchel.wrappers import (
    CompressionWrapper,
    EncryptionWrapper,
    PrefixKeysWrapper,
    Rotation,
    SanitizationWrapper,
    SigningWrapper,
    TTLWrapper,
)

OLD, NEW, OTHER = (random.Random(seed).randbytes(32) for seed in (1, 2, 3))

pytestmark = pytest.mark.parametrize("kind", [EncryptionWrapper, SigningWrapper])


async def test_every_entry_is_brought_under_the_current_key(kind):
    inner = MemoryStore()
    old, store, new = kind(inner, key=OLD), kind(inner, key=NEW, other_keys=[OLD]), kind(inner, key=NEW)
    items = {f"k{number}": [number, "x"] for number in range(100)} | {"bytes": b"\0", "large": "x" * 100_000}
    await old.put_many("a", items)
    await old.put_many("b", items)
    await new.put_many("b", {"k0": "newer", "k1": "newer"})
    seen = []
    done = await store.rotate(progress=seen.append)
    assert done == Rotation(renewed=202, current=2, failed=0)
    assert await new.get_many("a", items) == items
    assert await new.get_many("b", items) == items | {"k0": "newer", "k1": "newer"}
    assert [each.renewed + each.current for each in seen] == [32, 64, 96, 102, 134, 166, 198, 204]
    assert seen[-1] == done
    assert await store.rotate() == Rotation(renewed=0, current=204, failed=0)


async def test_a_store_on_disk_is_rotated_too(kind, tmp_path):
    async with DiskStore(tmp_path) as inner:
        items = {str(number): number for number in range(50)}
        await kind(inner, key=OLD).put_many("c", items, ttl=60)
        before = await inner.get_entries("c", items)
        done = await kind(inner, key=NEW, other_keys=[OLD]).rotate()
        assert (done.renewed, done.failed) == (50, 0)
        assert await kind(inner, key=NEW).get_many("c", items) == items
        after = await inner.get_entries("c", items)
        assert all(after[key].expires_at == before[key].expires_at for key in items)
        assert all(after[key].version != before[key].version for key in items)


async def test_each_entry_keeps_its_deadline_though_time_passes(kind):
    clock = FakeClock()

    class Slow(MemoryStore):
        async def _read(self, refs):
            records = await super()._read(refs)
            clock.advance(0.123)
            return records

    inner = Slow(clock=clock)
    # Between the store and the wrapper, so that it sees what a rotation puts.
    bounded = TTLWrapper(inner, default=10, maximum=100, jitter=0.5, seed=1)
    old, store = kind(bounded, key=OLD), kind(bounded, key=NEW, other_keys=[OLD])
    for number in range(50):
        await old.put("c", str(number), number, ttl=10 + number / 7)
    keys = [*map(str, range(50))]
    before = await inner.get_entries("c", keys)
    assert (await store.rotate()).renewed == 50
    after = await inner.get_entries("c", keys)
    assert [after[key].expires_at for key in keys] == [before[key].expires_at for key in keys]


async def test_an_entry_without_a_deadline_keeps_none(kind):
    inner = MemoryStore()
    await kind(inner, key=OLD).put("c", "k", 0)
    assert (await kind(inner, key=NEW, other_keys=[OLD]).rotate()).renewed == 1
    assert (await inner.get_entry("c", "k")).expires_at is None


async def test_a_concurrent_put_is_never_overwritten(kind):
    puts = iter(range(40))

    class Busy(MemoryStore):
        async def get_entries(self, collection, keys):
            entries = await super().get_entries(collection, keys)
            for key in entries:
                number = next(puts, None)
                if number is not None:
                    await writers[number % 2].put(collection, key, f"put meanwhile {number}")
            return entries

    inner = Busy()
    writers = [kind(inner, key=OLD), kind(inner, key=NEW)]
    await writers[0].put_many("c", {str(number): "before" for number in range(20)})
    done = await kind(inner, key=NEW, other_keys=[OLD]).rotate()
    assert (done.renewed + done.current, done.failed) == (20, 0)
    # Every key was put twice meanwhile: what was put last is there.
    found = await writers[1].get_many("c", map(str, range(20)))
    assert sorted(found.values()) == [f"put meanwhile {number}" for number in range(20, 40)]


async def test_an_entry_that_is_put_all_the_time_is_counted_and_left(kind):
    class Busy(MemoryStore):
        async def get_entries(self, collection, keys):
            entries = await super().get_entries(collection, keys)
            if "busy" in entries:
                await old.put(collection, "busy", 1)
            return entries

    inner = Busy()
    old = kind(inner, key=OLD)
    await old.put_many("c", {"busy": 1, "calm": 1})
    done = await kind(inner, key=NEW, other_keys=[OLD]).rotate()
    assert (done.renewed, done.failed) == (1, 1)
    assert type(done.errors["c", "busy"]) is ConflictError
    assert await old.get("c", "busy") == 1


async def test_an_entry_that_is_deleted_or_expires_meanwhile_stays_absent(kind):
    clock = FakeClock()

    class Busy(MemoryStore):
        async def get_entries(self, collection, keys):
            entries = await super().get_entries(collection, keys)
            await self.delete("c", "deleted")
            clock.advance(2)
            return entries

    inner = Busy(clock=clock)
    old = kind(inner, key=OLD)
    await old.put_many("c", {"deleted": 1, "stays": 1})
    await old.put("c", "expires", 1, ttl=1)
    assert await kind(inner, key=NEW, other_keys=[OLD]).rotate() == Rotation(renewed=1)
    assert [key async for key in inner.keys("c")] == ["stays"]


async def test_what_cannot_be_read_is_counted_and_left_as_it_is(kind):
    class Damaged(MemoryStore):
        async def _read(self, refs):
            records = await super()._read(refs)
            return [
                IntegrityError("damaged") if ref[1] == "d" else each for ref, each in zip(refs, records, strict=True)
            ]

    inner = Damaged()
    await kind(inner, key=OLD).put_many("c", {"a": 1, "b": 2, "changed": 3, "d": 4})
    await kind(inner, key=OTHER).put("c", "of another key", 4)
    await inner.put("c", "plain", "text")
    await inner.put("c", "moved", await inner.get("c", "a"))
    frame = await inner.get("c", "changed")
    await inner.put("c", "changed", frame[:-1] + b"\xff")
    bad = {"of another key", "plain", "moved", "changed", "d"}
    before = {key: await inner.get("c", key) for key in bad - {"d"}}
    done = await kind(inner, key=NEW, other_keys=[OLD]).rotate()
    assert (done.renewed, done.current, done.failed) == (2, 0, 5)
    assert done.errors.keys() == {("c", key) for key in bad}
    assert all(isinstance(error, IntegrityError) for error in done.errors.values())
    assert "rotate of key 'moved' in collection 'c'" in str(done.errors["c", "moved"])
    assert {key: await inner.get("c", key) for key in before} == before


async def test_the_errors_that_are_kept_are_bounded(kind):
    inner = MemoryStore()
    await inner.put_many("c", {str(number): number for number in range(250)})
    done = await kind(inner, key=NEW).rotate()
    assert done.failed == 250
    assert len(done.errors) == 100


async def test_a_rotation_that_was_cut_short_is_started_again(kind):
    writes = iter(range(60))

    class Breaking(MemoryStore):
        async def _put_if(self, items, now):
            if next(writes, None) == 50:
                raise StoreUnavailableError("down")
            return [(await super(Breaking, self)._put_if([item], now))[0] for item in items]

        _max_items = 1

    inner = Breaking()
    items = {str(number): number for number in range(100)}
    await kind(inner, key=OLD).put_many("c", items)
    store = kind(inner, key=NEW, other_keys=[OLD])
    seen = []
    with pytest.raises(StoreUnavailableError):
        await store.rotate(progress=seen.append)
    assert seen[-1].renewed == 32
    assert await store.get_many("c", items) == items
    done = await store.rotate()
    assert done.current >= 50
    assert done.renewed + done.current == 100
    assert await kind(inner, key=NEW).get_many("c", items) == items


async def test_a_cancelled_rotation_leaves_every_value_readable(kind):
    inner = MemoryStore()
    items = {str(number): number for number in range(500)}
    await kind(inner, key=OLD).put_many("c", items)
    store = kind(inner, key=NEW, other_keys=[OLD])
    rotating = asyncio.create_task(store.rotate(progress=lambda done: done.renewed < 96 or rotating.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await rotating
    assert await store.get_many("c", items) == items
    assert (await store.rotate()).current >= 96


async def test_progress_may_be_async_and_is_checked_first(kind):
    inner = MemoryStore()
    await kind(inner, key=OLD).put("c", "k", 1)
    store = kind(inner, key=NEW, other_keys=[OLD])
    with pytest.raises(ConfigurationError, match="progress must be a function of a Rotation, got int"):
        await store.rotate(progress=5)
    seen = []

    async def progress(done):
        await asyncio.sleep(0)
        seen.append(done)

    assert await store.rotate(progress=progress) == Rotation(renewed=1)
    assert seen == [Rotation(renewed=1)]


async def test_other_calls_go_on_and_large_frames_are_resealed_in_a_thread(kind):
    inner = MemoryStore()
    await kind(inner, key=OLD).put("c", "large", b"x" * 1_000_000)
    before = tally.calls
    done = await kind(inner, key=NEW, other_keys=[OLD]).rotate()
    assert done.renewed == 1
    assert tally.calls == before + 1
    assert await kind(inner, key=NEW).get("c", "large") == b"x" * 1_000_000


async def test_it_reaches_all_below_other_wrappers_also_where_names_are_hashed(kind):
    inner = MemoryStore()

    def stack(wrapper):
        hashed = SanitizationWrapper(wrapper, key_strategy="hash", collection_strategy="hash")
        return CompressionWrapper(PrefixKeysWrapper(hashed, prefix="north"))

    await stack(kind(inner, key=OLD)).put("c", "k", "x" * 5000)
    sealing = kind(inner, key=NEW, other_keys=[OLD])
    assert await sealing.rotate() == Rotation(renewed=1)
    assert await stack(kind(inner, key=NEW)).get("c", "k") == "x" * 5000


async def test_a_store_that_lacks_what_it_needs_says_so(kind):
    class NoKeys(MemoryStore):
        _keys = None

    class Unconditional(MemoryStore):
        _touch = None

    for inner, lacking in ((NoKeys(), "ENUMERATE_KEYS"), (Unconditional(), "CONDITIONAL")):
        store = kind(inner, key=NEW, other_keys=[OLD])
        with pytest.raises(UnsupportedOperationError, match=f"{kind.__name__}.* rotate.*{lacking}"):
            await store.rotate()


async def test_a_store_that_turns_out_to_lack_it_says_so_too(kind):
    class Lacking(MemoryStore):
        async def compare_and_put(self, *arguments, **named):
            raise UnsupportedOperationError("this server has no conditional writes")

    inner = Lacking()
    await kind(inner, key=OLD).put("c", "k", 1)
    with pytest.raises(UnsupportedOperationError, match="this server has no"):
        await kind(inner, key=NEW, other_keys=[OLD]).rotate()
