"""What the base does between callers and the hooks of a backend."""

import asyncio
import contextvars
import logging
import traceback
from statistics import median

import msgspec
import pytest

from satchel import (
    BatchError,
    Capability,
    IntegrityError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    UnsupportedOperationError,
    ValueTooLargeError,
)
from satchel import _threads as threads
from satchel.backend import coalescer as coalesce
from satchel.backend import reclaiming
from satchel.backend.record import Record
from tests.scripted import BatchStore, Server, SingleStore, held, turns

BOTH = pytest.mark.parametrize("kind", [BatchStore, SingleStore])


def damage(store, key):
    record = store.server.data["c", key]
    store.server.data["c", key] = msgspec.structs.replace(record, payload=record.payload[:-1] + b"?")


async def failures_of(*calls):
    return [answer for answer in await asyncio.gather(*calls, return_exceptions=True) if isinstance(answer, Exception)]


@pytest.mark.parametrize("kind", ["get", "put"])
@pytest.mark.parametrize("shield", [True, False])
async def test_batches_of_32_tasks_are_nearly_32(kind, shield):
    store = BatchStore(Server(delay=lambda: 1), shield_writes=shield)

    async def caller(key):
        for number in range(20):
            await (store.get("c", key) if kind == "get" else store.put("c", key, number))

    await asyncio.gather(*[caller(f"{number}") for number in range(32)])
    sizes = store.server.sizes("read" if kind == "get" else "write")
    assert median(sizes[2:-2]) >= 31
    await store.aclose()


async def test_a_lone_read_makes_no_task():
    class Direct(BatchStore):
        async def _read(self, refs):
            return [self.server.read(ref) for ref in refs]

    store = Direct()
    await store.put("c", "k", 1)
    made = []
    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("create_task", "create_future"):
            patch.setattr(loop, name, lambda *_, name=name, **__: made.append(name))
        assert await store.get("c", "k") == 1
        assert await store.get_many("c", ["k", "other"]) == {"k": 1}
    assert made == []
    await store.aclose()


@BOTH
async def test_put_many_of_ten_thousand(kind):
    store = kind(Server(delay=lambda: 0))
    await store.put_many("c", {f"{number}": number for number in range(10_000)})
    assert len(store.server.data) == 10_000
    assert max(store.server.sizes("write")) == (500 if kind is BatchStore else 1)
    found = await store.get_many("c", [f"{number}" for number in range(10_000)])
    assert list(found.values()) == list(range(10_000))
    await store.aclose()


async def test_reads_may_have_a_limit_of_their_own():
    store = BatchStore(Server(delay=lambda: 0), max_items=25, max_reads=100)
    await store.put_many("c", {f"{number}": number for number in range(250)})
    assert len(await store.get_many("c", [f"{number}" for number in range(250)])) == 250
    assert await store.get_many("c", [f"{number}" for number in range(100)]) == {f"{n}": n for n in range(100)}
    await store.delete_many("c", [f"{number}" for number in range(250)])
    assert store.server.sizes("write") == store.server.sizes("delete") == [25] * 10
    assert store.server.sizes("read") == [100, 100, 50, 100]
    await store.aclose()


@BOTH
async def test_exists_asks_for_heads_alone_and_once_for_all_who_wait(kind):
    class Looks(kind):
        async def _read_heads(self, refs):
            return await self.server.request("read_heads", [(ref,) for ref in refs], self.server.read)

        async def _read_head_one(self, ref):
            return (await self.server.request("read_heads", [(ref,)], self.server.read))[0]

    if kind is SingleStore:
        del Looks._read_heads
    store = Looks(Server(delay=lambda: 1))
    await store.put("c", "there", 1)
    keys = ["there", "missing"] * 8
    found = await asyncio.gather(*[store.exists("c", key) for key in keys], store.get("c", "there"))
    assert found == [True, False] * 8 + [1]
    assert store.server.sizes("read") == [1]
    assert sum(store.server.sizes("read_heads")) <= 4
    await store.aclose()


async def test_a_look_that_waits_behind_a_put_sees_it():
    store = BatchStore(Server(delay=lambda: 1))
    assert await store.exists("c", "k") is False
    first = asyncio.create_task(store.exists("c", "k"))
    await turns(1)
    await store.put("c", "k", 1)
    assert await store.exists("c", "k") is True
    await first
    await store.aclose()


