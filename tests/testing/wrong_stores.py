"""A small correct store over a dict, and stores that are each wrong in one way that a published library was."""

import asyncio
import time
from fnmatch import fnmatchcase

import msgspec

from satchel import BaseStore
from satchel.backend.base import ABSENT
from satchel.clock import NEVER
from satchel.testing import StoreConformance

PLACES = {}


class RightStore(BaseStore):
    _page = 1000

    def __init__(self, place, *, clock):
        super().__init__(clock=clock)
        self._place = place
        self._data = PLACES.setdefault(place, {})

    def _at(self, ref):
        return ref

    def _living(self, ref, now):
        record = self._data.get(self._at(ref))
        return record if record is not None and record.deadline > now else None

    async def _read(self, refs):
        return [self._data.get(self._at(ref)) for ref in refs]

    async def _write(self, records):
        for ref, record in records:
            self._data[self._at(ref)] = record
        return [None] * len(records)

    async def _delete(self, refs, now):
        living = [self._living(ref, now) is not None for ref in refs]
        for ref in refs:
            self._data.pop(self._at(ref), None)
        return living

    async def _put_if(self, items, now):
        outcomes = []
        for ref, record, condition in items:
            found = self._living(ref, now)
            done = found is None if condition is ABSENT else found is not None and found.version == condition
            if done:
                self._data[self._at(ref)] = record
            outcomes.append(done)
        return outcomes

    async def _delete_if(self, items, now):
        outcomes = []
        for ref, version in items:
            found = self._living(ref, now)
            done = found is not None and found.version == version
            if done:
                del self._data[self._at(ref)]
            outcomes.append(done)
        return outcomes

    async def _touch(self, items, now):
        outcomes = []
        for ref, deadline in items:
            found = self._living(ref, now)
            if found is not None:
                self._data[self._at(ref)] = self._touched(found, deadline)
            outcomes.append(found is not None)
        return outcomes

    def _touched(self, record, deadline):
        return msgspec.structs.replace(record, deadline=deadline)

    def _matches(self, key, prefix):
        return key.startswith(prefix)

    async def _keys(self, collection, prefix, now):
        names = [key for place, key in list(self._data) if place == collection and self._matches(key, prefix)]
        for start in range(0, len(names), self._page):
            yield [key for key in names[start : start + self._page] if self._living((collection, key), now)]

    async def _collections(self, now):
        yield list({place for place, key in self._data if self._living((place, key), now)})

    async def _destroy_collection(self, collection, now):
        return any(await self._delete([ref for ref in self._data if ref[0] == collection], now))

    async def _destroy(self, now):
        return any(await self._delete(list(self._data), now))

    async def _cull(self, now):
        expired = [ref for ref, record in self._data.items() if record.deadline <= now]
        for ref in expired:
            del self._data[ref]
        return len(expired)


class DropsTTL(RightStore):
    async def _write(self, records):
        return await super()._write([(ref, msgspec.structs.replace(record, deadline=NEVER)) for ref, record in records])


class KeepsTheOldDeadline(RightStore):
    async def _write(self, records):
        now = self.clock()
        for ref, record in records:
            old = self._living(ref, now)
            if old is not None and record.deadline == NEVER:
                record = msgspec.structs.replace(record, deadline=old.deadline)  # noqa: PLW2901  # one step at a time
            self._data[ref] = record
        return [None] * len(records)


class ReturnsTuples(RightStore):
    async def get(self, collection, key, default=None):
        value = await super().get(collection, key, default)
        return tuple(value) if isinstance(value, list) else value


class GuessesTypes(RightStore):
    async def get(self, collection, key, default=None):
        value = await super().get(collection, key, default)
        return int(value) if isinstance(value, str) and value.isdecimal() else value


class JoinsNames(RightStore):
    def _at(self, ref):
        return "::".join(ref)

    _keys = None
    _collections = None
    _destroy_collection = None
    _destroy = None


class TruncatesKeys(RightStore):
    def _at(self, ref):
        return ref[0], ref[1][:1000]


class FoldsCase(RightStore):
    def _at(self, ref):
        return ref[0].lower(), ref[1].lower()


class DeleteAlwaysTrue(RightStore):
    async def _delete(self, refs, now):
        await super()._delete(refs, now)
        return [True] * len(refs)


class TouchChangesTheVersion(RightStore):
    def _touched(self, record, deadline):
        return msgspec.structs.replace(record, deadline=deadline, version=record.version[::-1]).sealed()


class ReadsThenWrites(RightStore):
    async def _put_if(self, items, now):
        held = [self._living(ref, now) for ref, _, _ in items]
        await asyncio.sleep(0.001)
        conditions = [condition for _, _, condition in items]
        done = [
            found is None if condition is ABSENT else found is not None and found.version == condition
            for found, condition in zip(held, conditions, strict=True)
        ]
        await self._write([(ref, record) for (ref, record, _), yes in zip(items, done, strict=True) if yes])
        return done


