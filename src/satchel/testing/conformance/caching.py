"""Conformance suite of caching: promises of `cached`, `cached_many` and `Tags`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest_asyncio

from ...caching import cached, cached_many
from ...protocol import AsyncKeyValue
from ...tags import Tags
from .suite import NewStore, Suite

Pair = tuple[Any, Any]

_PATIENCE = 50


class CachingConformance(Suite):
    """Suite for a store with `Capability.CONDITIONAL` that is to keep results of functions, also with tags.

    A subclass says how to make a store, as for `StoreConformance`.
    """

    @pytest_asyncio.fixture
    async def pair(self, new_store: NewStore) -> Pair:
        """Return two stores over the same place, as two processes have them; one store twice if it keeps to itself."""
        one: AsyncKeyValue = new_store()
        return one, new_store() if self.persistent else one

    async def test_a_result_is_made_once_and_found_by_others(self, pair: Pair) -> None:
        runs: list[int] = []
        one, other = [_reader(store, runs) for store in pair]
        assert await asyncio.wait_for(asyncio.gather(*[one(7) for _ in range(20)]), _PATIENCE) == [[7, 1]] * 20
        assert await other(7) == await other.peek(7) == [7, 1]
        assert await other.refresh(7) == await one(7) == [7, 2]
        assert await one.invalidate(7)
        assert await other.peek(7) is None

    async def test_an_invalidated_tag_makes_all_its_results_absent(self, pair: Pair) -> None:
        runs: list[int] = []
        one, other = [_reader(store, runs, tags=_tags) for store in pair]
        assert [await one(1), await other(1), await other(2)] == [[1, 1], [1, 1], [2, 2]]
        await Tags(pair[1]).invalidate("number:1")
        assert [await one.peek(1), await other.peek(1), await one.peek(2)] == [None, None, [2, 2]]
        assert await one(1) == await other(1) == [1, 3]
        await Tags(pair[0]).invalidate("all")
        assert [await other.peek(1), await other.peek(2)] == [None, None]

    async def test_a_result_of_bytes_has_tags_too(self, pair: Pair) -> None:
        @cached(pair[0], "c", tags=lambda: ["tag"])
        async def read() -> bytes:
            return b"\x00\xff"

        assert await read() == await read() == b"\x00\xff"
        await Tags(pair[1]).invalidate("tag")
        assert await read.peek() is None

    async def test_of_many_results_the_missing_ones_are_made(self, pair: Pair) -> None:
        calls: list[list[int]] = []

        def read_from(store: AsyncKeyValue) -> Any:
            @cached_many(store, "c", key=str, tags=_tags)
            async def read(numbers: list[int]) -> dict[int, int]:
                calls.append(numbers)
                return {number: -number for number in numbers}

            return read

        one, other = [read_from(store) for store in pair]
        assert await one([1, 2]) == {1: -1, 2: -2}
        await Tags(pair[0]).invalidate("number:2")
        assert await other([3, 2, 1]) == {3: -3, 2: -2, 1: -1}
        assert calls == [[1, 2], [3, 2]]


def _tags(number: int) -> list[str]:
    return [f"number:{number}", "all"]


def _reader(store: AsyncKeyValue, runs: list[int], tags: Callable[..., list[str]] | None = None) -> Any:
    @cached(store, "c", key=str, tags=tags)
    async def read(number: int) -> list[int]:
        runs.append(number)
        await asyncio.sleep(0.01)
        return [number, len(runs)]

    return read
