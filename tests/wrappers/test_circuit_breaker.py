import asyncio
import pickle

import pytest

from satchel import (
    ConfigurationError,
    IntegrityError,
    InvalidKeyError,
    MemoryStore,
    SerializationError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    open_store,
)
from satchel.errors import CircuitOpenError
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import CircuitBreakerWrapper, PrefixKeysWrapper, RetryWrapper
from tests.wrappers.failing import Failing, Listing, collect
from tests.wrappers.test_retry import VERBS, Pauses


@pytest.fixture
def clock():
    return FakeClock(0)


@pytest.fixture
def inner():
    return Failing()


def breaking(inner, clock, **options):
    return CircuitBreakerWrapper(inner, **{"failures": 3, "window": 30, "reset_after": 10, "clock": clock, **options})


async def fails(store, count=1, error=StoreUnavailableError):
    for _ in range(count):
        with pytest.raises(error) as failure:
            await store.get("c", "k")
        assert type(failure.value) is error


async def test_it_opens_after_so_many_failures_and_closes_after_a_success(inner, clock):
    store = breaking(inner, clock)
    inner.fail_next(3)
    await fails(store, 2)
    assert store.state == "closed"
    await fails(store)
    assert store.state == "open"
    asked = len(inner.asked)
    await fails(store, 5, CircuitOpenError)
    assert len(inner.asked) == asked
    clock.advance(9.9)
    await fails(store, 1, CircuitOpenError)
    clock.advance(0.2)
    assert store.state == "half-open"
    assert await store.get("c", "k") is None
    assert store.state == "closed"


async def test_a_probe_that_fails_opens_it_again_for_the_whole_time(inner, clock):
    store = breaking(inner, clock)
    inner.fail_next(4)
    await fails(store, 3)
    clock.advance(11)
    await fails(store)
    assert store.state == "open"
    clock.advance(9)
    await fails(store, 1, CircuitOpenError)
    clock.advance(2)
    await store.get("c", "k")
    assert store.state == "closed"
    inner.fail_next(2)
    await fails(store, 2)
    assert store.state == "closed"  # it counts from the beginning


@pytest.mark.parametrize("operation", VERBS)
async def test_every_verb_is_refused_and_names_what_the_caller_asked(operation, inner, clock):
    store = breaking(inner, clock, failures=1)
    inner.fail_next()
    await fails(store)
    clock.advance(4)
    with pytest.raises(CircuitOpenError, match=f"{operation} of .*tried again in 6 s") as refusal:
        await getattr(store, operation)(*VERBS[operation])
    error = refusal.value
    assert (error.operation, error.retry_after, error.retryable) == (operation, 6, True)
    assert error.collection == (VERBS[operation][0] if VERBS[operation] else None)
    again = pickle.loads(pickle.dumps(error))
    assert (again.retry_after, again.operation) == (6, operation)


async def test_an_outer_wrapper_renames_the_refusal(inner, clock):
    store = PrefixKeysWrapper(breaking(inner, clock, failures=1), prefix="p")
    inner.fail_next()
    await fails(store)
    with pytest.raises(CircuitOpenError, match="of key 'k' in") as refusal:
        await store.get("c", "k")
    assert (refusal.value.key, refusal.value.retry_after) == ("k", 10)


@pytest.mark.parametrize(
    "error", [IntegrityError("damaged"), StoreError("no permission"), SerializationError("no such codec")]
)
async def test_other_errors_are_no_failures(error, inner, clock):
    store = breaking(inner, clock, failures=1)
    inner.fail_next(5, error=error)
    await fails(store, 5, type(error))
    assert store.state == "closed"


async def test_bad_input_is_neither_a_failure_nor_a_success(inner, clock):
    store = breaking(inner, clock, failures=1)
    for _ in range(3):
        with pytest.raises(InvalidKeyError):
            await store.get("c", "")
    assert store.state == "closed"
    inner.fail_next()
    await fails(store)
    clock.advance(11)
    with pytest.raises(InvalidKeyError):
        await store.get("c", "")
    assert store.state == "half-open"
    await store.get("c", "k")
    assert store.state == "closed"


async def test_timeouts_and_failed_parts_of_batches_are_failures(inner, clock):
    store = breaking(inner, clock, failures=2)
    inner.fail_next(error=StoreTimeoutError("late"))
    await fails(store, 1, StoreTimeoutError)
    inner.failing = {"b": [StoreUnavailableError("lost")]}
    with pytest.raises(StoreError):
        await store.get_many("c", ["a", "b"])
    assert store.state == "open"


async def test_damaged_parts_of_batches_are_no_failures(inner, clock):
    store = breaking(inner, clock, failures=1)
    inner.failing = {"b": [IntegrityError("damaged")]}
    with pytest.raises(StoreError):
        await store.get_many("c", ["a", "b"])
    assert store.state == "closed"


async def test_failures_count_within_the_window_alone(inner, clock):
    store = breaking(inner, clock)
    inner.fail_next(5)
    await fails(store, 2)
    clock.advance(31)
    await fails(store, 2)
    assert store.state == "closed"
    await fails(store)
    assert store.state == "open"


