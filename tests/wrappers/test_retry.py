import asyncio
import logging
from datetime import timedelta
from types import SimpleNamespace

import pytest

from satchel import (
    BatchError,
    ConfigurationError,
    IntegrityError,
    InvalidKeyError,
    MemoryStore,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
    open_store,
)
from satchel.errors import CircuitOpenError
from satchel.testing import FlakyStore
from satchel.wrappers import PrefixKeysWrapper, RetryWrapper, retry
from tests.wrappers.failing import Failing, Listing, collect


class Pauses(list):
    async def __call__(self, seconds):
        self.append(seconds)
        await asyncio.sleep(0)


def retrying(inner, **options):
    return RetryWrapper(inner, **{"sleep": Pauses(), "seed": 1, **options})


def lost():
    return StoreUnavailableError("lost")


VERBS = {
    "get": ("c", "k"),
    "get_entry": ("c", "k"),
    "exists": ("c", "k"),
    "get_many": ("c", ["k"]),
    "get_entries": ("c", ["k"]),
    "put": ("c", "k", 2),
    "put_many": ("c", {"k": 2}),
    "delete": ("c", "k"),
    "delete_many": ("c", ["k"]),
    "put_if_absent": ("c", "new", 2),
    "ping": (),
    "cull": (),
    "destroy": (),
    "destroy_collection": ("c",),
}


@pytest.mark.parametrize("operation", VERBS)
async def test_every_verb_is_made_again_until_it_succeeds(operation):
    inner, reference = FlakyStore(), FlakyStore()
    for each in (inner, reference):
        await each.put("c", "k", 1)
    expected = await getattr(reference, operation)(*VERBS[operation])
    inner.fail_next(3)
    found = await getattr(retrying(inner), operation)(*VERBS[operation])
    assert type(found) is type(expected)
    if operation not in ("get_entry", "get_entries", "put_if_absent"):
        assert found == expected


async def test_pauses_have_full_jitter_up_to_a_bound_that_doubles():
    draws = []
    for seed in range(200):
        inner = FlakyStore()
        inner.fail_next(5)
        store = retrying(inner, attempts=6, first_pause=1, max_pause=4, seed=seed, deadline=None)
        await store.get("c", "k")
        draws.append(store._sleep)
    assert all(len(pauses) == 5 for pauses in draws)
    for at, bound in enumerate([1, 2, 4, 4, 4]):
        column = [pauses[at] for pauses in draws]
        assert 0 <= min(column) < bound * 0.1
        assert bound * 0.9 < max(column) <= bound


async def test_a_seed_makes_the_pauses_the_same():
    pauses = []
    for _ in range(2):
        inner = FlakyStore()
        inner.fail_next(3)
        store = retrying(inner, seed=7)
        await store.put("c", "k", 1)
        pauses.append(store._sleep)
    assert pauses[0] == pauses[1] != []


@pytest.mark.parametrize("error", [IntegrityError("damaged"), StoreError("no permission"), ValueTooLargeError("large")])
async def test_what_is_not_retryable_is_raised_at_once(error):
    inner = FlakyStore()
    inner.fail_next(error=error)
    store = retrying(inner)
    with pytest.raises(type(error)):
        await store.put("c", "k", 1)
    assert store._sleep == []


async def test_bad_input_is_raised_at_once():
    store = retrying(FlakyStore(failure_rate=1))
    for bad in ("", None, ["k"]):
        with pytest.raises(InvalidKeyError):
            await store.get("c", bad)
    assert store._sleep == []


async def test_after_the_last_attempt_the_failure_is_raised_with_the_callers_names():
    inner = Failing()
    store = PrefixKeysWrapper(retrying(inner, attempts=3), prefix="p")
    inner.fail_after = 9
    with pytest.raises(StoreUnavailableError) as failure:
        await store.get("c", "k")
    assert (failure.value.collection, failure.value.key, failure.value.operation) == ("c", "k", "get")
    assert len(inner.asked) == 3


async def test_the_deadline_cuts_off_what_hangs():
    inner = Failing()
    inner.hang = asyncio.Event()
    with pytest.raises(StoreTimeoutError, match=r"no success within 0\.02 s") as failure:
        await RetryWrapper(inner, deadline=0.02).get("c", "k")
    assert (failure.value.operation, failure.value.collection, failure.value.key) == ("get", "c", "k")
    assert failure.value.retryable


async def test_the_deadline_is_for_all_attempts():
    inner = FlakyStore(latency=0.01, failure_rate=1)
    async with asyncio.timeout(50):
        with pytest.raises(StoreTimeoutError):
            await RetryWrapper(inner, attempts=100, first_pause=1e-9, max_pause=1e-9, deadline=0.05).get("c", "k")


