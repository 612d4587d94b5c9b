"""Batches of any length, worked through in slices with pauses by time between them, so that other tasks run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from ._threads import Yielder
from .names import MAX_NAME_BYTES, check_items, check_names

T = TypeVar("T")

LONG = 500
"""Number of items processed without checking the time: few enough to take about a millisecond."""


def slices(count: int, size: int = LONG) -> Iterator[slice]:
    """Yield the slices of a batch of so many items, each of a size but for the last."""
    for start in range(0, count, size):
        yield slice(start, start + size)


async def checked_names(names: object, limit: int = MAX_NAME_BYTES) -> list[str]:
    """Return the keys of a batch, each once, in the order given, as `check_names` does."""
    if type(names) is list and len(names) <= LONG:
        return check_names(names, limit)
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        return check_names(names, limit)  # it refuses them
    given = list(names)  # as they are now: the caller may change them in a pause
    if len(given) <= LONG:
        return check_names(given, limit)
    unique: dict[str, None] = {}
    turns = Yielder()
    for part in slices(len(given)):
        unique.update(dict.fromkeys(check_names(given[part], limit)))
        await turns.after_item()
    return list(unique)


async def checked_items(items: object, limit: int = MAX_NAME_BYTES) -> dict[str, object]:
    """Return the keys and values of a batch of writes, as `check_items` does."""
    if not isinstance(items, Mapping) or len(items) <= LONG:
        return dict(check_items(items, limit))
    keys, values = list(items), list(items.values())  # as they are now: the caller may change them in a pause
    checked: dict[str, object] = {}
    turns = Yielder()
    for part in slices(len(keys)):
        checked.update(check_items(dict(zip(keys[part], values[part], strict=True)), limit))
        await turns.after_item()
    return checked


async def chosen(found: Mapping[str, T], keys: Sequence[str]) -> dict[str, T]:
    """Return the existing items for these keys, in their order."""
    some: dict[str, T] = {}
    turns = Yielder()
    for part in slices(len(keys)):
        some |= {key: found[key] for key in keys[part] if key in found}
        await turns.after_item()
    return some
