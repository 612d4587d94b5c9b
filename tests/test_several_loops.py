"""What keeps state over a memory store, used on two event loops at once: it works, or is refused in words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self

import pytest

from satchel import MemoryStore, StoreUnavailableError
from satchel.coordination import Counter, Lock, Once, update
from satchel.errors import StoreError
from satchel.wrappers import CircuitBreakerWrapper, OnErrorWrapper, SingleFlightWrapper, TieredStore

_LONG = 20.0


class OtherLoop:
    """Event loop in a thread of its own, as a test client runs an application on."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        while self._thread.is_alive():  # noqa: ASYNC110  # nothing tells this loop
            await asyncio.sleep(0.001)
        self._loop.close()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Begin work there, and return what this loop can wait for."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


async def _till(event: threading.Event) -> None:
    while not event.is_set():  # noqa: ASYNC110  # it is set on another loop
        await asyncio.sleep(0.001)


def _waiting_factory(began: threading.Event, go_on: threading.Event) -> Callable[[], Awaitable[str]]:
    async def factory() -> str:
        began.set()
        await _till(go_on)
        return "made"

    return factory


async def test_each_loop_has_a_flight_of_its_own_and_shares_it() -> None:
    store, calls = SingleFlightWrapper(MemoryStore()), []
    began, go_on = threading.Event(), threading.Event()

    async def factory() -> str:
        calls.append(asyncio.get_running_loop())
        began.set()
        await _till(go_on)
        return "made"

    async with OtherLoop() as other:
        first = other.start(store.get_or_put("c", "k", factory))
        await _till(began)
        second = asyncio.create_task(store.get_or_put("c", "k", factory))
        await asyncio.sleep(0.02)
        third = other.start(store.get_or_put("c", "k", factory))
        await asyncio.sleep(0.02)
        go_on.set()
        async with asyncio.timeout(_LONG):
            assert await asyncio.gather(first, second, third) == ["made"] * 3
    assert len(calls) == 2


async def test_closing_waits_for_a_flight_on_another_loop() -> None:
    store = SingleFlightWrapper(MemoryStore())
    began, go_on = threading.Event(), threading.Event()
    async with OtherLoop() as other:
        asked = other.start(store.get_or_put("c", "k", _waiting_factory(began, go_on)))
        await _till(began)
        closing = asyncio.create_task(store.aclose())
        await asyncio.sleep(0.05)
        assert not closing.done()
        go_on.set()
        async with asyncio.timeout(_LONG):
            assert await asked == "made"
            await closing


async def test_a_delete_waits_for_what_another_loop_is_putting() -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        async def put_if_absent(self, *args: Any, **named: Any) -> str | None:
            began.set()
            await _till(go_on)
            return await super().put_if_absent(*args, **named)

    store = SingleFlightWrapper(Slow())

    async def factory() -> str:
        return "made"

    async with OtherLoop() as other:
        asked = other.start(store.get_or_put("c", "k", factory))
        await _till(began)
        deleting = asyncio.create_task(store.delete("c", "k"))
        await asyncio.sleep(0.05)
        assert not deleting.done()
        go_on.set()
        async with asyncio.timeout(_LONG):
            assert await asked == "made"
            assert await deleting
    assert await store.get("c", "k") is None


async def test_a_queue_of_writes_is_sent_by_one_loop_at_a_time() -> None:
    began, go_on, sent = threading.Event(), threading.Event(), []
    fails = True

    class Slow(MemoryStore):
        async def put(self, collection: str, key: str, value: object, **named: Any) -> None:
            if fails:
                raise StoreUnavailableError("away")
            sent.append(value)
            began.set()
            await _till(go_on)
            await super().put(collection, key, value, **named)

    store = OnErrorWrapper(Slow(), policy="lazy")
    await store.put("c", "k", "old")
    fails = False
    async with OtherLoop() as other:
        flushing = other.start(store.flush())
        await _till(began)
        await store.put("c", "k", "new")
        own = asyncio.create_task(store.flush())
        await asyncio.sleep(0.05)
        assert sent == ["old"]
        go_on.set()
        async with asyncio.timeout(_LONG):
            await asyncio.gather(flushing, own)
    assert (sent, await store.get("c", "k"), store.queued) == (["old", "new"], "new", 0)


async def test_what_waits_in_a_tiered_store_is_refused_on_another_loop() -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        async def put(self, *args: Any, **named: Any) -> None:
            began.set()
            await _till(go_on)
            await super().put(*args, **named)

    store = TieredStore(MemoryStore(), Slow(), write="back")

    async def keys() -> list[str]:
        return [key async for key in store.keys("c")]

    async with OtherLoop() as other:
        await other.start(store.put("c", "k", 1))
        await _till(began)
        for call in (store.get("c", "k"), store.put("c", "k", 2), store.flush(), keys()):
            with pytest.raises(StoreError, match="in use on another event loop"):
                await asyncio.wait_for(call, _LONG)
        go_on.set()
        await other.start(store.flush())
        assert await other.start(keys()) == ["k"]
        await other.start(store.aclose())


async def test_closing_a_tiered_store_hears_of_a_read_on_another_loop() -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        async def get(self, *args: Any, **named: Any) -> Any:
            began.set()
            await _till(go_on)
            return await super().get(*args, **named)

    store = TieredStore(Slow(), MemoryStore())
    async with OtherLoop() as other:
        reading = other.start(store.get("c", "k", "none"))
        await _till(began)
        closing = asyncio.create_task(store.aclose())
        await asyncio.sleep(0.05)
        assert not closing.done()
        threading.Timer(0.05, go_on.set).start()
        # Nothing else may wake this loop meanwhile.
        async with asyncio.timeout(_LONG):
            await closing
            await reading


async def test_a_circuit_breaker_counts_on_two_loops() -> None:
    class Away(MemoryStore):
        async def get(self, *_: Any, **__: Any) -> Any:
            raise StoreUnavailableError("away")

    store = CircuitBreakerWrapper(Away(), failures=50, reset_after=0.001)

    async def many() -> int:
        refused = 0
        for _ in range(3000):
            try:
                await store.get("c", "k")
            except StoreUnavailableError:
                refused += 1
        return refused

    async with OtherLoop() as other:
        async with asyncio.timeout(_LONG):
            assert await asyncio.gather(other.start(many()), many()) == [3000, 3000]


async def test_coordination_works_on_two_loops() -> None:
    store, runs = MemoryStore(), []
    counter, once = Counter(store, "hits"), Once(store)
    inside = 0
    most = 0

    async def effect() -> str:
        runs.append(1)
        await asyncio.sleep(0.01)
        return "done"

    async def work() -> str:
        nonlocal inside, most
        for _ in range(40):
            await counter.increment()
            await update(store, "c", "sum", lambda value: value + 1, initial=0)
            async with Lock(store, "door", ttl=5.0):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1
        return await once.run("effect", effect)

    async with OtherLoop() as other:
        async with asyncio.timeout(_LONG):
            assert await asyncio.gather(other.start(work()), work()) == ["done", "done"]
    assert (await counter.value(), await store.get("c", "sum"), most, len(runs)) == (80, 80, 1, 1)