async def test_many_small_values_leave_turns_to_others(monkeypatch):
    monkeypatch.setattr(threads, "_A_TURN", 0.0)  # each value takes longer
    store = BatchStore(Server(delay=lambda: 0))
    await store.ping()
    turned = 0

    async def other():
        nonlocal turned
        while True:
            turned += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await turns(1)
    await store.put_many("c", {f"{number}": number for number in range(90)})
    assert turned >= 90
    turned = 0
    assert len(await store.get_many("c", [f"{number}" for number in range(90)])) == 90
    assert turned >= 90
    task.cancel()
    await store.aclose()


@BOTH
async def test_what_the_engine_leaves_unprocessed_is_sent_again(kind, monkeypatch):
    monkeypatch.setattr(coalesce, "_FIRST_PAUSE", 0.0)
    store = kind()
    store.server.unprocessed.update(a=3, b=1)
    await store.put_many("c", {"a": 1, "b": 2, "d": 3})
    assert await store.get_many("c", "abd".__iter__()) == {"a": 1, "b": 2, "d": 3}
    if kind is BatchStore:
        assert store.server.sizes("write") == [3, 2, 1, 1]
    await store.aclose()


@BOTH
async def test_what_is_left_unprocessed_delays_no_other_caller_of_its_batch(kind, monkeypatch):
    monkeypatch.setattr(coalesce, "_FIRST_PAUSE", 0.2)
    store = kind()
    await store.ping()
    gate = held(store)
    first = asyncio.create_task(store.put("c", "first", 1))
    await turns(5)
    store.server.unprocessed["slow"] = 1
    slow = asyncio.create_task(store.put("c", "slow", 1))
    others = [asyncio.create_task(store.put("c", key, 2)) for key in "ab"]
    await turns(5)
    gate.set()
    await asyncio.gather(first, *others)
    assert not slow.done(), "it waits to be sent again"
    later = asyncio.create_task(store.put("c", "slow", 3))
    deletion = asyncio.create_task(store.delete("c", "slow"))
    await store.put("c", "a", 4)
    assert not slow.done(), "those who come later need not wait for it either"
    closing = asyncio.create_task(store.aclose())
    await turns(5)
    assert not closing.done(), "closing waits for what was left unprocessed"
    assert await asyncio.gather(slow, later, deletion, closing) == [None, None, True, None]
    sent = [kind for kind, refs in store.server.calls if ("c", "slow") in refs]
    assert sent == ["write", "write", "write", "delete"], "the order of one key's writes is kept"


async def test_what_is_left_unprocessed_for_ever_ends_in_unavailable_after_growing_pauses(monkeypatch):
    pauses = []

    async def sleep(pause):
        pauses.append(pause)

    monkeypatch.setattr(coalesce.asyncio, "sleep", sleep)
    store = BatchStore(Server(delay=lambda: 0))
    store.server.unprocessed["k"] = 100
    with pytest.raises(StoreUnavailableError) as caught:
        await store.put("c", "k", 1)
    assert caught.value.retryable
    assert caught.value.key == "k"
    limits = [0.05 * 2**number for number in range(6)]
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(pauses, limits, strict=True))
    await store.aclose()


@BOTH
@pytest.mark.parametrize("verb", ["get", "put", "touch"])
async def test_one_bad_item_fails_one_caller(kind, verb):
    store = kind()
    store.server.faults["bad"] = ZeroDivisionError()
    keys = ["first", *map(str, range(20)), "bad", *map(str, range(20, 40))]
    calls = {
        "get": lambda key: store.get("c", key),
        "put": lambda key: store.put("c", key, 1),
        "touch": lambda key: store.touch("c", key, ttl=1),
    }[verb]
    (failure,) = await failures_of(*map(calls, keys))
    assert type(failure) is StoreError
    assert (failure.operation, failure.collection, failure.key) == (verb, "c", "bad")
    assert len(store.server.calls) < 60  # halving, not one by one
    await store.aclose()


