"""What `open_store` and wrappers give."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, assert_type

from satchel import Capability, Collection, MemoryStore, open_store, require
from satchel.url import OpenedStore
from satchel.url.description import Description
from satchel.wrappers import StatisticsWrapper, TTLWrapper
from satchel.wrappers.statistics import OperationStatistics


async def opened() -> None:
    async with open_store("memory://", max_bytes=5) as store:
        assert_type(store.describe(), Description)
        assert_type(store.describe().settings(), dict[str, Any])
        assert_type(await store.count("c", prefix="a"), int)
        assert_type(store.keys("c", after="", limit=3), AsyncIterator[str])
        assert_type(store.max_value_bytes, int | None)
        assert_type(store.collection("c", model=int), Collection[int])
        assert_type(await store.get("c", "k", 5), Any | int)
        assert_type(store.keys("c", prefix="a", limit=3), AsyncIterator[str])
        assert_type(store.collections(), AsyncIterator[str])
        assert_type(await store.put_if_absent("c", "k", 1, ttl=5), str | None)
        assert_type(await store.compare_and_put("c", "k", 1, version="1"), str | None)
        assert_type(await store.compare_and_delete("c", "k", version="1"), bool)
        assert_type(await store.touch("c", "k", ttl=None), bool)
        assert_type(await store.destroy_collection("c"), bool)
        assert_type(await store.destroy(), bool)
        assert_type(await store.cull(), int)
        assert_type(await require(store, Capability.CULL).cull(), int)


def configured() -> None:
    assert_type(open_store({"url": "memory://", "default_ttl": 5}), OpenedStore)
    assert_type(open_store(Path("settings.yaml")), OpenedStore)
    open_store(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def wrapped() -> None:
    async with StatisticsWrapper(TTLWrapper(MemoryStore(), default=5)) as store:
        assert_type(store.snapshot(), dict[str, dict[str, OperationStatistics]])
        assert_type(store.collection("c", model=int), Collection[int])
        assert_type(await store.put_if_absent("c", "k", 1), str | None)
        assert_type(await store.get("c", "k"), Any | None)


async def passed_on(store: OpenedStore) -> None:
    assert_type(store.collection("c", model=int), Collection[int])
    assert_type(store.keys("c"), AsyncIterator[str])
    assert_type(require(store, Capability.CULL), OpenedStore)
    assert_type(require(store, Capability.CULL).collection("c"), Collection[Any])
    store.keys(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
