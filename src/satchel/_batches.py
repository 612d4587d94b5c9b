"""Batches of any length, worked through in slices with pauses by time between them, so that other tasks run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TypeVar, cast

from ._threads import Yielder
from .names import MAX_NAME_BYTES, check_items, check_names

T = TypeVar("T")

LONG = 500
"""Number of items processed without checking the time: few enough to take about a millisecond."""


def slices(count: int, size: int = LONG) -> Iterator[slice]:
    """Yield the slices of a batch, all of one size except the last."""
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


_SORTED = 10_000
"""Number of names that are sorted together, whatever the length of a listing."""


async def in_order(listing: Callable[[], AsyncIterator[str]], after: str, limit: int | None) -> AsyncIterator[str]:
    """Iterate in order over names that sort after one, in constant memory, of a listing that has no order.

    The whole listing is read for each 10,000 names.

    Args:
        listing: Begins the listing anew.
        after: Only names that sort after this.
        limit: At most so many.
    """
    left = limit
    while left is None or left > 0:
        size = _SORTED if left is None else min(left, _SORTED)
        names = await _smallest(listing(), after, size)
        for name in names:
            yield name
        if len(names) < size:
            return
        after = names[-1]
        left = None if left is None else left - size


async def _smallest(listing: AsyncIterator[str], after: str, size: int) -> list[str]:
    names: list[str] = []
    highest: str | None = None
    async with aclosing(cast("AsyncGenerator[str]", listing)):
        async for name in listing:
            if name > after and (highest is None or name < highest):
                names.append(name)
                if len(names) == 2 * size:
                    names = sorted(names)[:size]
                    highest = names[-1]
    return sorted(names)[:size]


async def paged(keys: AsyncIterator[str], size: int = LONG) -> AsyncIterator[list[str]]:
    """Iterate over a listing in lists of one size, except the last."""
    page: list[str] = []
    async for key in keys:
        page.append(key)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
