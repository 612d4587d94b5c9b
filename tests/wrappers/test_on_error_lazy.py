"""What waits for a store that fails, and how it gets there."""

import asyncio
import gc
import logging
import weakref
from contextvars import ContextVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from satchel import (
    BatchError,
    MemoryStore,
    QueueFullError,
    SerializationError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import CircuitBreakerWrapper, LimitSizeWrapper, OnErrorWrapper, PrefixKeysWrapper, RetryWrapper
from tests.wrappers.failing import Failing, collect


class Switched(FlakyStore):
    """Fails while it is down, and remembers what was written."""

    def __init__(self, **options):
        super().__init__(**options)
        self.down = False
        self.written = []

    async def _trouble(self, operation):
        if self.down:
            return StoreUnavailableError("down")
        return await super()._trouble(operation)

    async def _write(self, records):
        outcomes = await super()._write(records)
        self.written += [
            (key, record.payload) for ((_, key), record), failed in zip(records, outcomes, strict=True) if not failed
        ]
        return outcomes

    async def _delete(self, refs, now):
        outcomes = await super()._delete(refs, now)
        self.written += [(key, None) for (_, key), done in zip(refs, outcomes, strict=True) if isinstance(done, bool)]
        return outcomes


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def inner(clock):
    return Switched(clock=clock)


@pytest.fixture
def store(inner, clock):
    return OnErrorWrapper(inner, policy="lazy", clock=clock, max_queued=5)


async def background():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_writes_wait_while_the_store_fails_and_arrive_in_order(inner, store):
    inner.down = True
    await store.put("c", "a", 1)
    await store.put_many("c", {"b": 2, "d": 3})
    assert await store.delete("c", "b") is True
    await store.put("c", "a", 4)
    assert store.queued == 3
    assert inner.written == []
    inner.down = False
    await store.flush()
    assert inner.written == [("d", b"3"), ("b", None), ("a", b"4")]
    assert store.queued == 0


async def test_the_caller_reads_what_waits(inner, store):
    await store.put_many("c", {"old": "old", "gone": "old", "other": "old"})
    inner.down = True
    value = {"list": [1]}
    await store.put("c", "old", value)
    value["list"].append(2)
    await store.put("c", "none", None)
    assert await store.delete("c", "gone") is False  # nobody knows whether it was there
    first = await store.get("c", "old", "default")
    first["list"].append(3)
    assert await store.get("c", "old") == {"list": [1]}
    assert await store.get("c", "none", "default") is None
    assert await store.get("c", "gone", "default") == "default"
    assert [await store.exists("c", key) for key in ("old", "none", "gone")] == [True, True, False]
    assert await store.get_many("c", ["none", "gone", "old"]) == {"none": None, "old": {"list": [1]}}
    with pytest.raises(StoreError):
        await store.get_many("c", ["none", "other"])
    with pytest.raises(StoreUnavailableError):
        await store.get("c", "other")
    inner.down = False
    found = await store.get_many("c", ["other", "gone", "old", "x", "none"])
    assert list(found.items()) == [("other", "old"), ("old", {"list": [1]}), ("none", None)]


async def test_the_next_successful_call_sends_what_waits(inner, store):
    inner.down = True
    await store.put("c", "k", 1)
    inner.down = False
    assert await store.get("c", "other") is None
    await background()
    assert (store.queued, await inner.get("c", "k")) == (0, 1)


@pytest.mark.parametrize("call", [("put", "k", 2), ("get", "k"), ("exists", "k"), ("delete", "k")])
async def test_a_call_that_only_meets_what_waits_tries_to_send_it(call, inner, store):
    inner.down = True
    await store.put("c", "k", 1)
    inner.down = False
    verb, *arguments = call
    await getattr(store, verb)("c", *arguments)
    await background()
    assert store.queued == 0
    assert await inner.get("c", "k") == {"put": 2, "delete": None}.get(verb, 1)


async def test_a_failed_try_keeps_everything(inner, store):
    inner.down = True
    await store.put_many("c", {"a": 1, "b": 2})
    with pytest.raises(StoreUnavailableError):
        await store.flush()
    await store.get("c", "a")
    await background()
    assert store.queued == 2


async def test_a_write_that_comes_while_an_earlier_one_is_sent_is_sent_after_it(inner, store):
    inner.down = True
    await store.put("c", "k", "early")
    inner.down = False
    gate = asyncio.Event()
    inner._latency, inner._sleep = 1, lambda _: gate.wait()
    flush = asyncio.create_task(store.flush())
    await background()
    await store.put("c", "k", "late")
    assert await store.get("c", "k") == "late"
    gate.set()
    await flush
    assert inner.written == [("k", b'"early"'), ("k", b'"late"')]
    assert store.queued == 0


async def test_deadlines_stay_where_they_were(inner, store, clock):
    inner.down = True
    await store.put("c", "k", 1, ttl=100)
    await store.put_many("c", {"l": 1}, ttl=50)
    clock.advance(30)
    inner.down = False
    await store.flush()
    assert [(await inner.get_entry("c", key)).ttl for key in "kl"] == [pytest.approx(70), pytest.approx(20)]


async def test_the_deadline_counts_from_the_call_and_not_from_its_failure(clock):
    class Slow(Switched):
        async def _trouble(self, operation):
            if self.down:
                clock.advance(30)
            return await super()._trouble(operation)

    inner = Slow(clock=clock)
    store = OnErrorWrapper(inner, policy="lazy", clock=clock)
    inner.down = True
    await store.put("c", "k", 1, ttl=100)
    inner.down = False
    await store.flush()
    assert (await inner.get_entry("c", "k")).ttl == pytest.approx(70)


async def test_what_expires_while_it_waits_is_absent_and_has_overwritten_what_was_there(inner, store, clock):
    await store.put("c", "k", "old")
    inner.down = True
    await store.put("c", "k", "new", ttl=10)
    clock.advance(10)
    assert await store.get("c", "k", "default") == "default"
    assert await store.exists("c", "k") is False
    assert await store.get_many("c", ["k"]) == {}
    assert await store.delete("c", "k") is False
    await store.put("c", "k", "newer", ttl=10)
    clock.advance(11)
    inner.down = False
    await store.flush()
    assert await inner.get("c", "k") is None


async def test_a_full_queue_refuses_further_keys_alone(inner, store):
    inner.down = True
    await store.put_many("c", dict.fromkeys("abcde", 1))
    with pytest.raises(QueueFullError, match="has 5 queued writes") as refusal:
        await store.put("c", "f", 1)
    assert isinstance(refusal.value.__cause__, StoreUnavailableError)
    await store.put("c", "a", 2)
    with pytest.raises(BatchError) as failure:
        await store.put_many("c", {"b": 2, "f": 2})
    assert {key: type(error) for key, error in failure.value.failed.items()} == {"f": QueueFullError}
    assert [await store.get("c", key) for key in "abc"] == [2, 2, 1]
    assert store.queued == 5


async def test_of_a_batch_only_what_failed_waits():
    inner = Failing()
    store = OnErrorWrapper(inner, policy="lazy")
    inner.failing = {"b": [StoreUnavailableError("lost")]}
    await store.put_many("c", {"a": 1, "b": 2})
    assert (store.queued, await store.get("c", "b")) == (1, 2)
    inner.failing = {"a": [StoreUnavailableError("lost")], "d": [StoreError("no permission")]}
    with pytest.raises(BatchError) as failure:
        await store.put_many("c", {"a": 5, "d": 6})
    assert list(failure.value.failed) == ["d"]
    assert await store.get("c", "a") == 5


async def test_delete_many_counts_what_is_known(inner, store):
    await store.put_many("c", {"a": 1, "b": 2})
    inner.down = True
    await store.put("c", "d", 3)
    assert await store.delete_many("c", ["a", "d"]) == 1
    inner.down = False
    assert await store.delete_many("c", ["a", "b", "d"]) == 1
    await store.flush()
    assert await inner.get_many("c", ["a", "b", "d"]) == {}


async def test_what_no_store_takes_is_refused_and_does_not_wait(inner, store):
    inner.down = True
    await store.put("c", "k", 1)
    for call in (
        store.put("c", "k", (1,)),
        store.put("c", "new", (1,)),
        store.put_many("c", {"k": 2, "l": {1}}),
        store.put_many("c", {"k": object(), "l": 2}),
    ):
        with pytest.raises(SerializationError):
            await call
    with pytest.raises(ValueError, match="ttl"):
        await store.put("c", "k", 2, ttl=-1)
    assert (store.queued, await store.get("c", "k")) == (1, 1)


async def test_a_put_without_a_value_does_not_let_a_none_wait(inner, store):
    inner.down = True
    await store.put("c", "k", 1)
    with pytest.raises(TypeError):
        await store.put("c", "k")
    assert await store.get("c", "k") == 1


async def test_what_needs_the_store_sends_what_waits_first(inner, store):
    inner.down = True
    await store.put("c", "k", 1)
    for call in (
        store.get_entry("c", "k"),
        store.get_entries("c", ["k"]),
        store.put_if_absent("c", "k", 2),
        store.touch("c", "k", ttl=5),
        store.destroy_collection("c"),
        collect([], store.keys("c")),
        collect([], store.collections()),
    ):
        with pytest.raises(StoreUnavailableError):
            await call
    inner.down = False
    assert await store.put_if_absent("c", "k", 2) is None
    assert store.queued == 0
    inner.down = True
    await store.put("c", "l", 1)
    inner.down = False
    found = []
    await collect(found, store.keys("c"))
    assert sorted(found) == ["k", "l"]
    inner.down = True
    await store.put("c", "m", 1)
    inner.down = False
    assert (await store.get_entry("c", "m")).value == 1
    inner.down = True
    await store.put("c", "n", 1)
    inner.down = False
    assert await store.destroy_collection("c") is True
    assert (await store.get_many("c", ["klmn"]), store.queued) == ({}, 0)


async def test_a_write_that_the_store_refuses_for_what_it_is_is_not_in_the_way(inner, clock, caplog):
    store = OnErrorWrapper(LimitSizeWrapper(inner, max_bytes=10), policy="lazy", clock=clock)
    inner.down = True
    await store.put("c", "small", 1)
    await store.put("c", "k", 1)
    await store.put("c", "k", "hunter2" * 10)  # joins the other without being measured
    await store.put("c", "last", 3)
    inner.down = False
    with pytest.raises(ValueTooLargeError):
        await store.flush()
    assert await inner.get_many("c", ["small", "k", "last"]) == {"small": 1, "last": 3}
    assert [record.levelno for record in caplog.records if "lost a queued write" in record.message] == [logging.ERROR]
    assert "hunter2" not in caplog.text
    await store.flush()


async def test_a_refused_write_is_raised_by_flush_and_by_no_call_about_something_else(inner, clock):
    store = OnErrorWrapper(LimitSizeWrapper(inner, max_bytes=10), policy="lazy", clock=clock)
    inner.down = True
    await store.put("c", "k", 1)
    await store.put("c", "k", "too large, and not measured yet")
    await store.put("c", "other", 1)
    inner.down = False
    assert (await store.get_entry("c", "other")).value == 1
    with pytest.raises(ValueTooLargeError):
        await store.flush()
    await store.flush()


async def test_a_write_that_expires_while_it_is_sent_is_not_lost(inner):
    times = [0.0]
    store = OnErrorWrapper(inner, policy="lazy", clock=lambda: times.pop(0) if len(times) > 1 else times[0])
    await inner.put("c", "k", "old")
    inner.down = True
    await store.put("c", "k", "new", ttl=60)
    inner.down = False
    times[:] = [59.9, 60.1]
    await store.flush()
    assert await inner.get("c", "k") == "new"


async def test_closing_sends_what_waits(inner, store, caplog):
    async with store:
        inner.down = True
        await store.put("c", "k", 1)
        inner.down = False
    assert inner.written == [("k", b"1")]
    assert "lost" not in caplog.text


async def test_closing_says_what_is_lost(inner, store, caplog):
    inner.down = True
    await store.put_many("c", {"k": "hunter2", "l": 1})
    with pytest.raises(StoreUnavailableError, match="is closed, and 2 queued writes are lost"):
        await store.aclose()
    assert "2 queued writes are lost" in caplog.text
    assert "hunter2" not in caplog.text
    with pytest.raises(StoreClosedError):
        await inner.get("c", "k")
    assert store.queued == 0
    with pytest.raises(StoreClosedError):
        await store.aclose()


async def test_a_queue_over_a_store_that_was_closed_beneath_it_says_so(inner, store):
    inner.down = True
    await store.put("c", "k", 1)
    await inner.aclose()
    with pytest.raises(StoreClosedError, match="1 queued writes are lost"):
        await store.aclose()


def test_what_waits_outlives_its_event_loop(inner, store):
    async def fail():
        inner.down = True
        await store.put("c", "k", 1)
        gate = asyncio.Event()
        inner.down = False
        inner._latency, inner._sleep = 1, lambda _: gate.wait()
        await store.get("c", "k")  # starts to send, and the loop ends
        await background()

    async def recover():
        inner._latency = 0
        await store.flush()
        return await inner.get("c", "k")

    asyncio.run(fail())
    assert store.queued == 1
    assert asyncio.run(recover()) == 1


async def test_sending_keeps_nothing_of_the_caller(inner, store):
    class Thing:
        pass

    held = ContextVar("held")
    gate = asyncio.Event()

    async def call():
        held.set(Thing())
        inner.down = True
        await store.put("c", "k", 1)
        inner.down = False
        inner._latency, inner._sleep = 1, lambda _: gate.wait()
        await store.get("c", "k")
        return weakref.ref(held.get())

    thing = await asyncio.create_task(call())
    await background()
    gc.collect()
    assert thing() is None
    gate.set()
    await store.flush()


async def test_names_are_the_inner_ones(inner, store):
    outer = PrefixKeysWrapper(store, prefix="p")
    inner.down = True
    await outer.put("c", "k", 1)
    assert await outer.get_many("c", ["k"]) == {"k": 1}
    inner.down = False
    await outer.delete("c", "k")
    await store.flush()
    assert inner.written[-1] == ("p:k", None)


async def test_over_retries_and_a_breaker(inner, clock):
    breaker = CircuitBreakerWrapper(inner, failures=2, reset_after=10, clock=clock)
    store = OnErrorWrapper(RetryWrapper(breaker, attempts=2, first_pause=0.001), policy="lazy", clock=clock)
    inner.down = True
    for number in range(10):
        await store.put("c", str(number), number)
    assert (store.queued, breaker.state) == (10, "open")
    inner.down = False
    clock.advance(10)
    await store.put("c", "last", 1)
    await store.flush()
    assert [key for key, _ in inner.written] == ["last", *map(str, range(10))]


# A put of a number, a delete, a read, or the store goes down or up.
steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put_many", "delete", "get", "flush"]), st.sampled_from("abc"))
    | st.tuples(st.sampled_from(["fail", "down", "up", "pause"]), st.integers(1, 4)),
    max_size=40,
)


