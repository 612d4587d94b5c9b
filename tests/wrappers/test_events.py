import asyncio
import logging
from datetime import timedelta

import pytest

from satchel import ConfigurationError, InvalidKeyError, MemoryStore, StoreError, StoreUnavailableError, open_store
from satchel.errors import BatchError
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import Cleared, Deleted, Event, EventsWrapper, Expired, Retrieved, Stored, TTLWrapper


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return EventsWrapper(MemoryStore(clock=clock), clock=clock)


@pytest.fixture
def events(store):
    found = []
    store.subscribe(Event, found.append)
    return found


def taken(events):
    found = events.copy()
    events.clear()
    return found


async def test_what_is_put_is_stored(store, events):
    await store.put("c", "a", None)
    await store.put_many("c", {"b": 1, "d": 2}, ttl=timedelta(minutes=1))
    version = await store.put_if_absent("c", "e", 1, ttl=5)
    await store.compare_and_put("c", "e", 2, version=version)
    assert events == [
        Stored("c", "a"),
        Stored("c", "b", 60.0),
        Stored("c", "d", 60.0),
        Stored("c", "e", 5),
        Stored("c", "e"),
    ]


async def test_what_was_not_put_is_not_stored(store, events):
    await store.put("c", "a", 1)
    taken(events)
    assert await store.put_if_absent("c", "a", 1) is None
    assert await store.compare_and_put("c", "a", 1, version="other") is None
    with pytest.raises(InvalidKeyError):
        await store.put("c", "", 1)
    await store.put_many("c", {})
    assert events == []


async def test_what_is_read_and_there_is_retrieved(store, events):
    await store.put_many("c", {"none": None, "zero": 0})
    taken(events)
    await store.get("c", "none")
    await store.get("c", "absent", "default")
    await store.get_entry("c", "zero")
    await store.get_entry("c", "absent")
    await store.exists("c", "zero")
    await store.get_many("c", ["zero", "absent", "none"])
    await store.get_entries("c", ["none"])
    assert events == [Retrieved("c", key) for key in ("none", "zero", "zero", "none", "none")]


async def test_what_is_removed_is_deleted(store, events):
    await store.put_many("c", dict.fromkeys("abde"))
    version = await store.put_if_absent("c", "v", 1)
    taken(events)
    await store.delete("c", "a")
    await store.delete("c", "a")
    await store.compare_and_delete("c", "v", version="other")
    await store.compare_and_delete("c", "v", version=version)
    await store.delete_many("c", ["b", "d"])
    await store.delete_many("c", ["b", "d"])
    assert taken(events) == [Deleted("c", key, existed=True) for key in ("a", "v", "b", "d")]
    await store.delete_many("c", ["b", "e"])  # of which one was there, and the batch does not say which
    assert taken(events) == [Deleted("c", "b", existed=None), Deleted("c", "e", existed=None)]


async def test_a_collection_or_store_that_held_something_is_cleared(store, events):
    await store.destroy_collection("c")
    await store.destroy()
    assert events == []
    for name in "cd":
        await store.put(name, "k", 1)
    taken(events)
    await store.destroy_collection("c")
    await store.destroy()
    assert events == [Cleared("c"), Cleared(None)]


@pytest.mark.parametrize("operation", ["get", "get_entry", "exists", "delete", "get_many", "delete_many", "touch"])
async def test_an_entry_found_gone_after_its_deadline_has_expired_once(store, events, clock, operation):
    await store.put("c", "k", 1, ttl=10)
    await store.put("c", "other", 1, ttl=30)
    taken(events)
    keys = ["k"] if operation.endswith("many") else "k"
    named = {"ttl": 5} if operation == "touch" else {}
    clock.advance(10)
    await getattr(store, operation)("c", keys, **named)
    await getattr(store, operation)("c", keys, **named)
    assert events == [Expired("c", "k")]


async def test_put_if_absent_where_an_entry_has_expired_tells_of_both(store, events, clock):
    await store.put("c", "k", 1, ttl=10)
    clock.advance(10)
    taken(events)
    await store.put_if_absent("c", "k", 2)
    assert events == [Expired("c", "k"), Stored("c", "k")]


