"""Which values have digests that may be made on the event loop.

Others are large, or are of a class that has not been met: then hooks of other packages are looked for, in files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..walk import Digest

_LIGHT = frozenset({int, float, bool, type(None), Digest})
_ROOM = 500
"""Items, or quarters of kilobytes, whose digests take about a millisecond."""
_MOST_CLASSES = 1000

_met: set[type] = set()
"""Classes whose hooks have been looked for."""


def is_light(values: Iterable[Any]) -> bool:
    """Return whether the digests of values are quickly made, and without reading a file."""
    room, left = _ROOM, list(values)
    while left:
        item = left.pop()
        kind = type(item)
        if kind is list or kind is tuple:
            room -= len(item)
            left += item if room > 0 else ()
        elif kind is dict:
            room -= len(item)
            left += [*item, *item.values()] if room > 0 else ()
        elif kind is str or kind is bytes:
            room -= len(item) >> 8
        elif kind not in _LIGHT and (kind not in _met or getattr(item, "nbytes", 0) > _ROOM << 8):
            return False
        if room <= 0:
            return False
    return True


def meet(values: Iterable[Any]) -> None:
    """Remember the classes of values whose digests have been made. That of a function needs a file each time."""
    if len(_met) > _MOST_CLASSES:  # of a program that makes classes without end
        _met.clear()
    _met.update({type(value) for value in values if not callable(value)})
