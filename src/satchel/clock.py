"""Time: where it comes from, and how a time to live becomes a deadline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Self

from .errors import IntegrityError, InvalidTTLError, safe_repr

Clock = Callable[[], float]
"""Function that returns seconds since the Unix epoch."""

TTL = float | timedelta
"""A time to live: seconds, or a `timedelta`."""

NEVER = math.inf
"""The deadline of an entry that does not expire."""

MAX_TTL = 100 * 365.25 * 86_400
"""The longest time to live, 100 years in seconds: anything past it is a mistake in units."""

system_clock: Clock = time.time


class Until(float):
    """Time to live that ends at an exact moment, for an entry that is put again and keeps its deadline.

    Args:
        ttl: The seconds that are left, for stores that know no more.
        deadline: The moment, in seconds since the Unix epoch.
    """

    __slots__ = ("deadline",)
    deadline: float

    def __new__(cls, ttl: float, deadline: float) -> Self:
        """Make one."""
        self = super().__new__(cls, ttl)
        self.deadline = deadline
        return self


def seconds(ttl: TTL, name: str = "ttl") -> float:
    """Return a time to live, or another length of time, in seconds.

    Args:
        ttl: The time.
        name: What the caller knows it as.

    Raises:
        InvalidTTLError: It is not a number or `timedelta`, or not above 0 and at most 100 years.
    """
    kind = type(ttl)
    if kind is float or kind is int:
        length: float = ttl  # type: ignore[assignment]  # the exact types were just compared
    elif isinstance(ttl, timedelta):
        length = ttl.total_seconds()
    elif isinstance(ttl, (int, float)) and not isinstance(ttl, bool):
        length = float(ttl)
    else:
        raise InvalidTTLError(f"{name} must be seconds or a timedelta, got {type(ttl).__name__}")
    if 0 < length <= MAX_TTL:
        return length
    hint = ""
    if name == "ttl":
        hint = "; omit ttl to keep an entry forever" if length > 0 else "; use delete to remove an entry"
    raise InvalidTTLError(
        f"{name} must be above 0 and at most 100 years ({MAX_TTL:.0f} s), got {safe_repr(length)} s{hint}"
    )


def deadline_after(ttl: TTL | None, now: float) -> float:
    """Return the absolute time at which an entry written now expires, `NEVER` without a ttl."""
    if isinstance(ttl, Until):
        return ttl.deadline
    return NEVER if ttl is None else now + seconds(ttl)


def as_datetime(moment: float) -> datetime:
    """Return seconds since the Unix epoch, as they are stored, as an aware UTC datetime.

    Raises:
        IntegrityError: They are outside of the years 1 to 9999, which no release writes.
    """
    try:
        return datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):
        raise IntegrityError("a stored time is none that a calendar has") from None
