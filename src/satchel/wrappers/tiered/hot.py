"""`HotTier`: the hot store of a `TieredStore`, which follows what is changed in cold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

from ..._batches import LONG, slices
from ...capability import Capability
from ...clock import NEVER, Clock
from ...entry import Entry
from ...errors import SatchelError, StoreClosedError, StoreError
from ...names import Ref
from ...protocol import AsyncKeyValue, SupportsEverything
from .pending import ALL, Inflight, KeyChange, KeyState
from .statistics import TierCounter

_REMEMBERED = 50_000
_PAGE = 500


class Recency:
    """Order in which the latest entries were used."""

    def __init__(self) -> None:
        self.demotions = 0
        self._count = 0
        self._last: dict[Ref, int] = {}
        self._before: dict[Ref, int] = {}
        """Earlier uses, forgotten all at once when the latest have become as many: to sort them would take long."""

    def note(self, ref: Ref) -> None:
        """Note that an entry is used now."""
        self._count += 1
        self._last[ref] = self._count
        if len(self._last) >= _REMEMBERED:
            self._before, self._last = self._last, {}

    def forget(self, ref: Ref) -> None:
        """Note that an entry is not there any more."""
        self._last.pop(ref, None)
        self._before.pop(ref, None)

    def forget_collection(self, collection: str) -> None:
        """Note that a collection, or `ALL`, is not there any more."""
        for uses in (self._last, self._before):
            for ref in [ref for ref in uses if collection in (ALL, ref[0])]:
                del uses[ref]

    async def demote(self, store: SupportsEverything, keep: int) -> int:
        """Remove all but the most recently used entries from a store, and return how many were removed."""
        uses = self._before | self._last
        refs = sorted(await self._held(store), key=lambda ref: uses.get(ref, 0))
        leaving: dict[str, list[str]] = {}
        for collection, key in refs[: max(0, len(refs) - keep)]:
            leaving.setdefault(collection, []).append(key)
        removed = 0
        for collection, keys in leaving.items():
            for start in range(0, len(keys), _PAGE):
                page = keys[start : start + _PAGE]
                removed += await store.delete_many(collection, page)
                for key in page:
                    self.forget((collection, key))
        self.demotions += removed
        return removed

    async def _held(self, store: SupportsEverything) -> list[Ref]:
        lists = Capability.ENUMERATE_KEYS | Capability.ENUMERATE_COLLECTIONS
        if lists not in store.capabilities:
            return list(self._before | self._last)
        names = [name async for name in store.collections()]
        return [(name, key) for name in names async for key in store.keys(name)]


T = TypeVar("T")

_TRY_AGAIN = 1.0
_CLEANED = 2
"""So many earlier entries are looked at with each change: more than one, so that they become fewer."""

logger = logging.getLogger("satchel")


class HotTier:
    """The hot store of a `TieredStore`; its failures are logged and counted, never raised.

    Args:
        store: The hot store.
        ttl: The longest that an entry stays in it, in seconds; None for as long as cold keeps it.
        clock: Function that returns seconds since the Unix epoch.
    """

    def __init__(self, store: AsyncKeyValue, *, ttl: float | None, clock: Clock) -> None:
        self.store = cast("SupportsEverything", store)
        self.counts = TierCounter()
        self.promotions = 0
        self.states = Inflight(clock)
        self._ttl = NEVER if ttl is None else ttl
        self._clock = clock
        self.uses = Recency()
        self.after_put: Callable[[list[KeyChange]], None] | None = None
        """Is called with finished puts."""
        self.get, self.note = store.get, self.uses.note

    async def trusts(self, ref: Ref) -> bool:
        """Return whether hot may be asked for an entry; what is due to be removed there is removed first."""
        for place, state in self.states.changing(ref):
            if not self.states.is_idle(state) or not await self.clean([place]):
                return False
        return True

    async def find(self, collection: str, keys: list[str]) -> dict[str, Any] | None:
        """Return the values that hot has; None when it failed."""
        try:
            found = await self.store.get_many(collection, keys)
        except SatchelError as error:
            self.failed(error)
            return None
        self.counts.hits += len(found)
        self.counts.misses += len(keys) - len(found)
        for key in found:
            self.uses.note((collection, key))
        return found

    async def has(self, ref: Ref) -> bool:
        """Return whether hot has an entry; not when it failed."""
        try:
            found = await self.store.exists(*ref)
        except SatchelError as error:
            self.failed(error)
            return False
        self.counts.hits += found
        self.counts.misses += not found
        return found

    async def cull(self) -> None:
        """Reclaim the space of expired entries, where hot can."""
        if Capability.CULL in self.store.capabilities:
            try:
                await self.store.cull()
            except SatchelError as error:
                self.failed(error)

    def failed(self, error: SatchelError) -> None:
        """Note a failure of hot. That it does not take a value is none."""
        if isinstance(error, StoreClosedError) or not isinstance(error, StoreError):
            return
        self.counts.errors += 1
        logger.warning("%r failed as the hot store; the cold one is asked instead: %s", self.store, error)

    async def promote(self, ref: Ref, state: KeyState, entry: Entry) -> bool:
        """Put an entry of cold into hot, unless something newer may be there; say whether that was done."""
        left = self._left(NEVER if entry.expires_at is None else entry.expires_at.timestamp())
        if state.written or state.users or left <= 0 or (entry.ttl is not None and entry.ttl <= 0):
            return False
        ttl = None if left == NEVER else left if entry.ttl is None else min(left, entry.ttl)
        state.users += 1
        try:
            if Capability.CONDITIONAL in self.store.capabilities:
                done = await self.store.put_if_absent(*ref, entry.value, ttl=ttl) is not None
            else:
                await self.store.put(*ref, entry.value, ttl=ttl)
                done = True
        except SatchelError as error:
            self.failed(error)
            done = False
        finally:
            state.users -= 1
        if state.written and not state.users:
            await self.clean([ref])
        self.promotions += done
        if done:
            self.uses.note(ref)
        return done

    async def change(
        self,
        collection: str,
        keys: list[str],
        work: Callable[[], Awaitable[T]],
        values: Mapping[str, object] | None = None,
        deadline: float = NEVER,
    ) -> T:
        """Carry out a change of cold, and let hot follow: with the new values, or else without the entries."""
        if len(keys) <= LONG:
            begin = self.states.begin
            parts = [[begin((collection, key)) for key in keys]]
        else:
            parts = await self._begin(collection, keys)
        try:
            outcome = await work()
        except BaseException as error:
            await self._end(parts, error)
            raise
        try:
            while parts and await self._update(collection, parts.pop(0), values, deadline):
                if parts:
                    await asyncio.sleep(0)
        finally:
            if parts:  # hot failed, or the caller was cancelled: reads remove what hot has of these
                await self._end(parts)
        return outcome

    async def drop(self, ref: Ref) -> bool:
        """Remove an entry that cold reports as changed, or a collection; say whether that was done."""
        due = self.overtake(ref)
        return bool(due) and await self.clean(due)

    def overtake(self, ref: Ref) -> list[Ref]:
        """Use hot no more for what cold reports as changed until that is removed; return what is to be removed now.

        A report counts as a change: reads of cold that are under way do not put their answers into hot. A change
        through this store that is under way finds at its end that it was overtaken.
        """
        if ref[1] == ALL:
            self.states.wipe(ref[0])
        change = self.states.begin(ref)
        change.state.dirty = True
        return self.states.finish([change])

    async def _begin(self, collection: str, keys: list[str]) -> list[list[KeyChange]]:
        """Begin changes of entries, all or none, and return them in slices that are quickly worked through."""
        begin = self.states.begin
        parts: list[list[KeyChange]] = []
        try:
            for part in slices(len(keys)):
                parts.append([begin((collection, key)) for key in keys[part]])
                await asyncio.sleep(0)
        except BaseException:
            for changes in parts:
                self.states.finish(changes)
            raise
        return parts

    async def _end(self, parts: list[list[KeyChange]], error: BaseException | None = None) -> None:
        """Finish changes of cold, successful or failed, that hot has not followed; no cancellation stops that."""
        states = self.states
        try:
            while len(parts) > 1:
                states.end_behind(parts.pop(), error)
                await asyncio.sleep(0)
        finally:
            for changes in parts:
                states.end_behind(changes, error)

    async def _update(
        self, collection: str, changes: list[KeyChange], values: Mapping[str, object] | None, deadline: float
    ) -> bool:
        """Let hot follow acknowledged changes; say whether it could."""
        states = self.states
        states.mark_done(changes)
        try:
            answered = await self._refresh(collection, changes, values, deadline)
        except BaseException:
            states.finish(changes)
            raise
        due = states.finish(changes)
        if self.after_put is not None and values is not None:
            self.after_put(changes)
        cleaned = not due or await self.clean(due)
        if cleaned and states:
            await self._clean_some()
        return answered and cleaned

    async def wipe(self, collection: str, work: Callable[[], Awaitable[T]]) -> T:
        """Carry out the removal of a collection, or of all, from cold, and remove it from hot."""
        self.states.wipe(collection)
        return await self.change(collection, [ALL], work)

    async def _refresh(
        self, collection: str, changes: list[KeyChange], values: Mapping[str, object] | None, deadline: float
    ) -> bool:
        """Put the new values of changes into hot; say whether it answered."""
        alone = [change for change in changes if change.is_alone]
        left = self._left(deadline)
        if values is None or not alone or left <= 0:
            return True
        try:
            ttl = None if left == NEVER else left
            if len(alone) == 1:
                await self.store.put(*alone[0].ref, values[alone[0].ref[1]], ttl=ttl)
            else:
                some = {change.ref[1]: values[change.ref[1]] for change in alone}
                await self.store.put_many(collection, some, ttl=ttl)
        except SatchelError as error:
            self.failed(error)
            return not isinstance(error, StoreError)
        self.counts.writes += len(alone)
        for change in alone:
            change.state.dirty = not change.is_alone
            self.uses.note(change.ref)
        return True

    async def clean(self, refs: list[Ref]) -> bool:
        """Remove entries of one collection from hot, and forget their states; say whether hot did."""
        collection, key = refs[0]
        before = self.states.generations(refs)
        try:
            if collection == ALL:
                await self.store.destroy()
            elif key == ALL:
                await self.store.destroy_collection(collection)
            elif len(refs) == 1:
                await self.store.delete(collection, key)
            else:
                await self.store.delete_many(collection, [name for _, name in refs])
        except SatchelError as error:
            self.failed(error)
            for state, _ in before.values():
                state.until = max(state.until, self._clock() + _TRY_AGAIN)
            return False
        if key == ALL:
            self.uses.forget_collection(collection)
        for ref in refs:
            self.uses.forget(ref)
        self.states.end_clean(before)
        return True

    async def _clean_some(self) -> None:
        """Remove from hot what earlier changes have left there: nobody may ever read it again."""
        for ref in self.states.left_behind(_CLEANED):
            if not await self.clean([ref]):
                return

    def _left(self, deadline: float) -> float:
        return min(deadline - self._clock(), self._ttl)
