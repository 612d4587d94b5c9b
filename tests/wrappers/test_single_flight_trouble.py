"""Factories that fail, callers that are cancelled, stores that close, and input that is refused."""

import asyncio
import contextlib
import gc

import pytest

from satchel import (
    BatchError,
    ConfigurationError,
    InvalidKeyError,
    InvalidTTLError,
    MemoryStore,
    SerializationError,
    StoreClosedError,
    StoreUnavailableError,
)
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import EventsWrapper, OnErrorWrapper, SingleFlightWrapper, Stored
from tests.scripted import turns
from tests.wrappers.single_flight import Factory, other_tasks


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return SingleFlightWrapper(MemoryStore(clock=clock))


async def test_an_error_reaches_all_who_wait_as_one_of_their_own_and_is_not_kept(store):
    class OddError(Exception):
        def __init__(self, code):
            super().__init__(f"code {code}")
            self.code = code

    reason = ValueError("why")
    failure = OddError(5)
    failure.__cause__ = reason
    factory = Factory(failure, "fine")
    errors = await asyncio.gather(*[store.get_or_put("c", "k", factory) for _ in range(4)], return_exceptions=True)
    assert [(type(error), str(error), error.code, error.__cause__) for error in errors] == [
        (OddError, "code 5", 5, reason)
    ] * 4
    assert len(set(map(id, errors))) == 4
    assert factory.runs == 1
    assert await store.exists("c", "k") is False
    assert await store.get_or_put("c", "k", factory) == "fine"