async def test_a_pause_that_would_pass_the_deadline_is_not_made():
    store = retrying(FlakyStore(failure_rate=1), first_pause=1000, max_pause=1000, deadline=5)
    with pytest.raises(StoreUnavailableError):
        await store.get("c", "k")
    assert store._sleep == []


async def test_of_a_put_many_only_the_keys_that_failed_are_sent_again():
    inner = Failing()
    inner.failing = {"b": [lost(), lost()], "d": [lost()]}
    await retrying(inner).put_many("c", dict.fromkeys("abcd", 1))
    assert inner.asked == [("write", ["a", "b", "c", "d"]), ("write", ["b", "d"]), ("write", ["b"])]
    assert await inner.get_many("c", ["a", "b", "c", "d"]) == dict.fromkeys("abcd", 1)


async def test_a_put_many_says_in_the_end_which_keys_failed():
    inner = Failing()
    inner.failing = {"b": [lost() for _ in range(9)], "d": [lost()], "e": [IntegrityError("damaged")]}
    with pytest.raises(BatchError) as failure:
        await retrying(inner).put_many("c", dict.fromkeys("abcde", 1))
    assert {key: type(error) for key, error in failure.value.failed.items()} == {
        "b": StoreUnavailableError,
        "e": IntegrityError,
    }
    assert failure.value.collection == "c"
    assert len(inner.asked) == 4


async def test_what_was_written_is_not_said_to_have_failed_when_the_store_goes_away():
    class Leaving(Failing):
        async def put_many(self, collection, items, *, ttl=None):
            if self.asked:
                raise StoreUnavailableError("away")
            await super().put_many(collection, items, ttl=ttl)

    inner = Leaving()
    inner.failing = {"b": [lost()]}
    with pytest.raises(BatchError) as failure:
        await retrying(inner).put_many("c", {"a": 1, "b": 2})
    assert list(failure.value.failed) == ["b"]


@pytest.mark.parametrize("operation", ["get_many", "get_entries"])
async def test_of_a_batch_of_reads_the_keys_that_failed_are_read_alone_and_the_rest_once_more(operation):
    inner = Failing()
    await inner.put_many("c", {"a": 1, "b": None, "d": 3})
    inner.asked.clear()
    inner.failing = {"d": [lost(), lost()], "a": [lost()]}
    found = await getattr(retrying(inner), operation)("c", ["d", "b", "x", "a"])
    assert list(found) == ["d", "b", "a"]
    values = found if operation == "get_many" else {key: entry.value for key, entry in found.items()}
    assert values == {"d": 3, "b": None, "a": 1}
    asked = [keys for _, keys in inner.asked]
    assert asked[0] == ["d", "b", "x", "a"]
    assert sorted(asked[1:]) == [["a"], ["b", "x"], ["d"], ["d", "a"]]


async def test_a_read_of_a_damaged_entry_among_others_is_not_made_again():
    inner = Failing()
    inner.failing = {"a": [lost()], "b": [IntegrityError("damaged")]}
    with pytest.raises(BatchError) as failure:
        await retrying(inner).get_many("c", ["a", "b", "d"])
    assert set(failure.value.failed) == {"a", "b"}
    assert len(inner.asked) == 1


async def test_a_delete_that_was_made_and_failed_says_false():
    inner = Failing()
    await inner.put_many("c", {"a": 1, "b": 2, "d": 3})
    inner.fail_after = 1
    assert await retrying(inner).delete("c", "a") is False
    inner.failing = {"b": [lost()]}
    assert await retrying(inner).delete_many("c", ["b", "d"]) == 0
    assert await inner.get_many("c", ["a", "b", "d"]) == {}


async def test_a_put_if_absent_that_finds_its_own_write_raises():
    inner = Failing()
    inner.fail_after = 1
    with pytest.raises(StoreUnavailableError, match="done, and failed"):
        await retrying(inner).put_if_absent("c", "k", 1)
    assert await inner.get("c", "k") == 1


async def test_a_compare_and_put_that_finds_its_own_write_raises():
    inner = Failing()
    version = await inner.put_if_absent("c", "k", 1)
    inner.fail_after = 1
    with pytest.raises(StoreUnavailableError):
        await retrying(inner).compare_and_put("c", "k", 2, version=version)
    assert await inner.get("c", "k") == 2


async def test_a_compare_and_delete_that_finds_its_own_deed_raises():
    inner = Failing()
    version = await inner.put_if_absent("c", "k", 1)
    inner.fail_after = 1
    with pytest.raises(StoreUnavailableError):
        await retrying(inner).compare_and_delete("c", "k", version=version)