async def test_a_few_failures_among_many_calls_do_not_open_it(inner, clock):
    store = breaking(inner, clock, share=0.5)
    for _ in range(20):
        inner.fail_next()
        await fails(store)
        await store.get("c", "k")
        await store.get("c", "k")
    assert store.state == "closed"
    inner.fail_next(2)
    await fails(store, 2)  # three of the last five
    assert store.state == "open"


async def open_it(store, inner, clock):
    inner.fail_next(store._failed.maxlen)
    await fails(store, store._failed.maxlen)
    clock.advance(10)
    inner.hang = asyncio.Event()


@pytest.mark.parametrize("probes", [1, 2])
async def test_so_many_probes_at_once_and_no_more(probes, inner, clock):
    store = breaking(inner, clock, probes=probes)
    await open_it(store, inner, clock)
    asked = len(inner.asked)
    calls = [asyncio.create_task(store.get("c", f"k{number}")) for number in range(6)]
    for _ in range(5):
        await asyncio.sleep(0)
    refused = [call for call in calls if call.done()]
    assert len(refused) == 6 - probes
    assert {type(call.exception()) for call in refused} == {CircuitOpenError}
    assert {call.exception().retry_after for call in refused} == {0}
    inner.hang.set()
    await asyncio.gather(*set(calls) - set(refused))
    assert sum(len(keys) for _, keys in inner.asked[asked:]) == probes
    assert store.state == "closed"


async def test_a_cancelled_probe_leaves_its_place(inner, clock):
    store = breaking(inner, clock)
    await open_it(store, inner, clock)
    call = asyncio.create_task(store.get("c", "k"))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert store.state == "half-open"
    inner.hang = None
    await store.get("c", "k")
    assert store.state == "closed"


async def test_calls_from_before_it_opened_do_not_decide_afterwards(clock):
    class Late(MemoryStore):
        async def get(self, collection, key, default=None):
            return await outcomes[key]

    loop = asyncio.get_running_loop()
    outcomes = {key: loop.create_future() for key in ("good", "bad", "bad1", "bad2", "bad3")}
    store = breaking(Late(), clock)
    calls = {key: asyncio.create_task(store.get("c", key)) for key in outcomes}
    await asyncio.sleep(0)
    for key in ("bad1", "bad2", "bad3"):
        outcomes[key].set_exception(StoreUnavailableError("lost"))
    await asyncio.gather(*[calls[key] for key in ("bad1", "bad2", "bad3")], return_exceptions=True)
    assert store.state == "open"
    outcomes["good"].set_result(1)
    assert await calls["good"] == 1
    assert store.state == "open"
    clock.advance(10)
    outcomes["bad"].set_exception(StoreUnavailableError("lost"))
    with pytest.raises(StoreUnavailableError):
        await calls["bad"]
    assert store.state == "half-open"


async def test_of_two_probes_one_that_fails_first_keeps_it_open(clock):
    class Late(MemoryStore):
        async def get(self, collection, key, default=None):
            return await outcomes[key]

    loop = asyncio.get_running_loop()
    outcomes = {key: loop.create_future() for key in ("bad", "worse", "good")}
    store = breaking(Late(), clock, failures=1, probes=2)
    outcomes["bad"].set_exception(StoreUnavailableError("lost"))
    with pytest.raises(StoreUnavailableError):
        await store.get("c", "bad")
    clock.advance(10)
    probes = {key: asyncio.create_task(store.get("c", key)) for key in ("worse", "good")}
    await asyncio.sleep(0)
    outcomes["worse"].set_exception(StoreUnavailableError("lost"))
    await asyncio.wait([probes["worse"]])
    assert isinstance(probes["worse"].exception(), StoreUnavailableError)
    clock.advance(1)
    outcomes["good"].set_result(1)
    assert await probes["good"] == 1
    assert store.state == "open"


async def test_steps_of_a_listing_count_too(clock):
    store = breaking(Listing("abc", fail_at=[2]), clock, failures=1)
    found = []
    with pytest.raises(StoreUnavailableError):
        await collect(found, store.keys("c"))
    assert (found, store.state) == (["a", "b"], "open")
    with pytest.raises(CircuitOpenError, match="keys of"):
        await collect(found, store.keys("c"))


async def test_a_circuit_that_opens_ends_the_attempts(clock):
    inner = FlakyStore(failure_rate=1)
    pauses = Pauses()
    store = RetryWrapper(breaking(inner, clock), attempts=10, max_pause=5, first_pause=0.1, sleep=pauses)
    with pytest.raises(CircuitOpenError):
        await store.get("c", "k")
    assert len(pauses) == 3


async def test_what_it_does_is_logged(inner, clock, caplog):
    store = breaking(inner, clock, failures=1)
    inner.fail_next()
    await fails(store)
    clock.advance(10)
    await store.get("c", "k")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "is open for 10 s" in caplog.messages[0]
    assert "is closed again" in caplog.messages[1]


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        ("failures", 0),
        ("failures", 1.5),
        ("probes", 0),
        ("window", 0),
        ("reset_after", float("nan")),
        ("share", 0),
        ("share", 1.1),
        ("clock", 5),
    ],
)
def test_a_bad_option_is_refused(option, bad):
    with pytest.raises(ConfigurationError, match=option):
        CircuitBreakerWrapper(MemoryStore(), **{option: bad})


async def test_a_url_opens_it():
    async with open_store("memory://?wrap=circuit_breaker(failures=3,reset_after=2)") as store:
        assert store.state == "closed"
