"""`HotTier`: the hot store of a `TieredStore`, and what keeps it from giving back what was overwritten.

While something is under way for an entry there is a `Flight` for it. A change marks it as written before cold is asked:
from then on reads of the entry go to cold, and a promotion that read cold before is given up. The last one to leave the
flight ends it, when hot is known to hold the newest value or none. Where that cannot be known, because hot did not
answer, or several came together, hot's entry is removed first; until that has succeeded reads go on to cold.

A change of cold that was cancelled or failed may still land later. Reads of the entry go to cold then, until a later
change of it is acknowledged, after which the lost one cannot land any more, or until `_SETTLED` seconds have passed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar, cast

from ..capability import Capability
from ..clock import NEVER, Clock
from ..entry import Entry
from ..errors import BatchError, SatchelError, StoreClosedError, StoreError
from ..names import Ref
from ..protocol import AsyncKeyValue, SupportsEverything
from .tiered_statistics import Counts
from .tiered_uses import ALL, Uses

T = TypeVar("T")

_SETTLED = 60.0
_TRY_AGAIN = 1.0
_CLEANED = 2
"""So many earlier entries are looked at with each change: more than one, so that they become fewer."""

logger = logging.getLogger("satchel")


class Flight:
    """Is what is under way for one entry. Its identity tells those who hold it that no other began meanwhile."""

    __slots__ = ("failures", "readers", "spoiled", "turn", "until", "users", "written")

    def __init__(self) -> None:
        self.readers = 0
        """So many read cold in order to promote."""
        self.users = 0
        """So many change the entry, or have a promotion of it on its way to hot."""
        self.written = False
        """A change has begun: hot is not asked any more, and nothing is promoted."""
        self.spoiled = False
        """Hot may hold something old."""
        self.turn = 0
        self.failures = 0
        self.until = 0.0
        """Hot cannot be used before this time."""


@dataclass(slots=True)
class Member:
    """Is the part of one change in a flight: its own turn, 0 when it is not the only one, and the failures before."""

    ref: Ref
    flight: Flight
    turn: int
    failures: int

    @property
    def is_alone(self) -> bool:
        """Whether no other change came to the flight."""
        return self.turn == self.flight.turn


class HotTier:
    """Asks and changes the hot store; no failure of that one is raised, but logged and counted.

    Args:
        store: The hot store.
        ttl: The longest that an entry stays in it, in seconds; None for as long as cold keeps it.
        clock: Gives the present as seconds since the Unix epoch.
    """

    def __init__(self, store: AsyncKeyValue, *, ttl: float | None, clock: Clock) -> None:
        self.store = cast("SupportsEverything", store)
        self.counts = Counts()
        self.promotions = 0
        self.flights: dict[Ref, Flight] = {}
        self._ttl = NEVER if ttl is None else ttl
        self._clock = clock
        self.uses = Uses()
        self.get, self.note = store.get, self.uses.note

    # Reading.

    def is_changing(self, ref: Ref) -> bool:
        """Say whether a change of an entry is under way, or has left hot behind."""
        places = (ref, (ref[0], ALL), (ALL, ALL))
        return any((flight := self.flights.get(place)) is not None and flight.written for place in places)

    async def trusts(self, ref: Ref) -> bool:
        """Say whether hot may be asked for an entry; what is due to be removed there is removed first."""
        for place in (ref, (ref[0], ALL), (ALL, ALL)):
            flight = self.flights.get(place)
            if flight is None or not flight.written:
                continue
            if flight.users or flight.until > self._clock() or not await self._clean([place]):
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
        """Say whether hot has an entry; not when it failed."""
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

    # Promotion.

    def watch(self, ref: Ref) -> Flight | None:
        """Take part in the flight of an entry before cold is read; None when it cannot be promoted."""
        flight = self.flights.get(ref)
        if flight is None:
            if self._is_wiped(ref[0]):
                return None
            flight = self.flights[ref] = Flight()
        elif flight.written:
            return None
        flight.readers += 1
        return flight

    def unwatch(self, ref: Ref, flight: Flight) -> None:
        """Leave the flight."""
        flight.readers -= 1
        if not flight.readers and not flight.users and not flight.written:
            self._drop(ref, flight)

    async def promote(self, ref: Ref, flight: Flight, entry: Entry) -> bool:
        """Put an entry of cold into hot, unless something newer may be there; say whether that was done."""
        left = self._left(NEVER if entry.expires_at is None else entry.expires_at.timestamp())
        if flight.written or flight.users or left <= 0 or (entry.ttl is not None and entry.ttl <= 0):
            return False
        ttl = None if left == NEVER else left if entry.ttl is None else min(left, entry.ttl)
        flight.users += 1
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
            flight.users -= 1
        if flight.written and not flight.users:
            await self._clean([ref])
        self.promotions += done
        if done:
            self.uses.note(ref)
        return done

    # Changes.

    async def change(
        self,
        collection: str,
        keys: Iterable[str],
        work: Callable[[], Awaitable[T]],
        values: Mapping[str, object] | None = None,
        deadline: float = NEVER,
    ) -> T:
        """Carry out a change of cold, and let hot follow: with the new values, or else without the entries."""
        members = [self._join((collection, key)) for key in keys]
        try:
            outcome = await work()
        except BaseException as error:
            self._mark_failed(members, error)
            self._part(members)
            raise
        for member in members:
            if member.failures == member.flight.failures:
                member.flight.until = 0.0
        try:
            await self._refresh(collection, members, values, deadline)
        except BaseException:
            self._part(members)
            raise
        due = self._part(members)
        if (not due or await self._clean(due)) and self.flights:
            await self._clean_some()
        return outcome

    async def wipe(self, collection: str, work: Callable[[], Awaitable[T]]) -> T:
        """Carry out the removal of a collection, or of all, from cold, and remove it from hot."""
        for ref, flight in list(self.flights.items()):
            if collection in (ALL, ref[0]):
                if flight.users:
                    flight.turn += 1
                elif not flight.written:
                    self._drop(ref, flight)
                flight.written = flight.spoiled = True
        return await self.change(collection, [ALL], work)

    def _join(self, ref: Ref) -> Member:
        shared = self._is_wiped(ref[0])
        flight = self.flights.get(ref)
        if flight is None:
            flight = self.flights[ref] = Flight()
        shared = shared or flight.users > 0
        flight.spoiled = flight.spoiled or shared
        flight.written = True
        flight.users += 1
        flight.turn += 1
        return Member(ref, flight, 0 if shared else flight.turn, flight.failures)

    def _mark_failed(self, members: Sequence[Member], error: BaseException) -> None:
        for member in members:
            own = error.failed.get(member.ref[1]) if isinstance(error, BatchError) else error
            if isinstance(own, SatchelError) and not isinstance(own, StoreError):
                continue  # it was refused, and nothing has changed
            member.flight.spoiled = True
            if own is not None:
                member.flight.failures += 1
                member.flight.until = self._clock() + _SETTLED

    async def _refresh(
        self, collection: str, members: list[Member], values: Mapping[str, object] | None, deadline: float
    ) -> None:
        alone = [member for member in members if member.is_alone]
        for member in members:
            member.flight.spoiled = True
        left = self._left(deadline)
        if values is None or not alone or left <= 0:
            return
        try:
            ttl = None if left == NEVER else left
            if len(alone) == 1:
                await self.store.put(*alone[0].ref, values[alone[0].ref[1]], ttl=ttl)
            else:
                some = {member.ref[1]: values[member.ref[1]] for member in alone}
                await self.store.put_many(collection, some, ttl=ttl)
        except SatchelError as error:
            self.failed(error)
            return
        self.counts.writes += len(alone)
        for member in alone:
            member.flight.spoiled = not member.is_alone
            self.uses.note(member.ref)

    def _part(self, members: Sequence[Member]) -> list[Ref]:
        """Leave the flights, and return the entries that are to be removed from hot now."""
        due = []
        for member in members:
            flight = member.flight
            flight.users -= 1
            if flight.users or flight.until > self._clock():
                continue
            if flight.spoiled:
                due.append(member.ref)
            else:
                self._drop(member.ref, flight)
        return due

    async def _clean(self, refs: list[Ref]) -> bool:
        """Remove entries of one collection from hot, and end their flights; say whether hot did."""
        collection, key = refs[0]
        before = {ref: (flight, flight.turn) for ref in refs if (flight := self.flights.get(ref)) is not None}
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
            for flight, _ in before.values():
                flight.until = max(flight.until, self._clock() + _TRY_AGAIN)
            return False
        if key == ALL:
            self.uses.forget_collection(collection)
        for ref in refs:
            self.uses.forget(ref)
        for ref, (flight, turn) in before.items():
            # A change that came meanwhile removes the entry itself: perhaps this removal was too early for it.
            if flight.turn == turn and not flight.users and flight.until <= self._clock():
                self._drop(ref, flight)
        return True

    async def _clean_some(self) -> None:
        """Remove from hot what earlier changes have left there: nobody may ever read it again."""
        for ref in list(islice(self.flights, _CLEANED)):
            flight = self.flights.pop(ref, None)
            if flight is None:
                continue
            self.flights[ref] = flight  # as the last one, so that the next change looks at others
            if flight.written and not flight.users and flight.until <= self._clock() and not await self._clean([ref]):
                return

    def _drop(self, ref: Ref, flight: Flight) -> None:
        if self.flights.get(ref) is flight:
            del self.flights[ref]

    def _is_wiped(self, collection: str) -> bool:
        flights = self.flights
        return bool(flights) and ((collection, ALL) in flights or (ALL, ALL) in flights)

    def _left(self, deadline: float) -> float:
        return min(deadline - self._clock(), self._ttl)
