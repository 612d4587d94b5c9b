"""What tests of stores that report changes share."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from satchel import Change
from tests.patience import until

_SECONDS = 30


async def next_change(changes: AsyncIterator[Change]) -> Change:
    """Return the next change; a store that stays silent fails the test."""
    async with asyncio.timeout(_SECONDS):
        return await anext(changes)


async def taken(changes: AsyncIterator[Change], count: int) -> list[Change]:
    """Return the next changes."""
    return [await next_change(changes) for _ in range(count)]


async def seen_until(changes: AsyncIterator[Change], kind: str, key: str | None = None) -> list[Change]:
    """Return the changes up to one of a kind, and of a key where it is given, with that one."""
    seen: list[Change] = []
    while not seen or seen[-1].kind != kind or (key is not None and seen[-1].key != key):
        seen.append(await next_change(changes))
    return seen


async def reported(changes: AsyncIterator[Change], store: Any, collection: str = "c") -> set[str | None]:
    """Return the keys reported as changed until now: until that of an entry which is put now."""
    await store.put(collection, "the last one", 0)
    return {change.key for change in await seen_until(changes, "changed", "the last one")} - {"the last one"}


async def follows(near: Any, other: Any) -> None:
    """Check that a near cache follows what another process changes in its store."""
    await other.put("c", "k", "old")

    async def is_hot() -> bool:
        return await near.get("c", "k") == "old" and near.snapshot().hot.hits > 0

    async def is_new() -> bool:
        return bool(await near.get("c", "k") == "new")

    await until(is_hot)
    await other.put("c", "k", "new")
    await until(is_new)
    assert near.snapshot().changes > 0
