"""`History`: is there an order of the calls on one key that explains every answer?

A call takes effect at one moment between its start and its end. One that was cancelled or failed may have taken effect
or not, at any moment from its start on, but not after the effect of a write of the same client that was started when it
had ended and that was acknowledged.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

UNKNOWN: Final = object()
"""The answer of a call that was cancelled or failed."""

_NEVER: Final = 1 << 60


class KeyContent(NamedTuple):
    """What is under a key: what was written, and the earliest and the latest moment at which it expires."""

    token: Any
    earliest: float = math.inf
    latest: float = math.inf


@dataclass(eq=False)
class HistoryCall:
    """Call on one key.

    Attributes:
        kind: The verb.
        start: Its place among all starts and ends.
        end: The same.
        answer: What it returned: a token or None for a `get`, otherwise whether it was done, None for a `put`.
        token: What it writes.
        expected: The token that must be there for a conditional write.
        ttl: The time to live in seconds of what it writes.
        client: Whose later writes it never overwrites when it fails.
        began: When it began, in seconds.
        ended: When it ended, in seconds.
        is_late: It may overwrite later writes of its client when it fails.
        before: Another call; it takes effect before that one, or never.
        is_vague: A repeated attempt may have written what it expects anew, as another version, so that it may be
            refused.
    """

    kind: str
    start: int
    end: int
    answer: Any = None
    token: Any = None
    expected: Any = None
    ttl: float | None = None
    client: object = None
    began: float = 0.0
    ended: float = math.inf
    is_late: bool = False
    before: HistoryCall | None = None
    is_vague: bool = False

    @property
    def writes(self) -> bool:
        """Whether it can change something."""
        return self.kind != "get"

    def effects(self, state: KeyContent | None, skew: float = 0.0) -> Iterator[tuple[Any, KeyContent | None]]:
        """Iterate over what it may answer on a state, and the state after it.

        Args:
            state: What the key holds.
            skew: The most seconds by which a clock is wrong.
        """
        if state is None or state.latest > self.began - skew:
            yield self._effect(state, state)
        if self.is_vague:
            yield False, state
        acts_until = math.inf if self.answer is UNKNOWN else self.ended
        if state is not None and state.earliest < math.inf and state.earliest <= acts_until + skew:
            yield self._effect(None, state)

    def _effect(self, seen: KeyContent | None, there: KeyContent | None) -> tuple[Any, KeyContent | None]:
        holds = seen is not None and seen.token == self.expected
        match self.kind:
            case "get":
                return None if seen is None else seen.token, there
            case "put":
                return None, self._written()
            case "delete":
                return seen is not None, None
            case "touch":
                return seen is not None, there if seen is None else self._written(seen.token)
            case "put_if_absent":
                return seen is None, self._written() if seen is None else there
            case "compare_and_put":
                return holds, self._written() if holds else there
            case "compare_and_delete":
                return holds, None if holds else there
        raise ValueError(self.kind)

    def _written(self, token: Any = None) -> KeyContent:
        if self.ttl is None:
            return KeyContent(self.token if token is None else token)
        return KeyContent(self.token if token is None else token, self.began + self.ttl, self.ended + self.ttl)


class History:
    """Calls on one key.

    Args:
        skew: The most seconds by which a clock is wrong. It counts twice: the one who writes a deadline and the one who
            looks at it may both be wrong.
    """

    def __init__(self, skew: float = 0.0) -> None:
        self._ticks = itertools.count().__next__
        self._skew = 2 * skew
        self.calls: list[HistoryCall] = []

    def begin(self, kind: str, **details: Any) -> HistoryCall:
        """Note the start of a call, whose answer is unknown until it has ended."""
        call = HistoryCall(kind, self._ticks(), _NEVER, UNKNOWN, **details)
        self.calls.append(call)
        return call

    def now(self) -> int:
        """Return a place between the starts and ends so far and those to come."""
        return self._ticks()

    def end(self, call: HistoryCall, answer: Any) -> None:
        """Note the end of a call."""
        call.end, call.answer = self._ticks(), answer

    def is_linearizable(self, most_states: float = math.inf) -> bool:
        """Return whether there is an order that explains every answer.

        Args:
            most_states: Where there are very many orders, to look takes minutes: after so much of them, one is taken
                to exist.
        """
        calls = [call for call in self.calls if call.answer is not UNKNOWN or call.writes]
        by_end = sorted(enumerate(calls), key=lambda item: (item[1].answer is not UNKNOWN, -item[1].end))
        known = sum(1 << place for place, call in enumerate(calls) if call.answer is not UNKNOWN)
        seen: set[tuple[int, KeyContent | None]] = set()
        stack: list[tuple[int, KeyContent | None]] = [(0, None)]
        while stack:
            done, state = stack.pop()
            if done & known == known or len(seen) > most_states:
                return True
            if (done, state) not in seen:
                seen.add((done, state))
                stack += self._next(calls, by_end, done, state)
        return False

    def _next(
        self, calls: list[HistoryCall], by_end: list[tuple[int, HistoryCall]], done: int, state: KeyContent | None
    ) -> list[tuple[int, KeyContent | None]]:
        """Return the calls that may have taken effect next: all done then, and the state."""
        # The last of these is tried first: one that ended early. What may never have happened is tried last.
        left = [(place, call) for place, call in by_end if not done >> place & 1]
        first_end = min(call.end for _, call in left if call.answer is not UNKNOWN)
        found: list[tuple[int, KeyContent | None]] = []
        for place, call in left:
            if call.start > first_end or (call.answer is UNKNOWN and _is_too_late(call, calls, done)):
                continue
            for answer, after in call.effects(state, self._skew):
                if call.answer is UNKNOWN:
                    if after != state:
                        found.append((done | 1 << place, after))
                elif call.answer == answer:
                    if not call.writes:
                        return [(done | 1 << place, after)]  # what changes nothing may as well be first
                    found.append((done | 1 << place, after))
        return found


def _is_too_late(lost: HistoryCall, calls: list[HistoryCall], done: int) -> bool:
    if lost.before is not None and done >> calls.index(lost.before) & 1:
        return True
    return not lost.is_late and any(
        done >> place & 1
        and call.writes
        and call.answer is not UNKNOWN
        and call.start > lost.end
        and call.client is lost.client
        for place, call in enumerate(calls)
    )