PUT, FLUSH = ("put", "a"), ("flush", "a")
OTHERS_SEND_AFTER_A_FAILED_FLUSH = [[PUT, PUT, PUT, ("pause", 2), *[PUT] * 9], [PUT, PUT, FLUSH]]


@example(plans=OTHERS_SEND_AFTER_A_FAILED_FLUSH, seed=3)
@given(plans=st.lists(steps, min_size=1, max_size=3), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_the_order_of_each_keys_writes_is_kept_across_flaky_periods(plans, seed):
    async def one_writer(inner, store, writer, plan):
        """Write to keys of its own, and check what it reads; return what it expects in the end, and what it wrote."""
        expected, wrote = {}, {}
        for number, (step, about) in enumerate(plan):
            key = f"{writer}{about}"
            if step == "put":
                await store.put("c", key, number)
                expected[key] = number
            elif step == "put_many":
                await store.put_many("c", {key: number})
                expected[key] = number
            elif step == "delete":
                was_there = await store.delete("c", key)
                assert not (was_there and expected.get(key) is None)
                expected[key] = None
            elif step == "get":
                try:
                    assert await store.get("c", key) == expected.get(key)
                except StoreUnavailableError:
                    assert store.queued == 0 or (("c", key) not in store._queue.waiting)
            elif step == "flush":
                try:
                    await store.flush()
                except StoreUnavailableError:
                    assert store.queued
            elif step == "fail":
                inner.fail_next(about)
            elif step == "pause":
                for _ in range(about):
                    await asyncio.sleep(0)
            else:
                inner.down = step == "down"
            if step in ("put", "put_many", "delete"):
                text = None if step == "delete" else str(number).encode()
                wrote.setdefault(key, []).append(text)
        return expected, wrote

    async def run():
        inner = Switched(failure_rate=0.2, random_seed=seed)
        store = OnErrorWrapper(inner, policy="lazy")
        told = await asyncio.gather(*[one_writer(inner, store, number, plan) for number, plan in enumerate(plans)])
        inner.down, inner._failure_rate, inner._failures = False, 0, []
        await store.flush()
        for expected, wrote in told:
            for key, texts in wrote.items():
                arrived = iter(texts)
                assert all(text in arrived for name, text in inner.written if name == key), (texts, inner.written)
                assert await inner.get("c", key) == expected[key]
        await store.aclose()

    asyncio.run(run())


def test_only_the_lazy_policy_has_a_queue():
    assert OnErrorWrapper(MemoryStore()).queued == 0
