"""Values in messages: no text is shown, as it may be a secret, and no number that is too long to read."""

from __future__ import annotations

_LONGEST = 10**20
_VOWELS = frozenset("aeioAEIO")  # not u: a UUID, a User


def shown(value: object) -> str:
    """Return what a message says of an option's value: a number as it is, and of everything else its type alone.

    A text may be a secret that was given in the wrong place. Python refuses to write very long ints.
    """
    if isinstance(value, int) and not -_LONGEST < value < _LONGEST:
        return f"an int of {value.bit_length()} bits"
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    return "an empty str" if value == "" else with_article(type(value))


def with_article(kind: type | str) -> str:
    """Return the name of a type with `a` or `an` before it."""
    name = kind if isinstance(kind, str) else kind.__name__
    return f"an {name}" if name[:1] in _VOWELS else f"a {name}"
