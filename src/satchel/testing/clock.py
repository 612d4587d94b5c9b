"""`FakeClock`: time under the control of a test."""

from __future__ import annotations

from datetime import UTC, datetime

START = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


class FakeClock:
    """Clock that stands still until it is advanced; pass it to a store as `clock=`.

    Args:
        start: The first time, in seconds since the Unix epoch; noon UTC of 1 January 2026 by default.
    """

    def __init__(self, start: float = START) -> None:
        self._now = start

    def __call__(self) -> float:
        return self._now

    def __repr__(self) -> str:
        return f"FakeClock({datetime.fromtimestamp(self._now, UTC).isoformat()})"

    def advance(self, seconds: float) -> None:
        """Let a number of seconds pass; a negative number turns the clock back."""
        self._now += seconds
