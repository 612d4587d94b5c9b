"""`Inflight`: what is under way for the entries of a `TieredStore`, and which of them hot can be asked for.

While something is under way for an entry there is a `Flight` for it. A change marks it as written before cold is asked:
from then on reads of the entry go to cold, and a promotion that read cold before is given up. The last one to leave the
flight ends it, when hot is known to hold the newest value or none. Where that cannot be known, because hot did not
answer, or several came together, hot's entry is removed first; until that has succeeded reads go on to cold.

A change of cold that was cancelled or failed may still land later. Reads of the entry go to cold then, until a later
change of it is acknowledged, after which the lost one cannot land any more, or until `_SETTLED` seconds have passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ...clock import Clock
from ...errors import BatchError, SatchelError, StoreError
from ...names import Ref

_SETTLED = 60.0


class Flight:
    """What is under way for one entry. Its identity tells those who hold it that no other began meanwhile."""

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
    """One change in a flight: its own turn, 0 when it is not the only one, and the failures before."""

    ref: Ref
    flight: Flight
    turn: int
    failures: int

    @property
    def is_alone(self) -> bool:
        """Whether no other change came to the flight."""
        return self.turn == self.flight.turn


class Inflight(dict[Ref, Flight]):
    """Flights by entry and by collection.

    Args:
        clock: Function that returns seconds since the Unix epoch.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def is_changing(self, ref: Ref) -> bool:
        """Return whether a change of an entry is under way, or has left hot behind."""
        return next(self.changing(ref), None) is not None

    def changing(self, ref: Ref) -> Iterator[tuple[Ref, Flight]]:
        """Yield the flights of changes that an entry is concerned by: its own, its collection's, and that of all."""
        for place in (ref, (ref[0], ALL), (ALL, ALL)):
            flight = self.get(place)
            if flight is not None and flight.written:
                yield place, flight

    def is_left(self, flight: Flight) -> bool:
        """Return whether nobody is in a flight, and what may still land has had its time."""
        return not flight.users and flight.until <= self._clock()

    def disown(self) -> None:
        """In a child of `fork`: nothing is under way here, and hot may lack what the parent was changing."""
        for ref, flight in list(self.items()):
            if flight.written:
                flight.users, flight.readers, flight.spoiled = 0, 0, True
            else:
                self.drop(ref, flight)

    # Those who read cold in order to promote.

    def watch(self, ref: Ref) -> Flight | None:
        """Take part in the flight of an entry before cold is read; None when it cannot be promoted."""
        flight = self.get(ref)
        if flight is None:
            if self._is_wiped(ref[0]):
                return None
            flight = self[ref] = Flight()
        elif flight.written:
            return None
        flight.readers += 1
        return flight

    def unwatch(self, ref: Ref, flight: Flight) -> None:
        """Leave the flight."""
        flight.readers -= 1
        if not flight.readers and not flight.users and not flight.written:
            self.drop(ref, flight)

    # Those who change cold.

    def join(self, ref: Ref) -> Member:
        """Take part in the flight of an entry, or of a collection, with a change."""
        shared = self._is_wiped(ref[0])
        flight = self.get(ref)
        if flight is None:
            flight = self[ref] = Flight()
        shared = shared or flight.users > 0
        flight.spoiled = flight.spoiled or shared
        flight.written = True
        flight.users += 1
        flight.turn += 1
        return Member(ref, flight, 0 if shared else flight.turn, flight.failures)

    def wipe(self, collection: str) -> None:
        """Mark the flights of a collection, or of `ALL`, as overtaken."""
        for ref, flight in list(self.items()):
            if collection in (ALL, ref[0]):
                if flight.users:
                    flight.turn += 1
                elif not flight.written:
                    self.drop(ref, flight)
                flight.written = flight.spoiled = True

    def mark_failed(self, members: Sequence[Member], error: BaseException) -> None:
        """Note that changes failed, and may have happened all the same, or still happen."""
        for member in members:
            own = error.failed.get(member.ref[1]) if isinstance(error, BatchError) else error
            if isinstance(own, SatchelError) and not isinstance(own, StoreError):
                continue  # it was refused, and nothing has changed
            member.flight.spoiled = True
            if own is not None:
                member.flight.failures += 1
                member.flight.until = self._clock() + _SETTLED

    def mark_done(self, members: Sequence[Member]) -> None:
        """Note that changes were acknowledged: what failed before them cannot land any more."""
        for member in members:
            if member.failures == member.flight.failures:
                member.flight.until = 0.0

    def part(self, members: Sequence[Member]) -> list[Ref]:
        """Leave the flights, and return the entries that are to be removed from hot now."""
        due = []
        for member in members:
            flight = member.flight
            flight.users -= 1
            if not self.is_left(flight):
                continue
            if flight.spoiled:
                due.append(member.ref)
            else:
                self.drop(member.ref, flight)
        return due

    # The end of flights.

    def turns(self, refs: Iterable[Ref]) -> dict[Ref, tuple[Flight, int]]:
        """Return the flights of entries, each with its turn, for `land`."""
        return {ref: (flight, flight.turn) for ref in refs if (flight := self.get(ref)) is not None}

    def land(self, before: dict[Ref, tuple[Flight, int]]) -> None:
        """End flights whose entries were removed from hot."""
        for ref, (flight, turn) in before.items():
            # A change that came meanwhile removes the entry itself: perhaps this removal was too early for it.
            if flight.turn == turn and self.is_left(flight):
                self.drop(ref, flight)

    def left_behind(self, count: int) -> Iterator[Ref]:
        """Look at some flights, each time at others, and give the entries that are to be removed from hot."""
        for ref in list(islice(self, count)):
            flight = self.pop(ref, None)
            if flight is None:
                continue
            self[ref] = flight  # as the last one
            if flight.written and self.is_left(flight):
                yield ref

    def drop(self, ref: Ref, flight: Flight) -> None:
        """End a flight."""
        if self.get(ref) is flight:
            del self[ref]

    def _is_wiped(self, collection: str) -> bool:
        return bool(self) and ((collection, ALL) in self or (ALL, ALL) in self)


ALL = ""
"""As a key: the whole collection. As a collection: the whole store. Neither is a legal name."""
