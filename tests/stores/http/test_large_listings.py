"""Listings of any length take constant memory, in the client and in the server, which are one process here."""

import tracemalloc

import pytest

from satchel import MemoryStore
from satchel.stores.http import HTTPStore

PAGE = 1000
PEAK = 6 * 1024 * 1024


class EndlessStore(MemoryStore):
    """Store with made-up keys, which takes no memory for them."""

    length = 0

    async def _keys(self, collection, prefix, now):
        async for page in self._keys_after(collection, prefix, "", now):
            yield page

    async def _keys_after(self, collection, prefix, after, now):
        begin = int(after.removeprefix("key-")) + 1 if after else 0
        for start in range(begin, self.length, PAGE):
            yield [f"key-{number:07}" for number in range(start, min(start + PAGE, self.length))]


@pytest.mark.parametrize(
    "length",
    [pytest.param(200_000, marks=pytest.mark.long), pytest.param(1_000_000, marks=pytest.mark.night)],
)
@pytest.mark.parametrize("after", [None, ""], ids=["streamed", "in pages"])
async def test_a_listing_takes_constant_memory_on_both_sides(serving, length, after):
    inner = EndlessStore()
    inner.length = length
    async with HTTPStore(serving.mount(f"endless-{length}-{after}", lambda: inner), timeout=60) as store:
        await store.ping()
        tracemalloc.start()
        try:
            count, last = 0, ""
            async for key in store.keys("c", after=after):
                assert key > last
                count, last = count + 1, key
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert count == length
    assert peak < PEAK