async def test_what_never_expired_is_not_said_to_have(store, events, clock):
    await store.put_many("c", dict.fromkeys("abcde"), ttl=10)
    await store.put("d", "k", 1, ttl=10)
    await store.put("c", "a", 1)
    await store.delete("c", "b")
    await store.delete_many("c", ["c"])
    await store.touch("c", "d", ttl=None)
    await store.touch("c", "e", ttl=20)
    await store.destroy_collection("d")
    clock.advance(10)
    taken(events)
    await store.get_many("c", ["a", "b", "c", "d", "e"])
    await store.get("d", "k")
    await store.inner.delete("c", "e")
    assert await store.get("c", "e") is None  # before its deadline: somebody else removed it
    assert taken(events) == [Retrieved("c", key) for key in "ade"]
    await store.destroy()
    clock.advance(10)
    taken(events)
    await store.get("c", "e")
    assert events == []


async def test_deadlines_are_learnt_from_entries_of_other_writers(store, events, clock):
    await store.inner.put_many("c", {"a": 1, "b": 1}, ttl=10)
    await store.get_entry("c", "a")
    await store.get_entries("c", ["b"])
    clock.advance(10)
    taken(events)
    await store.get_many("c", ["a", "b"])
    assert events == [Expired("c", "a"), Expired("c", "b")]


async def test_a_bounded_number_of_deadlines_is_remembered(clock):
    store = EventsWrapper(MemoryStore(clock=clock), max_deadlines=2, clock=clock)
    events = []
    store.subscribe(Expired, events.append)
    for key in "abc":
        await store.put("c", key, 1, ttl=10)
    assert len(store._deadlines._deadlines) == 2
    clock.advance(10)
    await store.get_many("c", ["a", "b", "c"])
    assert events == [Expired("c", "b"), Expired("c", "c")]


async def test_no_deadline_is_remembered_when_nobody_asks_for_expired(store, clock):
    store.subscribe(Stored, lambda event: None)
    await store.put("c", "k", 1, ttl=10)
    found = []
    unsubscribe = store.subscribe(Expired, found.append)
    await store.put("c", "l", 1, ttl=10)
    unsubscribe()
    await store.delete("c", "l")
    store.subscribe(Expired, found.append)
    clock.advance(10)
    await store.get_many("c", ["k", "l"])
    assert found == []


async def test_what_was_not_followed_from_the_beginning_is_not_said_to_have_expired(store, clock):
    store.subscribe(Retrieved, lambda event: None)
    await store.put("c", "k", 1, ttl=10)
    await store.get_entry("c", "k")
    await store.delete("c", "k")  # which nobody follows
    found = []
    store.subscribe(Expired, found.append)
    clock.advance(10)
    await store.get("c", "k")
    assert found == []


async def test_inside_a_ttl_wrapper_it_learns_how_long_entries_live(clock, store, events):
    around = TTLWrapper(store, default=10, sliding=True)
    await around.put("c", "k", 1)
    clock.advance(6)
    await around.get("c", "k")
    clock.advance(9)
    await around.get("c", "k")
    clock.advance(10)
    taken(events)
    await around.get("c", "k")
    assert events == [Expired("c", "k")]


async def test_a_batch_that_failed_for_some_keys_tells_of_the_others(clock):
    class Half(MemoryStore):
        async def put_many(self, collection, items, *, ttl=None):
            await super().put_many(collection, {"good": items["good"]}, ttl=ttl)
            raise BatchError("1 of 2 failed", failed={"bad": StoreUnavailableError("no")})

        async def delete_many(self, collection, keys):
            raise BatchError("1 of 2 failed", failed={"bad": StoreUnavailableError("no")})

    store = EventsWrapper(Half(clock=clock), clock=clock, strict=True)
    events = []

    def fail(event):
        events.append(event)
        raise ValueError("handlers fail too")

    store.subscribe(Event, fail)
    with pytest.raises(BatchError):
        await store.put_many("c", {"good": 1, "bad": 2}, ttl=10)
    with pytest.raises(BatchError):
        await store.delete_many("c", ["good", "bad"])
    assert events == [Stored("c", "good", 10), Deleted("c", "good", existed=None)]


async def test_a_call_that_failed_tells_of_nothing():
    store = EventsWrapper(FlakyStore())
    events = []
    store.subscribe(Event, events.append)
    await store.ping()
    for call in (store.put("c", "k", 1), store.get("c", "k"), store.delete("c", "k"), store.destroy()):
        store.inner.fail_next()
        with pytest.raises(StoreError):
            await call
    assert events == []


