"""Copies for callers that receive the same object, so that they share nothing mutable."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ._threads import offload
from .codec import LARGE, rough_size
from .errors import SatchelError

T = TypeVar("T")


_UNCHANGING = frozenset({str, int, float, bool, type(None), bytes})
AT_ONCE = LARGE // 8
"""Maximum number of items copied at once."""


class _TakesLongerError(Exception):
    """Signal that a value is large, or no plain JSON value."""


async def copied(value: T) -> T:
    """Return a deep copy of a value, made in a worker thread if it is large."""
    twin = copied_at_once(value)
    if twin is not None or value is None:
        return cast("T", twin)
    return await offload(copy.deepcopy, value) if rough_size(value) >= LARGE else copy.deepcopy(value)


def copied_at_once(value: object, room: list[int] | None = None) -> Any:
    """Return a deep copy of a JSON value that is quickly copied, at a fifth of `copy.deepcopy`; None for any other.

    Args:
        value: The value.
        room: How many items several values may have together, in a list that counts down; `AT_ONCE` for this one.
    """
    kind = type(value)
    if kind in _UNCHANGING:
        return value
    if kind is dict or kind is list:
        try:
            return _twin(value, [AT_ONCE] if room is None else room)
        except (_TakesLongerError, RecursionError):
            return None
    return None


def _twin(container: Any, room: list[int]) -> Any:
    if len(container) > room[0]:
        raise _TakesLongerError
    room[0] -= len(container)
    twin = container.copy()
    for place, item in container.items() if type(container) is dict else enumerate(container):
        kind = type(item)
        if kind not in _UNCHANGING:
            if kind is not dict and kind is not list:
                raise _TakesLongerError
            twin[place] = _twin(item, room)
    return twin


def copy_of_error(error: Exception) -> Exception:
    """Return an error of the same type and text, with the original as its cause if it has none.

    Raised in many callers, one exception object would grow with every one. An error that cannot be copied faithfully
    is returned itself.
    """
    if isinstance(error, SatchelError):
        return error.again()
    makers: tuple[Callable[[Exception], Exception], ...] = (copy.copy, _rebuilt)
    for make in makers:
        try:
            twin = make(error)
            if type(twin) is type(error) and twin.args == error.args and str(twin) == str(error):
                twin.__cause__ = error.__cause__ or error
                return twin
        except Exception:  # noqa: S112  # its constructor or its text may do anything
            continue
    return error


def _rebuilt(error: Exception) -> Exception:
    """Copy an error whose constructor does not accept its `args`."""
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin
