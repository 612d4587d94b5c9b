"""What `open_store` and wrappers give."""

from typing import Any, assert_type

from satchel import Capability, Collection, MemoryStore, open_store, require
from satchel.description import Description
from satchel.wrappers import StatisticsWrapper, TTLWrapper
from satchel.wrappers.statistics import OperationStatistics


async def opened() -> None:
    async with open_store("memory://", max_bytes=5) as store:
        assert_type(store.describe(), Description)
        assert_type(store.collection("c", model=int), Collection[int])
        assert_type(await store.get("c", "k", 5), Any | int)
        assert_type(await require(store, Capability.CULL).cull(), int)


async def wrapped() -> None:
    async with StatisticsWrapper(TTLWrapper(MemoryStore(), default=5)) as store:
        assert_type(store.snapshot(), dict[str, dict[str, OperationStatistics]])
        assert_type(store.collection("c", model=int), Collection[int])
        assert_type(await store.put_if_absent("c", "k", 1), str | None)
        assert_type(await store.get("c", "k"), Any | None)
