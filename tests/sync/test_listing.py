"""Listings of a `SyncStore`: read by pages, left early, and used as the keys of other calls."""

import asyncio
from typing import Any

import pytest

from satchel import InvalidKeyError, MemoryStore, StoreClosedError
from satchel.sync import SyncStore


class Paged(MemoryStore):
    """Lists by the pages of its hook; a store in memory has a shorter way."""

    def keys(self, collection: str, *, prefix: str = "", limit: int | None = None) -> Any:
        return self._engine.listing("keys", lambda: self._keys(collection, prefix, 0.0), limit)


class Pages(Paged):
    """Lists a million keys in pages, and counts."""

    pages, closed = 0, 0

    async def _keys(self, collection: str, prefix: str, now: float) -> Any:
        try:
            for page in range(10_000):
                type(self).pages = page + 1
                yield [f"{page}:{number}" for number in range(100)]
        finally:
            type(self).closed += 1


def test_a_listing_reads_ahead_by_a_page_and_is_closed_when_left() -> None:
    with SyncStore(Pages()) as store:
        for _key in store.keys("c"):
            break
        assert Pages.pages <= 10
        store.ping()  # the closing was handed over before
        assert Pages.closed == 1
        assert sum(1 for _ in store.keys("c", limit=2345)) == 2345
        left = store.keys("c")
        next(left)
    assert Pages.closed == 3, "closing the store closes a listing that is still held"
    with pytest.raises(StoreClosedError):
        list(left)


def test_a_listing_that_was_left_is_closed_before_the_store() -> None:
    closed = []

    class Slowly(Paged):
        async def _keys(self, collection: str, prefix: str, now: float) -> Any:
            try:
                yield ["a"] * 1000
                yield ["b"] * 1000
            finally:
                await asyncio.sleep(0.05)
                closed.append("listing")

        async def _close(self) -> None:
            closed.append("store")

    with SyncStore(Slowly()) as store:
        for _key in store.keys("c"):
            break
    assert closed == ["listing", "store"]


def test_a_listing_of_the_store_can_be_the_keys_and_items_of_a_call() -> None:
    with SyncStore(MemoryStore()) as store:
        numbers = {str(number): number for number in range(1500)}
        store.put_many("c", numbers)
        assert store.get_many("c", store.keys("c")) == numbers
        store.put_many("copy", store.collection("c").as_mapping())
        assert store.collection("copy").delete_many(store.keys("copy")) == 1500
        with pytest.raises(InvalidKeyError, match="bare str"):
            store.get_many("c", "abc")
