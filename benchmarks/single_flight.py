"""What `get_or_put` and `cached` add to a get that finds something."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import POST
from satchel import MemoryStore
from satchel.caching import cached
from satchel.wrappers import SingleFlightWrapper

STEPS = 10_000

Call = Callable[[], Awaitable[Any]]


async def post() -> Any:
    return POST


def getting(store: SingleFlightWrapper) -> Call:
    return lambda: store.get("c", "k")


def getting_or_putting(**options: Any) -> Callable[[SingleFlightWrapper], Call]:
    return lambda store: lambda: store.get_or_put("c", "k", post, **options)


def calling(**options: Any) -> Callable[[SingleFlightWrapper], Call]:
    def bind(store: SingleFlightWrapper) -> Call:
        @cached(store, "c", **options)
        async def get_post(number: int, *, language: str = "en") -> Any:
            return POST | {"number": number, "language": language}

        return lambda: get_post(7)

    return bind


CALLS: dict[str, Callable[[SingleFlightWrapper], Call]] = {
    "get": getting,
    "get_entry": lambda store: lambda: store.get_entry("c", "k"),
    "get_or_put": getting_or_putting(),
    "get_or_put, ttl": getting_or_putting(ttl=3600),
    "get_or_put, stale and early": getting_or_putting(ttl=3600, stale=60, early=1.0),
    "cached": calling(ttl=3600),
    "cached, key of its own": calling(ttl=3600, key=str),
}


def finding(bind: Callable[[SingleFlightWrapper], Call]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async with SingleFlightWrapper(MemoryStore()) as store:
            await store.put("c", "k", POST, ttl=3600)
            call = bind(store)
            await call()

            async def work(steps: range) -> None:
                for _ in steps:
                    await call()

            yield work

    return contender


def missing(*, by_hand: bool) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async with SingleFlightWrapper(MemoryStore()) as store:
            keys = map(str, itertools.count())

            async def work(steps: range) -> None:
                for _ in steps:
                    key = next(keys)
                    if not by_hand:
                        await store.get_or_put("c", key, post)
                    elif await store.get("c", key) is None:
                        await store.put("c", key, await post())

            yield work

    return contender


def run(report: Report) -> None:
    report.compare("a post that is there", {name: finding(bind) for name, bind in CALLS.items()}, steps=STEPS)
    contenders = {"get, then put": missing(by_hand=True), "get_or_put": missing(by_hand=False)}
    report.compare("a post that is not there", contenders, steps=STEPS // 5)