@pytest.mark.parametrize("verb", ["get_many", "get_entries", "put_many"])
async def test_a_batch_error_names_just_the_bad_item(verb):
    store = BatchStore()
    store.server.faults["bad"] = ZeroDivisionError()
    keys = ["a", "bad", "b"]
    with pytest.raises(BatchError) as caught:
        await getattr(store, verb)("c", dict.fromkeys(keys))
    assert list(caught.value.failed) == ["bad"]
    assert isinstance(caught.value.failed["bad"].__cause__, ZeroDivisionError)
    assert (caught.value.operation, caught.value.collection, caught.value.retryable) == (verb, "c", False)
    await store.aclose()


async def test_a_delete_is_never_sent_again_lest_the_one_who_removed_it_be_told_otherwise():
    store = BatchStore()
    store.server.faults["bad"] = ZeroDivisionError()
    with pytest.raises(BatchError) as caught:
        await store.delete_many("c", ["a", "bad"])
    assert set(caught.value.failed) == {"a", "bad"}
    assert store.server.sizes("delete") == [2]
    await store.aclose()


@BOTH
async def test_one_damaged_item_fails_one_caller(kind):
    store = kind()
    await store.put_many("c", {key: key for key in "abc"})
    damage(store, "b")
    (failure,) = await failures_of(*[store.get("c", key) for key in "abc"])
    assert type(failure) is IntegrityError
    assert "'b'" in str(failure)
    with pytest.raises(BatchError) as caught:
        await store.get_many("c", ["a", "b", "c"])
    assert {key: type(error) for key, error in caught.value.failed.items()} == {"b": IntegrityError}
    await store.put("c", "b", "mended")
    assert await store.get("c", "b") == "mended"
    await store.aclose()


async def test_an_unavailable_engine_is_asked_once_a_batch():
    store = BatchStore()
    await store.ping()
    store.server.faults = dict.fromkeys("abcd", ConnectionResetError())
    failures = await failures_of(*[store.get("c", key) for key in "abcd"])
    assert [type(failure) for failure in failures] == [StoreUnavailableError] * 4
    assert store.server.sizes("read") == [1, 3]
    await store.aclose()


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (TimeoutError(), StoreTimeoutError),
        (OSError(), StoreUnavailableError),
        (ValueError("a secret"), StoreError),
        (ValueTooLargeError("too large"), ValueTooLargeError),
    ],
)
async def test_what_drivers_raise_becomes_an_error_of_ours(raised, expected):
    store = BatchStore()
    store.server.faults["k"] = raised
    with pytest.raises(expected) as caught:
        await store.put("c", "k", 1)
    assert type(caught.value) is expected
    assert caught.value is not raised
    assert caught.value.__cause__ is raised
    assert "a secret" not in str(caught.value)
    await store.aclose()


async def test_an_error_raised_in_many_callers_is_one_each_and_does_not_grow():
    store = BatchStore()
    await store.ping()
    shared = StoreUnavailableError("down")
    store.server.faults = dict.fromkeys(map(str, range(50)), shared)
    for _ in range(3):
        failures = await failures_of(*[store.get("c", f"{number}") for number in range(50)])
        assert len({id(failure) for failure in failures}) == 50
        assert all(failure is not shared for failure in failures)
        assert max(len(traceback.extract_tb(failure.__traceback__)) for failure in failures) < 12
    await store.aclose()


async def test_outcome_errors_given_to_many_callers_do_not_grow():
    damaged = IntegrityError("damaged")

    class Damaged(BatchStore):
        async def _read(self, refs):
            await turns(1)
            return [damaged] * len(refs)

    store = Damaged()
    for _ in range(30):
        await failures_of(*[store.get("c", "k") for _ in range(10)])
    with pytest.raises(BatchError):
        await store.get_many("c", ["a", "b"])
    assert damaged.__traceback__ is None
    await store.aclose()


@pytest.mark.parametrize("answer", [[], [None] * 5, None, 7])
async def test_a_hook_with_the_wrong_number_of_outcomes_is_told_so(answer):
    class Wrong(BatchStore):
        async def _read(self, refs):
            await turns(1)
            return answer

    store = Wrong()
    failures = await failures_of(*[store.get("c", key) for key in "abc"])
    assert len(failures) == 3
    assert all(type(failure) is StoreError for failure in failures)
    assert all("Wrong: the read hook gave" in str(failure) for failure in failures)
    await store.aclose()


