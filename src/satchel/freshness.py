"""Freshness: how long an entry is served, and from when on it is refreshed meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .clock import TTL, seconds
from .errors import ConfigurationError, InvalidTTLError
from .shown import shown

_MOST_EARLY = 1e18


@dataclass(frozen=True, slots=True)
class Terms:
    """Says how long an entry is kept, and when it is refreshed.

    Attributes:
        lifetime: The seconds from the put until it expires, `stale` among them; None for never.
        stale: So many of them at the end it is served while it is refreshed.
        early: How eagerly it is refreshed before those; None for not at all.
    """

    lifetime: float | None
    stale: float
    early: float | None


def terms(ttl: TTL | None, stale: TTL | None, early: float | None) -> Terms:
    """Return the terms that a caller gave, checked.

    Raises:
        InvalidTTLError: A time is not finite, above 0 and at most 100 years.
        ConfigurationError: `early` is not a number above 0, or there is no ttl for `stale` or `early`.
    """
    if ttl is None and (stale is not None or early is not None):
        raise ConfigurationError("stale and early say what happens around the end of a ttl: give ttl= too")
    if early is not None and (type(early) not in (int, float) or not 0 < early <= _MOST_EARLY):
        raise ConfigurationError(f"early must be a number above 0, such as 1.0, got {shown(early)}")
    fresh = None if ttl is None else seconds(ttl)
    try:
        longer = 0.0 if stale is None else seconds(stale)
        lifetime = None if fresh is None else seconds(fresh + longer)
    except InvalidTTLError as error:
        raise InvalidTTLError(f"stale, and ttl and stale together: {error}") from None
    return Terms(lifetime, longer, early)


def is_due_early(left: float, cost: float, early: float, drawn: float) -> bool:
    """Say whether an entry is refreshed before its end: XFetch, the optimal rule for independent callers.

    From A. Vattani, F. Chierichetti, K. Lowenstein: "Optimal Probabilistic Cache Stampede Prevention", PVLDB 8(8),
    2015. Of calls with so many seconds left, a share of `exp(-left / (cost * early))` is due.

    Args:
        left: The seconds until the end.
        cost: The seconds that the last call of the factory took.
        early: The paper's beta: above 1 is more eager, below 1 less.
        drawn: A random number, uniform from 0 to below 1.
    """
    return cost * early * -math.log(1 - drawn) >= left