async def test_conditional_writes_that_did_not_happen_are_made_again():
    inner = FlakyStore()
    store = retrying(inner)
    inner.fail_next(2)
    version = await store.put_if_absent("c", "k", 1)
    inner.fail_next(2)
    later = await store.compare_and_put("c", "k", 2, version=version)
    assert (await inner.get_entry("c", "k")).version == later != version
    inner.fail_next(2)
    assert await store.compare_and_delete("c", "k", version=later) is True


async def test_a_lost_race_is_told_where_there_is_no_doubt():
    inner = FlakyStore()
    await inner.put("c", "k", 1)
    store = retrying(inner)
    assert await store.put_if_absent("c", "k", 2) is None
    inner.fail_next(error=CircuitOpenError("refused", retry_after=0.1))  # nothing was sent
    assert await store.put_if_absent("c", "k", 2) is None
    assert len(store._sleep) == 1


async def test_a_touch_made_twice_says_what_there_is():
    inner = Failing()
    await inner.put("c", "k", 1)
    inner.fail_after = 1
    assert await retrying(inner).touch("c", "k", ttl=60) is True


@pytest.mark.parametrize("verb", ["keys", "collections"])
async def test_a_listing_begins_anew_as_long_as_it_has_given_nothing(verb):
    inner = Listing("abc", fail_at=[0, 0])
    listing = retrying(inner).keys("c") if verb == "keys" else retrying(inner).collections()
    assert [name async for name in listing] == ["a", "b", "c"]


async def test_a_listing_that_has_given_a_name_fails_rather_than_end_early_or_repeat():
    store = retrying(Listing("abc", fail_at=[2]))
    found = []
    with pytest.raises(StoreUnavailableError):
        await collect(found, store.keys("c"))
    assert found == ["a", "b"]
    assert store._sleep == []


async def test_a_cancellation_is_never_swallowed():
    inner = Failing()
    inner.hang = asyncio.Event()
    for store in (retrying(inner), retrying(FlakyStore(failure_rate=1), sleep=asyncio.sleep, first_pause=2, seed=0)):
        call = asyncio.create_task(store.get("c", "k"))
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert call.cancelled()


async def test_an_open_circuit_is_waited_out_where_that_is_soon():
    inner = FlakyStore()
    inner.fail_next(error=CircuitOpenError("refused", retry_after=1.5))
    store = retrying(inner, max_pause=2)
    await store.put("c", "k", 1)
    assert 1.5 <= store._sleep[0] < 1.6
    inner.fail_next(error=CircuitOpenError("refused", retry_after=2.5))
    with pytest.raises(CircuitOpenError):
        await store.put("c", "k", 1)


async def test_retries_are_logged_without_values(caplog):
    caplog.set_level(logging.DEBUG, "satchel")
    inner = FlakyStore()
    inner.fail_next()
    await retrying(inner).put("c", "k", "hunter2")
    assert "makes put again" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        ("attempts", 0),
        ("attempts", 101),
        ("attempts", True),
        ("first_pause", 0),
        ("first_pause", float("nan")),
        ("max_pause", "1"),
        ("max_pause", 0.01),
        ("deadline", 0),
        ("deadline", float("inf")),
        ("sleep", 1),
        ("seed", 1.5),
    ],
)
def test_a_bad_option_is_refused(option, bad):
    with pytest.raises(ConfigurationError, match=option):
        RetryWrapper(MemoryStore(), **{option: bad})


async def test_a_url_opens_it():
    async with open_store("memory://?wrap=retry(attempts=2,deadline=1.5)") as store:
        assert type(store) is RetryWrapper
        assert repr(store.describe()) == "Description('memory://?wrap=retry(attempts=2,deadline=1.5)')"


@pytest.fixture
def passing(monkeypatch):
    """Let two seconds pass in each pause."""
    now = [0.0]

    async def sleep(_seconds):
        now[0] += 2

    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return sleep


@pytest.mark.parametrize("ttl", [10, timedelta(seconds=10)])
async def test_a_ttl_counts_from_the_call(passing, ttl):
    inner = FlakyStore()
    inner.fail_next(3)
    store = retrying(inner, sleep=passing)
    await store.put("c", "k", 1, ttl=ttl)
    assert 3 < (await inner.get_entry("c", "k")).ttl <= 4
    inner.fail_next()
    await store.put_many("c", {"k": 1}, ttl=ttl)
    assert 7 < (await inner.get_entry("c", "k")).ttl <= 8


async def test_no_attempt_is_made_after_a_ttl_is_over(passing):
    inner = FlakyStore()
    inner.fail_next(3)
    with pytest.raises(StoreUnavailableError):
        await retrying(inner, sleep=passing).put("c", "k", 1, ttl=3)
    assert await inner.get("c", "k") is None