async def test_a_handler_gets_only_what_it_subscribed_to_until_it_ends_that(store):
    stored, removed = [], []
    end = store.subscribe(Stored, stored.append)
    store.subscribe(Deleted, removed.append)
    twice = [store.subscribe(Stored, stored.append) for _ in range(2)]
    await store.put("c", "k", 1)
    assert (len(stored), removed) == (3, [])
    twice[0]()
    twice[0]()
    await store.put("c", "k", 1)
    assert len(stored) == 5
    end()
    twice[1]()
    await store.put("c", "k", 1)
    await store.delete("c", "k")
    assert (len(stored), removed) == (5, [Deleted("c", "k")])


async def test_handlers_run_in_order_after_the_operation_and_async_ones_are_awaited(store):
    seen = []

    async def slow(event):
        await asyncio.sleep(0)
        seen.append(("slow", await store.inner.get("c", event.key)))

    store.subscribe(Stored, slow)
    store.subscribe(Event, lambda event: seen.append(("fast", type(event))))
    await store.put("c", "k", 1)
    assert seen == [("slow", 1), ("fast", Stored)]


async def test_a_failing_handler_is_logged_and_breaks_nothing(store, caplog):
    seen = []

    async def fail_later(event):
        await asyncio.sleep(0)
        raise ValueError("later")

    def fail(event):
        raise ValueError("at once")

    for handler in (fail, fail_later, seen.append):
        store.subscribe(Stored, handler)
    await store.put("users", "ada@example.org", 1)
    assert seen == [Stored("users", "ada@example.org")]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert [str(record.exc_info[1]) for record in caplog.records] == ["at once", "later"]
    assert "a handler of Stored failed" in caplog.records[0].getMessage()
    assert "ada" not in caplog.text


async def test_strict_raises_the_first_error_after_all_handlers(clock, caplog):
    store = EventsWrapper(MemoryStore(), strict=True)
    seen = []

    def fail(event):
        seen.append(event)
        raise ValueError(event.key)

    store.subscribe(Stored, fail)
    store.subscribe(Stored, seen.append)
    with pytest.raises(ValueError, match=r"^a$"):
        await store.put_many("c", {"a": 1, "b": 2})
    assert seen == [event for key in "ab" for event in (Stored("c", key), Stored("c", key))]
    assert [str(record.exc_info[1]) for record in caplog.records] == ["b"]
    assert await store.inner.get_many("c", ["a", "b"]) == {"a": 1, "b": 2}


async def test_a_call_that_is_cancelled_in_a_handler_tells_no_further_ones(store):
    begun, seen = asyncio.Event(), []

    async def wait(event):
        begun.set()
        await asyncio.Event().wait()

    store.subscribe(Stored, wait)
    store.subscribe(Stored, seen.append)
    waiting = asyncio.ensure_future(store.put("c", "k", 1))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert seen == []
    assert await store.inner.exists("c", "k")


async def test_a_handler_may_use_the_store_and_subscribe(store):
    seen = []

    async def copy(event):
        if event.collection == "c":
            await store.put("copies", event.key, await store.get("c", event.key))
            store.subscribe(Retrieved, seen.append)

    store.subscribe(Stored, copy)
    await store.put("c", "k", 1)
    assert await store.get("copies", "k") == 1
    assert seen == [Retrieved("copies", "k")]


async def test_operations_that_nobody_follows_do_not_even_ask_the_time():
    def no_clock():
        raise AssertionError("asked")

    store = EventsWrapper(MemoryStore(), clock=no_clock)
    store.subscribe(Deleted, lambda event: None)
    await store.put("c", "k", 1, ttl=5)
    assert await store.get("c", "k") == 1
    with pytest.raises(AssertionError, match="asked"):
        await store.delete("c", "k")


async def test_events_cannot_be_changed_and_names_are_plain(store, events):
    class Name(str):
        __slots__ = ()

    await store.put(Name("c"), Name("k"), 1)
    assert (type(events[0].collection), type(events[0].key)) == (str, str)
    with pytest.raises(AttributeError):
        events[0].key = "other"


def test_bad_options_and_subscriptions_are_refused():
    for options in ({"strict": 1}, {"max_deadlines": -1}, {"max_deadlines": True}, {"clock": 5}):
        with pytest.raises(ConfigurationError, match=f"^{next(iter(options))} must be"):
            EventsWrapper(MemoryStore(), **options)
    store = open_store("memory://?wrap=events(strict=true,max_deadlines=5)")
    for kind in (str, "Stored", None, Stored("c", "k")):
        with pytest.raises(ConfigurationError, match="takes a class of events"):
            store.subscribe(kind, print)
    with pytest.raises(ConfigurationError, match="must be callable"):
        store.subscribe(Stored, None)
