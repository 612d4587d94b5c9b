"""`Inflight`: what is under way for the entries of a `TieredStore`, and which of them hot can be asked for.

While something is under way for an entry there is a `KeyState` of it. A change marks that as written before cold is
asked: from then on reads of the entry go to cold, and a promotion that read cold before is given up. The last change to
finish drops the state, when hot is known to hold the newest value or none. Where that cannot be known, because hot did
not answer, or several changes came together, the state is dirty: hot's entry is removed first, and until that has
succeeded reads go on to cold.

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


class KeyState:
    """What is under way for one entry. As long as its identity is the same, it was not dropped meanwhile."""

    __slots__ = ("dirty", "failures", "generation", "readers", "until", "users", "written")

    def __init__(self) -> None:
        self.readers = 0
        """So many read cold in order to promote."""
        self.users = 0
        """So many change the entry, or have a promotion of it on its way to hot."""
        self.written = False
        """A change has begun: hot is not asked any more, and nothing is promoted."""
        self.dirty = False
        """Hot may hold something old."""
        self.generation = 0
        """Number of changes that have begun."""
        self.failures = 0
        self.until = 0.0
        """Hot cannot be used before this time."""


@dataclass(slots=True)
class KeyChange:
    """One change of an entry: its generation, 0 when it is not the only one, and the failures before it."""

    ref: Ref
    state: KeyState
    generation: int
    failures: int

    @property
    def is_alone(self) -> bool:
        """Whether no other change of the entry has begun."""
        return self.generation == self.state.generation


class Inflight(dict[Ref, KeyState]):
    """Mapping of entries and collections to their states.

    Args:
        clock: Function that returns seconds since the Unix epoch.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def is_changing(self, ref: Ref) -> bool:
        """Return whether a change of an entry is under way, or has left hot behind."""
        return next(self.changing(ref), None) is not None

    def changing(self, ref: Ref) -> Iterator[tuple[Ref, KeyState]]:
        """Give the states with changes that concern an entry: its own, its collection's, and that of the store."""
        for place in (ref, (ref[0], ALL), (ALL, ALL)):
            state = self.get(place)
            if state is not None and state.written:
                yield place, state

    def is_idle(self, state: KeyState) -> bool:
        """Return whether no change is under way, and what may still land has had its time."""
        return not state.users and state.until <= self._clock()

    def disown(self) -> None:
        """In a child of `fork`: nothing is under way here, and hot may lack what the parent was changing."""
        for ref, state in list(self.items()):
            if state.written:
                state.users, state.readers, state.dirty = 0, 0, True
            else:
                self.drop(ref, state)

    # Those who read cold in order to promote.

    def watch(self, ref: Ref) -> KeyState | None:
        """Note a reader of an entry before cold is read; None when the entry cannot be promoted."""
        state = self.get(ref)
        if state is None:
            if self._is_wiped(ref[0]):
                return None
            state = self[ref] = KeyState()
        elif state.written:
            return None
        state.readers += 1
        return state

    def unwatch(self, ref: Ref, state: KeyState) -> None:
        """Note that a reader has ended."""
        state.readers -= 1
        if not state.readers and not state.users and not state.written:
            self.drop(ref, state)

    # Those who change cold.

    def begin(self, ref: Ref) -> KeyChange:
        """Begin a change of an entry, or of a collection."""
        shared = self._is_wiped(ref[0])
        state = self.get(ref)
        if state is None:
            state = self[ref] = KeyState()
        shared = shared or state.users > 0
        state.dirty = state.dirty or shared
        state.written = True
        state.users += 1
        state.generation += 1
        return KeyChange(ref, state, 0 if shared else state.generation, state.failures)

    def wipe(self, collection: str) -> None:
        """Mark the states of a collection, or of `ALL`, as overtaken."""
        for ref, state in list(self.items()):
            if collection in (ALL, ref[0]):
                if state.users:
                    state.generation += 1
                elif not state.written:
                    self.drop(ref, state)
                state.written = state.dirty = True

    def distrust(self) -> None:
        """Note that hot may hold anything: it is emptied before it is read."""
        self.wipe(ALL)
        state = self.setdefault((ALL, ALL), KeyState())
        state.written = state.dirty = True

    def mark_failed(self, changes: Sequence[KeyChange], error: BaseException) -> None:
        """Note that changes failed, and may have happened all the same, or still happen."""
        for change in changes:
            own = error.failed.get(change.ref[1]) if isinstance(error, BatchError) else error
            if isinstance(own, SatchelError) and not isinstance(own, StoreError):
                continue  # it was refused, and nothing has changed
            change.state.dirty = True
            if own is not None:
                change.state.failures += 1
                change.state.until = self._clock() + _SETTLED

    def mark_done(self, changes: Sequence[KeyChange]) -> None:
        """Note that changes were acknowledged: hot is behind, and what failed before them cannot land any more."""
        for change in changes:
            change.state.dirty = True
            if change.failures == change.state.failures:
                change.state.until = 0.0

    def finish(self, changes: Sequence[KeyChange]) -> list[Ref]:
        """Finish changes, and return the entries that are to be removed from hot now."""
        due = []
        for change in changes:
            state = change.state
            state.users -= 1
            if not self.is_idle(state):
                continue
            if state.dirty:
                due.append(change.ref)
            else:
                self.drop(change.ref, state)
        return due

    def end_behind(self, changes: Sequence[KeyChange], error: BaseException | None) -> None:
        """Finish changes that hot has not followed: they succeeded, or failed with an error."""
        if error is None:
            self.mark_done(changes)
        else:
            self.mark_failed(changes, error)
        self.finish(changes)

    # The end of a state.

    def generations(self, refs: Iterable[Ref]) -> dict[Ref, tuple[KeyState, int]]:
        """Return the states of changed entries, each with its generation, for `end_clean`.

        One of a reader alone is not among them: by it the reader is to hear of a change.
        """
        states = [(ref, state) for ref in refs if (state := self.get(ref)) is not None]
        return {ref: (state, state.generation) for ref, state in states if state.written}

    def end_clean(self, before: dict[Ref, tuple[KeyState, int]]) -> None:
        """Drop states whose entries were removed from hot."""
        for ref, (state, generation) in before.items():
            # A change that came meanwhile removes the entry itself: perhaps this removal was too early for it.
            if state.generation == generation and self.is_idle(state):
                self.drop(ref, state)

    def left_behind(self, count: int) -> Iterator[Ref]:
        """Look at some states, each time at others, and give the entries that are to be removed from hot."""
        for ref in list(islice(self, count)):
            state = self.pop(ref, None)
            if state is None:
                continue
            self[ref] = state  # as the last one
            if state.written and self.is_idle(state):
                yield ref

    def drop(self, ref: Ref, state: KeyState) -> None:
        """Drop a state, unless another has taken its place."""
        if self.get(ref) is state:
            del self[ref]

    def _is_wiped(self, collection: str) -> bool:
        return bool(self) and ((collection, ALL) in self or (ALL, ALL) in self)


ALL = ""
"""As a key: the whole collection. As a collection: the whole store. Neither is a legal name."""
