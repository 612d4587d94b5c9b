"""Writing back: the queue between hot and cold."""

import asyncio
import logging

import pytest

from satchel import MemoryStore, QueueFullError, StoreError, StoreUnavailableError, ValueTooLargeError
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import TieredStore
from satchel.wrappers.tiered import queue as tiered_queue
from tests.scripted import BatchStore, held, turns


def made(cold, **options):
    return TieredStore(MemoryStore(), cold, write="back", **options)


async def test_a_put_returns_before_cold_has_it_and_cold_gets_it_in_the_background():
    cold = BatchStore()
    store = made(cold)
    gate = held(cold)
    await store.put("c", "k", 1)
    await store.put_many("c", {"l": 2, "m": b"3"}, ttl=60)
    assert await store.get_many("c", list("mlk")) == {"m": b"3", "l": 2, "k": 1}
    assert await store.exists("c", "k")
    assert store.snapshot().queued == 3
    assert not cold.server.data
    gate.set()
    await turns(20)
    assert await cold.get_many("c", list("klm")) == {"k": 1, "l": 2, "m": b"3"}
    assert (await cold.get_entry("c", "l")).ttl == pytest.approx(60, abs=1)
    assert store.snapshot().queued == 0


async def test_what_is_queued_is_read_though_hot_has_lost_it():
    cold = BatchStore()
    store = made(cold)
    held(cold)
    await store.put("c", "k", value := ["x"])
    value.append("changed by the caller")
    await store.inners[0].destroy()
    assert await store.get("c", "k") == ["x"]
    (await store.get("c", "k")).append("changed by a reader")
    assert await store.get_many("c", ["k"]) == {"k": ["x"]}
    cold.server.gate.set()


async def test_the_writes_of_a_key_reach_cold_in_their_order():
    cold = BatchStore(max_inflight=4)
    store = made(cold)
    for number in range(50):
        await store.put("c", str(number % 3), number)
        await turns(number % 4)
    assert await store.delete("c", "0") is True
    await store.flush()
    assert await cold.get_many("c", list("012")) == {"1": 49, "2": 47}
    assert await store.get_many("c", list("012")) == {"1": 49, "2": 47}


async def test_entries_listings_and_deletes_wait_for_what_they_are_about():
    cold = BatchStore()
    store = made(cold)
    await store.put_many("c", {"k": 1, "l": 2})
    assert (await store.get_entry("c", "k")).value == 1
    await store.put("c", "k", 3)
    assert await store.compare_and_delete("c", "k", version=(await store.get_entries("c", ["k"]))["k"].version)
    await store.put("d", "k", 3)
    assert sorted([name async for name in store.collections()]) == ["c", "d"]
    await store.put("c", "m", 3)
    assert sorted([key async for key in store.keys("c")]) == ["l", "m"]
    await store.put("c", "n", 3)
    assert await store.destroy_collection("c") is True
    assert await store.put_if_absent("c", "n", 4)
    await store.put("d", "l", 3)
    assert await store.delete_many("d", ["k", "l", "m"]) == 2


async def test_a_queued_write_that_expires_leaves_nothing_behind():
    clock = FakeClock()
    cold = FlakyStore(clock=clock)
    store = TieredStore(MemoryStore(clock=clock), cold, write="back", clock=clock)
    await cold.put("c", "k", "old")
    cold.fail_next(operation="write")
    await store.put("c", "k", "new", ttl=5)
    await turns(10)
    clock.advance(6)
    assert await store.get("c", "k", "default") == "default"
    assert await store.exists("c", "k") is False
    await store.flush()
    assert await cold.get("c", "k") is None


async def test_a_full_queue_refuses_and_takes_more_after_a_flush():
    cold = FlakyStore()
    store = made(cold, queue_size=3)
    cold.fail_next(100, operation="write")
    await store.put_many("c", {"a": 1, "b": 2})
    with pytest.raises(QueueFullError, match=r"2 writes .* at most 3"):
        await store.put_many("c", {"c": 3, "d": 4})
    assert await store.get_many("c", list("abcd")) == {"a": 1, "b": 2}
    await store.put("c", "c", 3)
    await store.put_many("c", {"a": 4, "b": 5})
    with pytest.raises(QueueFullError):
        await store.put("c", "d", 4)
    cold._failures.clear()
    await store.flush()
    await store.put("c", "d", 4)
    assert await store.get_many("c", list("abcd")) == {"a": 4, "b": 5, "c": 3, "d": 4}


async def test_a_failed_flush_is_logged_raised_kept_and_tried_again(caplog):
    cold = FlakyStore()
    store = made(cold)
    cold.fail_next(4, operation="write")
    with caplog.at_level(logging.WARNING, "satchel"):
        await store.put_many("c", {"k": "hunter2", "l": "hunter2"})
        await turns(20)
    assert any("2 queued writes" in record.getMessage() for record in caplog.records)
    with pytest.raises(StoreError, match="2 writes have not reached the cold store, one of them of key") as failure:
        await store.flush()
    assert failure.value.retryable
    assert "hunter2" not in caplog.text + str(failure.value)
    assert store.snapshot().queued == 2
    await store.flush()
    assert await cold.get_many("c", ["k", "l"]) == {"k": "hunter2", "l": "hunter2"}


