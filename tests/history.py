"""A checker of histories: is there an order of the calls on one key that explains every answer?

A call takes effect at one moment between its start and its end. One that was cancelled or failed may have taken effect
or not, at any moment from its start on, but not after the effect of a write that was started when it had ended and that
was acknowledged.
"""

import itertools
from dataclasses import dataclass
from typing import Any

UNKNOWN = object()
"""The answer of a call that was cancelled or failed."""


@dataclass
class Call:
    kind: str
    start: int
    end: int
    answer: Any = None
    token: Any = None
    """What it writes."""
    expected: Any = None
    """What must be there for a conditional write."""
    store: Any = None
    """Which store was called: what it was told had failed may still overwrite what another store wrote."""

    @property
    def writes(self):
        return self.kind != "get"

    def effect(self, state):
        """Return the answer that this call gives on a state, and the state after it."""
        there = state is not None
        match self.kind:
            case "get":
                return state, state
            case "put":
                return None, self.token
            case "delete":
                return there, None
            case "touch":
                return there, state
            case "put_if_absent":
                return not there, state if there else self.token
            case "compare_and_put":
                return state == self.expected, self.token if state == self.expected else state
            case "compare_and_delete":
                return state == self.expected, None if state == self.expected else state
        raise ValueError(self.kind)


class History:
    """Collects calls of one key."""

    def __init__(self):
        self._ticks = itertools.count().__next__
        self.calls = []

    def begin(self, kind, **details):
        call = Call(kind, self._ticks(), 1 << 60, UNKNOWN, **details)
        self.calls.append(call)
        return call

    def now(self):
        """Return a moment between what has happened and what happens next."""
        return self._ticks()

    def end(self, call, answer):
        call.end, call.answer = self._ticks(), answer

    def is_linearizable(self):
        calls = self.calls
        known = sum(1 << place for place, call in enumerate(calls) if call.answer is not UNKNOWN)
        seen, stack = set(), [(0, None)]
        while stack:
            done, state = stack.pop()
            if done & known == known:
                return True
            if (done, state) in seen:
                continue
            seen.add((done, state))
            left = [(place, call) for place, call in enumerate(calls) if not done >> place & 1]
            first_end = min(call.end for _, call in left if call.answer is not UNKNOWN)
            for place, call in left:
                if call.start > first_end or (call.answer is UNKNOWN and self._is_too_late(call, done)):
                    continue
                answer, after = call.effect(state)
                if call.answer is UNKNOWN or call.answer == answer:
                    stack.append((done | 1 << place, after))
        return False

    def _is_too_late(self, lost, done):
        return any(
            done >> place & 1
            and call.writes
            and call.answer is not UNKNOWN
            and call.start > lost.end
            and call.store == lost.store
            for place, call in enumerate(self.calls)
        )