@pytest.mark.parametrize(
    "failure",
    [
        OSError(2, "no such file", "name"),
        KeyError("k"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ExceptionGroup("several", [ValueError("a")]),
        BatchError("some", failed={}),
        StoreUnavailableError("down", key="k"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_errors_of_all_kinds_are_copied_with_the_first_as_their_cause(store, failure):
    errors = await asyncio.gather(
        *[store.get_or_put("c", "k", Factory(failure)) for _ in "abc"], return_exceptions=True
    )
    assert [(type(error), str(error), error.args) for error in errors] == [
        (type(failure), str(failure), failure.args)
    ] * 3
    assert len(set(map(id, errors))) == 3
    assert [error.__cause__ for error in errors if error is not failure] == [failure] * 2


async def test_an_error_that_cannot_be_copied_is_raised_all_the_same(store):
    class FinalError(Exception):
        def __new__(cls, *, code):
            return super().__new__(cls)

        def __init__(self, *, code):
            super().__init__("final")

    failure = FinalError(code=1)
    errors = await asyncio.gather(*[store.get_or_put("c", "k", Factory(failure)) for _ in "ab"], return_exceptions=True)
    assert errors == [failure, failure]


async def test_an_error_that_callers_get_is_not_logged(store, caplog):
    with pytest.raises(ValueError, match="no"):
        await store.get_or_put("c", "k", Factory(ValueError("no")))
    assert caplog.records == []


async def test_a_result_that_cannot_be_stored_is_refused_to_all(store):
    factory = Factory((1, 2), [1, 2])
    errors = await asyncio.gather(*[store.get_or_put("c", "k", factory) for _ in "ab"], return_exceptions=True)
    assert [type(error) for error in errors] == [SerializationError] * 2
    assert "put_if_absent of key 'k' in collection 'c'" in str(errors[0])
    assert await store.get_or_put("c", "k", factory) == [1, 2]


async def test_a_backend_that_cannot_be_read_says_so_and_one_that_cannot_be_written_is_logged(caplog):
    inner = FlakyStore()
    async with SingleFlightWrapper(inner) as store:
        factory = Factory(1)
        inner.fail_next(operation="read")
        with pytest.raises(StoreUnavailableError):
            await store.get_or_put("c", "k", factory)
        assert factory.runs == 0
        inner.fail_next(operation="put_if")
        assert await store.get_or_put("c", "k", factory) == 1
        assert "made but not kept: StoreUnavailableError" in caplog.text
        assert await store.get("c", "k") is None
        assert await store.get_or_put("c", "k", factory) == 1


async def test_a_cache_that_is_down_does_not_take_the_service_down():
    inner = FlakyStore()
    inner.fail_next(100)
    async with SingleFlightWrapper(OnErrorWrapper(inner, policy="lenient")) as store:
        factory = Factory(1)
        assert [await store.get_or_put("c", "k", factory) for _ in range(2)] == [1, 1]
        assert factory.runs == 2


async def test_a_cancelled_caller_does_not_cancel_the_others(store):
    factory = Factory("made", held=True)
    callers = [asyncio.create_task(store.get_or_put("c", "k", factory)) for _ in range(3)]
    await turns(20)
    callers[0].cancel()  # the one that began it
    callers[2].cancel()
    await turns(20)
    assert [caller.cancelled() for caller in callers] == [True, False, True]
    factory.gate.set()
    assert await callers[1] == "made"
    assert (factory.runs, factory.cancelled) == (1, 0)


async def test_the_factory_is_cancelled_when_all_are_and_the_next_call_begins_anew(store):
    factory = Factory("first", "second", held=True)
    callers = [asyncio.create_task(store.get_or_put("c", "k", factory)) for _ in range(3)]
    await turns(20)
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    late = asyncio.create_task(store.get_or_put("c", "k", factory))
    await turns(20)
    assert (factory.runs, factory.cancelled) == (2, 1)
    factory.gate.set()
    assert await late == "second"
    assert other_tasks() == set()


async def test_a_factory_that_will_not_be_cancelled_is_not_put(store):
    started = asyncio.Event()

    async def stubborn():
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await turns(5)
        return "stubborn"

    caller = asyncio.create_task(store.get_or_put("c", "k", stubborn))
    await started.wait()
    caller.cancel()
    await turns(2)
    assert await store.get_or_put("c", "k", Factory("new")) == "new"
    await asyncio.gather(*other_tasks(), return_exceptions=True)
    assert await store.get("c", "k") == "new"


async def test_a_timeout_of_one_caller_is_its_own(store):
    factory = Factory("made", held=True)

    async def impatient():
        async with asyncio.timeout(0.001):
            await store.get_or_put("c", "k", factory)

    patient = asyncio.create_task(store.get_or_put("c", "k", factory))
    with pytest.raises(TimeoutError):
        await impatient()
    factory.gate.set()
    assert await patient == "made"
    assert factory.runs == 1


async def test_a_factory_that_waits_for_itself_is_told(store):
    def calls(key):
        return lambda: store.get_or_put("c", key, nested[key])

    nested = {"a": calls("b"), "b": calls("c"), "c": calls("a")}
    async with asyncio.timeout(20):
        with pytest.raises(ConfigurationError, match="factory of key 'c' in collection 'c' waits for its own result"):
            await calls("a")()
    assert other_tasks() == set()


async def test_two_factories_that_wait_for_each_other_are_told(store):
    both = asyncio.Barrier(2)

    async def made_of(key):
        await both.wait()
        return await store.get_or_put("c", key, Factory("never called"))

    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(
            store.get_or_put("c", "a", lambda: made_of("b")),
            store.get_or_put("c", "b", lambda: made_of("a")),
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in outcomes] == [ConfigurationError] * 2


async def test_a_factory_that_waits_no_longer_may_be_waited_for(store):
    gave_up = asyncio.Event()

    async def a():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await store.get_or_put("c", "b", b)
        gave_up.set()
        await turns(50)
        return "a"

    async def b():
        await gave_up.wait()
        return "b with " + await store.get_or_put("c", "a", a)

    async with asyncio.timeout(20):
        made = await asyncio.gather(store.get_or_put("c", "b", b), store.get_or_put("c", "a", a))
    assert made == ["b with a", "a"]


class TestBadInput:
    @pytest.mark.parametrize("factory", [None, 5, "f"])
    async def test_what_is_no_function_is_refused(self, store, factory):
        with pytest.raises(TypeError, match="factory must be an async function without arguments, got"):
            await store.get_or_put("c", "k", factory)

    async def test_a_call_in_place_of_the_function_is_refused(self, store):
        with pytest.raises(TypeError, match="got the result of a call; pass the function itself"):
            await store.get_or_put("c", "k", Factory(1)())
        gc.collect()  # a coroutine that was never awaited would warn

    async def test_a_plain_function_is_refused(self, store):
        with pytest.raises(TypeError, match="must be an async function, but it returned int"):
            await store.get_or_put("c", "k", lambda: 5)
        assert await store.exists("c", "k") is False

    @pytest.mark.parametrize("options", [{"ttl": 0}, {"ttl": True}, {"ttl": "5"}, {"ttl": 5, "stale": -1}])
    async def test_times_are_checked_first_also_for_a_hit(self, store, options):
        await store.put("c", "k", 1)
        with pytest.raises(InvalidTTLError):
            await store.get_or_put("c", "k", Factory(1), **options)

    async def test_ttl_and_stale_together_are_bounded(self, store):
        with pytest.raises(InvalidTTLError, match="stale"):
            await store.get_or_put("c", "k", Factory(1), ttl=3e9, stale=3e9)

    @pytest.mark.parametrize(
        "options",
        [
            {"stale": 5},
            {"early": 1.0},
            *({"ttl": 5, "early": early} for early in (0, -1, True, "1", float("nan"), float("inf"), 10**5000)),
        ],
    )
    async def test_options_that_make_no_sense_are_refused(self, store, options):
        with pytest.raises(ConfigurationError):
            await store.get_or_put("c", "k", Factory(1), **options)

    @pytest.mark.parametrize("names", [("", "k"), ("c", ""), (5, "k"), ("c", None), ("c", "\ud800")])
    @pytest.mark.parametrize("options", [{}, {"ttl": 5, "stale": 5}])
    async def test_names_are_checked(self, store, names, options):
        factory = Factory(1)
        with pytest.raises(InvalidKeyError):
            await store.get_or_put(*names, factory, **options)
        assert factory.runs == 0

    @pytest.mark.parametrize("seed", ["1", 1.5, True])
    def test_a_seed_is_an_int(self, seed):
        with pytest.raises(ConfigurationError, match="seed"):
            SingleFlightWrapper(MemoryStore(), seed=seed)


async def test_closing_waits_for_what_callers_wait_for(store):
    factory = Factory("made", held=True)
    caller = asyncio.create_task(store.get_or_put("c", "k", factory))
    await turns(20)
    closing = asyncio.create_task(store.aclose())
    await turns(20)
    assert not closing.done()
    with pytest.raises(StoreClosedError, match="being closed"):
        await store.get_or_put("c", "other", factory)
    factory.gate.set()
    assert await caller == "made"
    await closing
    with pytest.raises(StoreClosedError):
        await store.get_or_put("c", "k", factory)
    assert (factory.runs, other_tasks()) == (1, set())


def test_a_loop_that_was_cut_off_leaves_nothing_that_the_next_one_waits_for():
    store, runs = SingleFlightWrapper(MemoryStore()), []

    async def never():
        runs.append(1)
        await asyncio.Event().wait()

    async def begin():
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)
        await store.get_or_put("c", "k", never)

    loop = asyncio.new_event_loop()
    cut_off = loop.create_task(begin())
    loop.run_forever()
    for _ in range(5):
        loop.call_soon(loop.stop)
        loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    assert runs == [1]
    assert len(tasks) == 2
    loop.close()

    async def again():
        assert await store.get_or_put("c", "k", Factory("made")) == "made"
        await store.aclose()

    asyncio.run(again())
    for task in tasks:
        task._log_destroy_pending = False  # the test left them on purpose
    assert not cut_off.done()
    cut_off.get_coro().close()


async def test_what_is_being_put_can_be_deleted_by_what_the_put_calls():
    events = EventsWrapper(MemoryStore())
    store = SingleFlightWrapper(events)
    events.subscribe(Stored, lambda event: store.delete(event.collection, event.key))
    async with asyncio.timeout(20):
        assert await store.get_or_put("c", "k", Factory(1)) == 1
    assert not await store.exists("c", "k")


async def test_flights_that_nobody_waits_for_are_cancelled_in_the_order_in_which_they_began():
    clock, ended = FakeClock(), []
    store = SingleFlightWrapper(MemoryStore(clock=clock))
    keys = [f"k{number}" for number in range(20)]

    def endless(key):
        async def make():
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(key)

        return make

    for key in keys:
        await store.get_or_put("c", key, Factory(1), ttl=60, stale=30)
    clock.advance(61)
    for key in keys:
        await store.get_or_put("c", key, endless(key), ttl=60, stale=30)
    await asyncio.sleep(0)
    await store.aclose()
    assert ended == keys