class IgnoresTheVersion(RightStore):
    async def _delete_if(self, items, now):
        return await self._delete([ref for ref, _ in items], now)


class ListsByPattern(RightStore):
    def _matches(self, key, prefix):
        return fnmatchcase(key, prefix + "*")


class ListsTheFirstPage(RightStore):
    async def _keys(self, collection, prefix, now):
        async for page in super()._keys(collection, prefix, now):
            yield page
            return


class ListsTheExpired(RightStore):
    async def _keys(self, collection, prefix, now):
        yield [key for place, key in self._data if place == collection and key.startswith(prefix)]


class SharesTheValue(RightStore):
    async def put(self, collection, key, value, *, ttl=None):
        await super().put(collection, key, value, ttl=ttl)
        self._values = {**getattr(self, "_values", {}), (collection, key): value}

    async def get(self, collection, key, default=None):
        if not await self.exists(collection, key):
            return default
        return getattr(self, "_values", {}).get((collection, key))


class CreatesOnReading(RightStore):
    async def _read(self, refs):
        self._seen = getattr(self, "_seen", set()) | {collection for collection, _ in refs}
        return await super()._read(refs)

    async def _collections(self, now):
        yield list({place for place, _ in self._data} | getattr(self, "_seen", set()))


class DestroysEverything(RightStore):
    async def _destroy(self, now):
        found = bool(self._data)
        for data in PLACES.values():
            data.clear()
        return found


class IsSometimesFalsy(RightStore):
    def __len__(self):
        return len(self._data)


class BlocksTheLoop(RightStore):
    async def _read(self, refs):
        time.sleep(0.001)  # noqa: ASYNC251  # this is what is wrong with it
        return await super()._read(refs)


class ForgetsWhatIsClosed(RightStore):
    async def _close(self):
        self._data.clear()


class LandsLate(RightStore):
    _shield_writes = False

    async def _write(self, records):
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(0.02, self._data.update, dict(records))
            raise
        return await super()._write(records)


class CullsWhatIsFresh(RightStore):
    async def _cull(self, now):
        expired = [ref for ref, record in self._data.items() if record.deadline <= now]
        await asyncio.sleep(0.005)
        return sum(self._data.pop(ref, None) is not None for ref in expired)


WRONG = {
    DropsTTL: ["test_two_seconds_are_two_seconds", "test_an_expired_entry_is_absent_on_every_read"],
    KeepsTheOldDeadline: ["test_a_put_without_ttl_clears_the_old_deadline"],
    ReturnsTuples: ["test_values_come_back_with_their_exact_types[lists]"],
    GuessesTypes: ["test_values_come_back_with_their_exact_types[text]"],
    JoinsNames: ["test_names_joined_with_separators_do_not_collide"],
    TruncatesKeys: ["test_keys_that_differ_only_past_1000_bytes_are_two_entries"],
    FoldsCase: ["test_names_that_differ_only_in_case_are_two_entries"],
    DeleteAlwaysTrue: ["test_delete_says_what_was_there", "test_deleting_an_expired_entry_says_it_was_not_there"],
    TouchChangesTheVersion: ["test_touch_keeps_version_value_and_updated_at"],
    ReadsThenWrites: ["test_two_stores_over_one_place_compete_fairly"],
    IgnoresTheVersion: ["test_compare_and_delete_needs_the_current_version"],
    ListsByPattern: ["test_a_prefix_is_matched_literally"],
    ListsTheFirstPage: ["test_a_listing_goes_on_over_all_pages"],
    ListsTheExpired: ["test_an_expired_entry_is_not_listed"],
    SharesTheValue: ["test_a_value_changed_after_put_is_stored_as_it_was"],
    CreatesOnReading: ["test_reading_a_missing_collection_creates_nothing"],
    DestroysEverything: ["test_destroy_leaves_other_stores_alone"],
    IsSometimesFalsy: ["test_a_store_is_never_falsy"],
    BlocksTheLoop: ["test_falsy_values_are_hits"],
    LandsLate: ["test_a_cancelled_put_never_lands_over_a_later_one"],
    CullsWhatIsFresh: ["test_removing_the_expired_never_removes_a_fresh_value"],
    ForgetsWhatIsClosed: ["test_reopening_finds_what_a_persistent_store_was_given"],
}
"""Each wrong store, and the tests that must catch it."""


def conformance_of(store):
    """Return the conformance class of one of these stores."""
    methods = {"persistent": True, "make_store": lambda self, clock, place: store(place, clock=clock)}
    return type(f"Test{store.__name__}", (StoreConformance,), methods)


globals().update({f"Test{store.__name__}": conformance_of(store) for store in (RightStore, *WRONG)})
