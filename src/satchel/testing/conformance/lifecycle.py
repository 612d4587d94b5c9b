"""Opening, closing, event loops, and stores as objects."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from ...capability import Capability
from ...errors import StoreClosedError, StoreError
from ...protocol import SupportsEverything
from ...verbs import METHODS
from ..clock import FakeClock
from .suite import NewStore, Suite, absent, check_refused

_variable: ContextVar[object] = ContextVar("_variable")


class LifecyclePromises(Suite):
    """Tests that need no stored values."""

    async def test_what_is_not_there_is_no_error(self, store: SupportsEverything) -> None:
        default = absent()
        assert await store.get("c", "k") is None
        assert await store.get("c", "k", default) is default
        assert await store.get_entry("c", "k") is None
        assert await store.exists("c", "k") is False
        assert await store.delete("c", "k") is False
        assert await store.get_many("c", ["k", "l"]) == {}
        assert await store.get_entries("c", ["k", "l"]) == {}
        assert await store.delete_many("c", ["k", "l"]) == 0

    async def test_ping_answers(self, store: SupportsEverything) -> None:
        await store.ping()
        assert not await store.exists("c", "k")

    async def test_a_store_is_never_falsy(self, store: SupportsEverything) -> None:
        assert bool(store) is True
        assert not hasattr(store, "__len__")
        assert not hasattr(store, "__bool__")

    async def test_a_store_says_its_longest_key(self, store: SupportsEverything) -> None:
        assert type(store.max_key_bytes) is int
        assert 1 <= store.max_key_bytes <= 4096

    async def test_a_missing_capability_is_refused_by_name(self, store: SupportsEverything) -> None:
        lacking = ~store.capabilities
        await check_refused(store, lacking)
        for capability, methods in METHODS.items():
            assert all(callable(getattr(store, method)) for method in methods), f"{capability} has no methods"

    async def test_the_representation_has_no_value(self, store: SupportsEverything) -> None:
        await store.put("c", "k", "hunter2")
        assert "hunter2" not in repr(store)
        assert type(store).__name__ in repr(store)

    async def test_a_closed_store_refuses_every_call(self, store: SupportsEverything) -> None:
        await store.put("c", "k", 1)
        await store.aclose()
        for call in (
            lambda: store.get("c", "k"),
            lambda: store.get_entry("c", "k"),
            lambda: store.exists("c", "k"),
            lambda: store.put("c", "k", 1),
            lambda: store.delete("c", "k"),
            lambda: store.get_many("c", ["k"]),
            lambda: store.get_entries("c", ["k"]),
            lambda: store.put_many("c", {"k": 1}),
            lambda: store.delete_many("c", ["k"]),
            store.ping,
        ):
            with pytest.raises(StoreClosedError) as refusal:
                await call()
            assert refusal.value.store
            assert refusal.value.operation

    async def test_a_closed_store_refuses_what_its_capabilities_allow(self, store: SupportsEverything) -> None:
        capabilities = store.capabilities
        await store.ping()
        await store.aclose()
        calls: dict[Capability, list[Any]] = {
            Capability.CONDITIONAL: [
                lambda: store.put_if_absent("c", "k", 1),
                lambda: store.compare_and_put("c", "k", 1, version="v"),
                lambda: store.compare_and_delete("c", "k", version="v"),
                lambda: store.touch("c", "k", ttl=1),
            ],
            Capability.ENUMERATE_KEYS: [lambda: anext(store.keys("c"))],
            Capability.ENUMERATE_COLLECTIONS: [lambda: anext(store.collections())],
            Capability.DESTROY_COLLECTION: [lambda: store.destroy_collection("c")],
            Capability.DESTROY_STORE: [store.destroy],
            Capability.CULL: [store.cull],
        }
        for capability, members in calls.items():
            for call in members if capability in capabilities else ():
                with pytest.raises(StoreClosedError):
                    await call()
        await check_refused(store, ~capabilities)

    async def test_a_store_that_was_never_used_can_be_closed(self, store: SupportsEverything) -> None:
        await store.aclose()
        with pytest.raises(StoreClosedError):
            await store.get("c", "k")

    async def test_closing_twice_is_refused(self, store: SupportsEverything) -> None:
        await store.put("c", "k", 1)
        await store.aclose()
        with pytest.raises(StoreClosedError):
            await store.aclose()

    async def test_async_with_closes(self, store: SupportsEverything) -> None:
        async with store as entered:
            assert entered is store
            await store.put("c", "k", 1)
        with pytest.raises(StoreClosedError):
            await store.get("c", "k")

    async def test_async_with_after_an_explicit_close_raises_nothing(self, store: SupportsEverything) -> None:
        async with store:
            await store.put("c", "k", 1)
            await store.aclose()
        with pytest.raises(StoreClosedError):
            await store.get("c", "k")

    async def test_async_with_lets_errors_through(self, store: SupportsEverything) -> None:
        with pytest.raises(ZeroDivisionError):
            async with store:
                raise ZeroDivisionError
        with pytest.raises(StoreClosedError):
            await store.get("c", "k")

    async def test_a_closed_store_cannot_be_entered(self, store: SupportsEverything) -> None:
        await store.aclose()
        with pytest.raises(StoreClosedError):
            await store.__aenter__()

    async def test_closing_waits_for_the_calls_under_way(self, store: SupportsEverything) -> None:
        await store.ping()
        puts = [asyncio.create_task(store.put("c", str(number), number)) for number in range(50)]
        gets = [asyncio.create_task(store.get("c", str(number))) for number in range(50)]
        await asyncio.sleep(0)
        await store.aclose()
        assert await asyncio.wait_for(asyncio.gather(*puts), 30) == [None] * 50
        found = await asyncio.wait_for(asyncio.gather(*gets), 30)
        assert all(value in (None, number) for number, value in enumerate(found))

    async def test_many_tasks_race_the_first_call(self, store: SupportsEverything) -> None:
        found = await asyncio.gather(*(store.get("c", str(number)) for number in range(50)))
        assert found == [None] * 50

    async def test_stores_over_one_place_open_at_once(self, new_store: NewStore) -> None:
        stores = [new_store() for _ in range(5)]
        assert await asyncio.gather(*(store.get("c", "k") for store in stores)) == [None] * 5
        await asyncio.gather(*(store.put("c", str(number), 1) for number, store in enumerate(stores)))

    async def test_a_second_running_loop_is_served_or_refused_and_the_first_goes_on(
        self, store: SupportsEverything
    ) -> None:
        await store.put("c", "k", 1)
        before = await store.get("c", "k")

        async def elsewhere() -> Any:
            try:
                found = await store.get("c", "k")
            except StoreError as error:
                assert "loop" in str(error)  # noqa: PT017  # a store without I/O does not raise
                with pytest.raises(StoreError, match="loop"):
                    await store.put("c", "k", 2)
                return before
            return found

        assert await asyncio.to_thread(asyncio.run, elsewhere()) == before
        assert await store.get("c", "k") == before

    def test_a_store_works_again_on_a_new_loop_when_the_first_was_closed(self, clock: FakeClock, place: Path) -> None:
        store = self.make_store(clock, place)

        async def use() -> Any:
            await store.put("c", "k", [1])
            return await store.get("c", "k")

        async def use_and_close() -> Any:
            found = await store.get("c", "k")
            await store.put("c", "other", 1)
            await store.aclose()
            return found

        with asyncio.Runner() as runner:
            first = runner.run(use())
        with asyncio.Runner() as runner:
            second = runner.run(use_and_close())
        assert first == second == ([1] if self.stores_values else None)

    def test_a_store_that_was_not_closed_lets_its_loop_end(self, clock: FakeClock, place: Path) -> None:
        store = self.make_store(clock, place)

        async def use() -> None:
            await asyncio.gather(*(store.put("c", str(number), 1) for number in range(20)))

        with asyncio.Runner() as runner:
            runner.run(use())
            loop = runner.get_loop()
        assert loop.is_closed()
        with asyncio.Runner() as runner:
            runner.run(store.aclose())

    async def test_context_variables_of_a_caller_are_not_kept(self, store: SupportsEverything) -> None:
        async def call() -> weakref.ref[FakeClock]:
            anything = FakeClock()
            _variable.set(anything)
            await store.put("c", "k", 1, ttl=60)
            await store.get("c", "k")
            return weakref.ref(anything)

        kept = await asyncio.create_task(call())
        await asyncio.sleep(0)
        gc.collect()
        assert kept() is None, "a task, timer or thread of the store kept the context of a caller"

    async def test_a_cancelled_caller_cancels_no_other(self, store: SupportsEverything) -> None:
        await store.ping()
        tasks = [asyncio.create_task(store.put("c", str(number), number)) for number in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.result() is None for task in tasks[1::2])
        found = await store.get_many("c", [str(number) for number in range(1, 40, 2)])
        assert len(found) == (20 if self.stores_values else 0)
