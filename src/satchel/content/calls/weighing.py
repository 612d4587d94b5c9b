"""Which values have digests that may be made on the event loop.

Others are large, or are of a class that has not been met: then hooks of other packages are looked for, in files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..digest import new_walk

_ROOM = 500
"""Items, or quarters of kilobytes, whose digests take about a millisecond."""


def is_light(values: Iterable[Any]) -> bool:
    """Return whether the digests of values are quickly made, and without reading a file, as that of a function does."""
    known = new_walk().rules
    room, left = _ROOM, list(values)
    while left:
        item = left.pop()
        kind = type(item)
        if kind is str or kind is bytes:
            room -= len(item) >> 8
        elif kind is list or kind is tuple:
            room -= len(item)
            left += item if room > 0 else ()
        elif kind is dict:
            room -= len(item)
            left += [*item, *item.values()] if room > 0 else ()
        elif kind not in known or callable(item) or getattr(item, "nbytes", 0) > _ROOM << 8:
            return False
        if room <= 0:
            return False
    return True
