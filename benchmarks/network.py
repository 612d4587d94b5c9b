"""What the benchmarks of network stores share: the same work for each store, and where the server is."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import aiobotocore.session
from key_value.aio.stores.base import BaseStore as PeerStore

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import PROFILE

TTL = 3600
STEPS = {1: 1_000, 32: 2_000, 90: 2_000}
"""For each number of tasks, so many operations a round."""

Call = Callable[[str], Awaitable[Any]]


def port_of(server: str) -> int:
    """Return the port of a server that runs for the benchmarks."""
    return urlsplit(os.environ[f"SATCHEL_TEST_{server.upper()}_URL"]).port or 0


def compare(report: Report, makers: Mapping[str, Callable[[], Any]], steps: Mapping[int, int] = STEPS) -> None:
    """Time putting and getting a value of 300 bytes by each store, for each number of tasks.

    Args:
        report: Takes the figures.
        makers: Each store's name, and how to make it; it is an asynchronous context manager, and has `get` and `put`
            as satchel's stores have, or as py-key-value-aio's.
        steps: For each number of tasks, so many operations a round.
    """
    keys = [f"user:{number}" for number in range(max(steps.values()))]
    for title, verb in (("put", _put), ("get", _get)):
        contenders = {name: _using(make, verb, keys) for name, make in makers.items()}
        for tasks, count in steps.items():
            report.compare(title, contenders, steps=count, tasks=tasks)


def _put(store: Any) -> Call:
    if isinstance(store, PeerStore):
        return lambda key: store.put(key, PROFILE, collection="peers", ttl=TTL)
    return lambda key: store.put("users", key, PROFILE, ttl=TTL)


def _get(store: Any) -> Call:
    if isinstance(store, PeerStore):
        return lambda key: store.get(key, collection="peers")
    return lambda key: store.get("users", key)


def stand_in_for_aioboto3() -> None:
    """Let py-key-value-aio's stores be imported that need aioboto3, and so an aiobotocore of 2025, to make a client."""
    for name in ("aioboto3", "aioboto3.session"):
        module = ModuleType(name)
        module.Session = aiobotocore.session.AioSession  # type: ignore[attr-defined]  # modules take any attribute
        sys.modules.setdefault(name, module)


def _using(make: Callable[[], Any], verb: Callable[[Any], Call], keys: list[str]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async with make() as store:
            put, call = _put(store), verb(store)
            for key in keys:
                await put(key)

            async def work(steps: range) -> None:
                for step in steps:
                    await call(keys[step])

            yield work

    return contender