async def test_batches_see_no_variables_of_a_caller():
    variable = contextvars.ContextVar("variable", default="nothing")
    seen = []

    class Seeing(BatchStore):
        async def _write(self, records):
            seen.append(variable.get())
            return await super()._write(records)

    store = Seeing()

    async def caller(key):
        variable.set(key)
        await store.put("c", key, 1)

    await asyncio.gather(*map(caller, "abcd"))
    assert set(seen) == {"nothing"}
    await store.aclose()


async def test_a_lost_write_does_not_land_after_a_destroy():
    for name in ("destroy", "destroy_collection"):
        store = BatchStore()
        await store.ping()
        gate = held(store)
        lost = asyncio.create_task(store.put("c", "k", 1))
        await turns(3)
        lost.cancel()
        destroying = asyncio.create_task(store.destroy() if name == "destroy" else store.destroy_collection("c"))
        await turns(5)
        gate.set()
        assert await destroying
        await turns(20)
        assert store.server.data == {}
        await store.aclose()


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


async def test_expired_entries_are_culled_after_a_thousand_writes_with_a_ttl(monkeypatch):
    store = BatchStore(clock=Clock())
    await store.put_many("c", {f"{number}": 1 for number in range(999)}, ttl=5)
    await store.put_many("c", {f"stays {number}": 1 for number in range(2000)})
    await turns(20)
    assert "cull" not in store.events
    store.clock.now += 10
    await store.put_if_absent("c", "last", 1, ttl=5)
    await turns(20)
    assert store.events.count("cull") == 1
    assert len(store.server.data) == 2001
    await store.aclose()


async def test_expired_entries_are_culled_after_a_minute():
    store = BatchStore(clock=Clock())
    await store.put("c", "k", 1, ttl=5)
    store.clock.now += 61
    await store.put("c", "other", 1)
    await turns(20)
    assert store.events.count("cull") == 1
    assert list(store.server.data) == [("c", "other")]
    store.clock.now += 61
    await store.put("c", "other", 1)
    await turns(20)
    assert store.events.count("cull") == 1  # nothing was written with a ttl since
    await store.touch("c", "other", ttl=5)
    await turns(20)
    assert store.events.count("cull") == 2
    await store.aclose()


async def test_one_cull_runs_at_a_time():
    class SlowToCull(BatchStore):
        async def _cull(self, now):
            self.events.append("cull")
            await finish.wait()
            return 0

    finish = asyncio.Event()
    store = SlowToCull(clock=Clock())
    for _ in range(3):
        await store.put_many("c", {f"{number}": 1 for number in range(1000)}, ttl=5)
    assert store.events.count("cull") == 1
    finish.set()
    await store.aclose()
    assert store.events == ["open", "cull", "close"]


@pytest.mark.parametrize("how", ["itself", "cannot"])
async def test_stores_that_cull_themselves_or_cannot_are_left_alone(how):
    class Cannot(BatchStore):
        _cull = None

    store = BatchStore(native_expiry=True, clock=Clock()) if how == "itself" else Cannot(clock=Clock())
    store.clock.now += 61
    await store.put_many("c", {f"{number}": 1 for number in range(1500)}, ttl=5)
    await turns(20)
    assert store.events == ["open"]
    await store.aclose()


async def test_a_failing_cull_is_logged_and_harms_nobody(caplog, monkeypatch):
    class FailsToCull(BatchStore):
        async def _cull(self, now):
            raise OSError

    monkeypatch.setattr(reclaiming, "AFTER_DEADLINES", 1)
    store = FailsToCull()
    with caplog.at_level(logging.WARNING, "satchel"):
        await store.put("c", "k", 1, ttl=5)
        await turns(20)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await store.aclose()


async def test_a_capability_lost_at_opening_is_refused_also_in_the_first_call():
    class Old(BatchStore):
        async def _open(self):
            self._missing = Capability.CONDITIONAL | Capability.DESTROY_STORE

    for call in (
        lambda store: store.put_if_absent("c", "k", 1),
        lambda store: store.touch("c", "k", ttl=1),
        lambda store: store.destroy(),
    ):
        store = Old()
        with pytest.raises(UnsupportedOperationError):
            await call(store)
        assert store.server.calls == []
        await store.aclose()


def test_capabilities_follow_from_the_hooks():
    class Fewer(BatchStore):
        _keys = None
        _touch = None

    everything = ~Capability.WATCH
    assert BatchStore().capabilities == everything
    assert SingleStore().capabilities == everything
    assert Fewer().capabilities == everything & ~Capability.ENUMERATE_KEYS & ~Capability.CONDITIONAL


