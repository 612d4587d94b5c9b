"""Numbers in messages: Python refuses to write very long ones."""

from __future__ import annotations

_LONGEST = 10**20


def shown(value: object) -> str:
    """Return what a message says of a value that is no secret: its `repr`, or of a very long int how long it is."""
    is_long = isinstance(value, int) and not -_LONGEST < value < _LONGEST
    return f"an int of {value.bit_length()} bits" if is_long else repr(value)  # type: ignore[attr-defined]  # it is an int