async def test_a_failed_flush_is_tried_again_in_the_background(monkeypatch):
    monkeypatch.setattr(tiered_queue, "_TRY_AGAIN", 0.001)
    cold = FlakyStore()
    store = made(cold)
    cold.fail_next(3, operation="write")
    await store.put("c", "k", 1)
    async with asyncio.timeout(50):
        while store.snapshot().queued:  # noqa: ASYNC110  # the queue announces nothing
            await asyncio.sleep(0.001)
    assert await cold.get("c", "k") == 1


async def test_what_cold_refuses_is_given_up_and_said_by_flush():
    store = made(MemoryStore(max_bytes=10))
    await store.put("c", "k", "x" * 100)
    await turns(10)
    assert await store.get("c", "k") is None
    with pytest.raises(StoreError, match="1 writes have not reached the cold store") as failure:
        await store.flush()
    assert isinstance(failure.value.__cause__, ValueTooLargeError)
    assert not failure.value.retryable
    await store.flush()
    assert await store.get("c", "k") is None


async def test_a_read_of_an_entry_says_why_its_write_cannot_be_sent():
    cold = FlakyStore()
    store = made(cold)
    cold.fail_next(100, operation="write")
    await store.put("c", "k", 1)
    with pytest.raises(StoreUnavailableError):
        await store.get_entry("c", "k")
    with pytest.raises(StoreUnavailableError):
        await store.delete("c", "k")
    assert await store.get("c", "k") == 1
    cold._failures.clear()
    assert await store.delete("c", "k") is True
    assert await store.get("c", "k") is None


async def test_closing_sends_everything_or_says_what_is_lost():
    clock = FakeClock()
    cold = BatchStore(clock=clock)
    store = made(cold, clock=clock)
    await store.put_many("c", {str(number): number for number in range(1200)})
    await store.aclose()
    assert len(cold.server.data) == 1200

    failing = FlakyStore()
    store = made(failing)
    failing.fail_next(100, operation="write")
    with pytest.raises(StoreError, match="1 writes have not reached"):
        async with store:
            await store.put("c", "k", 1)
    for call in (lambda: store.get("c", "k"), lambda: store.put("c", "k", 1), failing.ping):
        with pytest.raises(StoreError, match="closed"):
            await call()


async def test_demoting_sends_what_is_queued_first():
    store = made(cold := BatchStore())
    await store.put("c", "k", 1)
    assert await store.demote(keep=0) == 1
    assert ("c", "k") in cold.server.data
    assert await store.get("c", "k") == 1


async def test_nothing_is_sent_while_a_delete_of_the_same_key_is_under_way():
    store = made(cold := BatchStore(max_inflight=8))
    await store.put("c", "k", "old")
    await store.flush()
    gate = held(cold)
    deleting = asyncio.create_task(store.delete("c", "k"))
    destroying = asyncio.create_task(store.destroy_collection("d"))
    await turns(10)
    await store.put("c", "k", "new")
    await store.put("d", "k", "new")
    await turns(10)
    assert [kind for kind, refs in cold.server.calls if ("c", "k") in refs] == ["write", "delete"]
    assert await store.get("c", "k") == "new"
    gate.set()
    assert await deleting is True
    await destroying
    await store.flush()
    assert await cold.get("c", "k") == await store.get("c", "k") == await store.get("d", "k") == "new"


async def test_a_close_whose_caller_is_cancelled_sends_what_is_queued(caplog):
    cold = BatchStore()
    store = made(cold)
    gate = held(cold)
    await store.put_many("c", {"k": "hunter2", "l": 2})
    closing = asyncio.create_task(store.aclose())
    await turns(5)
    closing.cancel()
    await turns(5)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert [write.error for write in store._waiting.values()] == []
    assert {key for _, key in cold.server.data} == {"k", "l"}
    assert caplog.text == ""


async def test_other_tasks_run_while_a_batch_is_queued(monkeypatch):
    monkeypatch.setattr("satchel._threads._A_TURN", 0.0)  # each value takes longer
    cold, taken = BatchStore(), 0
    gate = held(cold)

    async def count_turns():
        nonlocal taken
        while True:
            taken += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    items = {str(number): "x" * 60_000 for number in range(100)}
    await TieredStore(MemoryStore(), MemoryStore()).put_many("c", items)
    by_both_tiers, taken = taken, 0
    await made(cold).put_many("c", items)
    counting.cancel()
    gate.set()
    assert taken > by_both_tiers * 3 / 4


async def test_what_cold_refused_takes_no_memory_while_nobody_flushes():
    store = made(MemoryStore(max_bytes=10))
    for number in range(20):
        await store.put("c", str(number), "x" * 100)
        await turns(10)
    assert len(store._queue._refused) == 1
    with pytest.raises(StoreError, match="20 writes have not reached the cold store"):
        await store.flush()
    await store.flush()


@pytest.mark.parametrize("next_use", ["get", "get_many", "get of what waits"])
def test_what_an_ended_event_loop_left_unsent_goes_on_at_the_next_use(next_use):
    now = FakeClock()
    cold = FlakyStore(clock=now)
    store = TieredStore(MemoryStore(clock=now), cold, write="back", clock=now)

    async def use():
        if next_use == "get_many":
            await store.get_many("c", ["other"])
        else:
            await store.get("c", "k" if next_use == "get of what waits" else "other")
        async with asyncio.timeout(50):
            while store.snapshot().queued:  # noqa: ASYNC110  # it sets no event
                await asyncio.sleep(0.01)
        return await cold.get("c", "k")

    asyncio.run(store.put("c", "k", 1))
    assert store.snapshot().queued == 1
    assert asyncio.run(use()) == 1