async def test_listing_closes_its_pages_when_it_ends_early():
    class Pages(BatchStore):
        async def _keys(self, collection, prefix, now):
            try:
                for start in range(0, 100, 10):
                    yield [str(number) for number in range(start, start + 10)]
            finally:
                self.events.append("pages closed")

    store = Pages()
    assert [key async for key in store.keys("c", limit=15)] == [str(number) for number in range(15)]
    assert store.events == ["open", "pages closed"]
    assert [key async for key in store.keys("c", limit=0)] == []
    listing = store.keys("c")
    await anext(listing)
    await listing.aclose()
    assert store.events == ["open", "pages closed", "pages closed"]
    assert len([key async for key in store.keys("c")]) == 100
    await store.aclose()


async def test_the_read_of_one_entry_opens_the_store_counts_and_names_what_failed():
    store = BatchStore(clock=Clock())
    assert await store.get("c", "k") is None
    assert store.events == ["open"]
    await store.put("c", "k", 1)
    assert await store.get("c", "k") == 1
    store.server.faults["k"] = ConnectionResetError()
    with pytest.raises(StoreUnavailableError) as caught:
        await store.get("c", "k")
    error = caught.value
    assert (error.store, error.operation, error.collection, error.key) == (repr(store), "get", "c", "k")
    del store.server.faults["k"]
    gate = held(store)
    reading = asyncio.create_task(store.get("c", "k"))
    await turns(2)
    closing = asyncio.create_task(store.aclose())
    await turns(5)
    assert not closing.done()
    gate.set()
    assert await reading == 1
    await closing
    with pytest.raises(StoreError) as caught:
        await store.get("c", "k")
    assert caught.value.operation == "get"


async def test_a_record_of_a_kind_of_the_stores_own_expires_as_any():
    class OwnRecord(Record, frozen=True):
        row: int = 7

    class Own(BatchStore):
        async def _read(self, refs):
            records = await super()._read(refs)
            return [record and OwnRecord(**msgspec.structs.asdict(record)) for record in records]

    store = Own(clock=Clock())
    await store.put("c", "k", 1, ttl=5)
    await store.put("c", "for ever", 1)
    assert await store.get("c", "k") == 1
    store.clock.now += 5
    assert await store.get("c", "k") is None
    assert await store.get("c", "for ever") == 1
    assert await store.get("c", "none") is None
    await store.aclose()


async def test_expired_entries_are_absent_on_every_path():
    store = BatchStore(clock=Clock())
    await store.put("c", "k", 1, ttl=5)
    assert await store.exists("c", "k")
    entry = await store.get_entry("c", "k")
    assert entry.ttl == 5
    store.clock.now += 5
    assert await store.get("c", "k", "default") == "default"
    assert await store.get_entry("c", "k") is None
    assert not await store.exists("c", "k")
    assert await store.get_many("c", ["k"]) == {}
    assert await store.get_entries("c", ["k"]) == {}
    assert not await store.touch("c", "k", ttl=5)
    assert await store.compare_and_put("c", "k", 1, version=entry.version) is None
    assert not await store.compare_and_delete("c", "k", version=entry.version)
    assert not await store.delete("c", "k")
    await store.aclose()


async def test_a_value_too_large_for_the_backend_is_refused_before_it():
    store = BatchStore(max_value_bytes=10)
    with pytest.raises(ValueTooLargeError, match=r"12 bytes.*at most 10"):
        await store.put("c", "k", "x" * 10)
    assert store.events == []
    await store.aclose()


@pytest.mark.parametrize("sealed", [True, False])
async def test_a_record_keeps_the_names_that_the_backend_cannot_give_back(sealed):
    class Hashing(BatchStore):
        def _embedded_ref(self, ref):
            return ref if len(ref[1]) > 5 else None

    store = Hashing(sealed=sealed)
    await store.put_many("c", {"short": 1, "longer than that": 2})
    names = {key: record.names for (_, key), record in store.server.data.items()}
    assert names == {"short": None, "longer than that": ("c", "longer than that")}
    assert await store.get_many("c", names) == {"short": 1, "longer than that": 2}
    await store.aclose()
