"""Concurrent calls, and stores opened one after the other over the same place."""

from __future__ import annotations

import asyncio
from typing import Any

from ...capability import Capability
from ...protocol import SupportsEverything
from ..clock import FakeClock
from .cases import ACCEPTED_VALUES, LEGAL_NAMES, identical
from .suite import NewStore, Suite


class ConcurrencyPromises(Suite):
    """Tests of concurrent calls and of reopening."""

    async def test_concurrent_puts_and_gets_of_many_keys(self, store: SupportsEverything) -> None:
        async def use(number: int) -> Any:
            key = f"key {number}"
            await store.put("c", key, {"number": number})
            return await store.get("c", key)

        found = await asyncio.gather(*(use(number) for number in range(200)))
        assert found == [{"number": number} for number in range(200)]

    async def test_200_calls_of_every_kind_at_once(self, store: SupportsEverything) -> None:
        await store.put_many("c", {str(number): number for number in range(200)})
        calls: list[Any] = []
        for number in range(0, 200, 5):
            calls += [
                store.get("c", str(number)),
                store.put("c", str(number + 1), "new"),
                store.delete("c", str(number + 2)),
                store.get_many("c", [str(number), "missing"]),
                store.exists("c", str(number)),
            ]
        outcomes = await asyncio.wait_for(asyncio.gather(*calls), 50)
        for index, number in enumerate(range(0, 200, 5)):
            assert outcomes[5 * index : 5 * index + 5] == [number, None, True, {str(number): number}, True]
        left = await store.get_many("c", [str(number) for number in range(200)])
        assert len(left) == 160
        assert [left[str(number)] for number in range(1, 200, 5)] == ["new"] * 40

    async def test_a_get_after_a_put_never_gives_the_old_value(self, store: SupportsEverything) -> None:
        async def read() -> None:
            for _ in range(30):
                await store.get("c", "k")

        async def write() -> None:
            for number in range(30):
                await store.put("c", "k", number)
                assert await store.get("c", "k") == number, "an acknowledged write was not seen"

        await asyncio.gather(write(), *(read() for _ in range(10)))
        assert await store.get("c", "k") == 29

    async def test_writes_of_one_task_land_in_order(self, store: SupportsEverything) -> None:
        async def write(key: str) -> None:
            for number in range(10):
                await store.put("c", key, number)
            await store.delete("c", key)
            await store.put("c", key, "last")

        keys = [f"key {number}" for number in range(20)]
        await asyncio.gather(*(write(key) for key in keys))
        assert await store.get_many("c", keys) == dict.fromkeys(keys, "last")

    async def test_one_of_20_concurrent_deletes_says_true(self, store: SupportsEverything) -> None:
        await store.put("c", "k", 1)
        done = await asyncio.gather(*(store.delete("c", "k") for _ in range(20)))
        assert sorted(done) == [False] * 19 + [True]

    async def test_a_get_that_races_deletes_gives_the_value_or_none(self, store: SupportsEverything) -> None:
        await store.put_many("c", {str(number): number for number in range(50)})
        outcomes = await asyncio.gather(
            *(
                call(str(number))
                for number in range(50)
                for call in (lambda key: store.get("c", key), delete_from(store))
            )
        )
        for number in range(50):
            assert outcomes[2 * number] in (number, None)
            assert outcomes[2 * number + 1] is True

    async def test_concurrent_batches_over_the_same_keys(self, store: SupportsEverything) -> None:
        keys = [f"key {number}" for number in range(30)]
        await asyncio.gather(
            *(store.put_many("c", dict.fromkeys(keys, number)) for number in range(10)),
            *(store.get_many("c", keys) for _ in range(10)),
        )
        found = await store.get_many("c", keys)
        assert list(found) == keys
        assert all(value in range(10) for value in found.values())

    async def test_a_failure_reaches_only_its_own_caller(self, store: SupportsEverything) -> None:
        wrong: Any = object()
        outcomes = await asyncio.gather(
            *(store.put("c", str(number), wrong if number % 10 == 5 else number) for number in range(50)),
            return_exceptions=True,
        )
        failed = [number for number, outcome in enumerate(outcomes) if outcome is not None]
        assert failed == [5, 15, 25, 35, 45]
        assert len(await store.get_many("c", [str(number) for number in range(50)])) == 45

    async def test_a_cancelled_put_never_lands_over_a_later_one(self, store: SupportsEverything) -> None:
        await store.ping()
        for number in range(20):
            cancelled = asyncio.create_task(store.put("c", str(number), "cancelled"))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            await store.put("c", str(number), "later")
        await asyncio.sleep(0.05)  # an abandoned write would have arrived by now
        found = await store.get_many("c", [str(number) for number in range(20)])
        assert list(found.values()) == ["later"] * 20

    async def test_removing_the_expired_never_removes_a_fresh_value(
        self, store: SupportsEverything, clock: FakeClock
    ) -> None:
        keys = [str(number) for number in range(30)]
        await store.put_many("c", dict.fromkeys(keys, "old"), ttl=5)
        clock.advance(6)
        culls: list[Any] = [store.cull() for _ in range(3)] if Capability.CULL in store.capabilities else []
        reads = [store.get("c", key) for key in keys]
        await asyncio.gather(*culls[:1], *reads, *(store.put("c", key, "fresh") for key in keys), *culls[1:])
        assert await store.get_many("c", keys) == dict.fromkeys(keys, "fresh")

    async def test_reopening_finds_what_a_persistent_store_was_given(
        self, store: SupportsEverything, new_store: NewStore, clock: FakeClock
    ) -> None:
        values = [value for theme in ACCEPTED_VALUES.values() for value in theme]
        items = {f"value {number}": value for number, value in enumerate(values)}
        await store.put_many("values", items)
        await store.put_many("names", {name: number for number, name in enumerate(LEGAL_NAMES)})
        await store.put_many("expiring", {"soon": 1}, ttl=5)
        await store.put_many("expiring", {"later": 2}, ttl=500)
        entry = await store.get_entry("values", "value 0")
        await store.aclose()
        clock.advance(6)
        again = new_store()
        if not self.persistent:
            assert await again.get_many("values", items) == {}
            return
        assert identical(await again.get_many("values", items), items)
        assert len(await again.get_many("names", LEGAL_NAMES)) == len(LEGAL_NAMES)
        assert await again.get_many("expiring", ["soon", "later"]) == {"later": 2}
        assert await again.get_entry("values", "value 0") == entry

    async def test_a_second_store_over_a_persistent_place_sees_writes_at_once(
        self, store: SupportsEverything, new_store: NewStore
    ) -> None:
        other = new_store()
        await other.ping()
        for number in range(5):
            await store.put("c", "k", number)
            assert await other.get("c", "k") == (number if self.persistent else None)
        assert await other.delete("c", "k") is self.persistent
        assert await store.get("c", "k") == (None if self.persistent else 4)


def delete_from(store: SupportsEverything) -> Any:
    """Return a function that deletes a key of the store."""
    return lambda key: store.delete("c", key)
