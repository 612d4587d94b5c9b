"""What a memoized function costs whose call is recorded, beside `cached` and the memoize of diskcache."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from diskcache import Cache

from benchmarks.harness import Contender, Report, Work
from satchel import DiskStore, MemoryStore
from satchel.caching import cached
from satchel.content import Calls, ContentStore, memoize
from satchel.protocol import AsyncKeyValue

STEPS = 2_000
DOCUMENT = {
    "id": 17,
    "name": "Ada Lovelace",
    "tags": ["a", "b", "c"],
    "items": [{"sku": "A-1", "count": 2, "price": 3.5}, {"sku": "B-7", "count": 1, "price": 12.25}],
    "address": {"street": "St James's Square", "city": "London"},
}


async def summary(document: dict[str, Any], *, factor: int = 1) -> dict[str, Any]:
    return {"count": len(document["items"]) * factor, "names": [document["name"]]}


def plain_summary(document: dict[str, Any], *, factor: int = 1) -> dict[str, Any]:
    return {"count": len(document["items"]) * factor, "names": [document["name"]]}


def in_memory(_place: Path) -> AsyncKeyValue:
    return MemoryStore()


def on_disk(place: Path) -> AsyncKeyValue:
    return DiskStore(place)


def hits(
    decorate: Callable[[AsyncKeyValue], Callable[..., Awaitable[Any]]], make: Callable[[Path], AsyncKeyValue]
) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        with tempfile.TemporaryDirectory() as place:
            async with make(Path(place)) as store:
                function = decorate(store)
                await function(DOCUMENT)

                async def work(steps: range) -> None:
                    for _ in steps:
                        await function(DOCUMENT)

                yield work

    return contender


@asynccontextmanager
async def hits_of_diskcache() -> AsyncIterator[Work]:
    with tempfile.TemporaryDirectory() as place, Cache(place) as cache:
        function = cache.memoize()(plain_summary)
        function(DOCUMENT)

        async def work(steps: range) -> None:
            for _ in steps:
                function(DOCUMENT)

        yield work


def with_memoize(store: AsyncKeyValue) -> Callable[..., Awaitable[Any]]:
    return memoize(Calls(ContentStore(store)))(summary)


def with_cached(store: AsyncKeyValue) -> Callable[..., Awaitable[Any]]:
    return cached(store, "summaries")(summary)


def run(report: Report) -> None:
    contenders = {"cached": hits(with_cached, in_memory), "memoize": hits(with_memoize, in_memory)}
    report.compare("a hit for a document of 300 bytes, in memory", contenders, steps=STEPS)
    contenders = {
        "diskcache's memoize": hits_of_diskcache,
        "cached": hits(with_cached, on_disk),
        "memoize": hits(with_memoize, on_disk),
    }
    report.compare("a hit for a document of 300 bytes, on disk", contenders, steps=STEPS)
