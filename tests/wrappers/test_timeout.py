import asyncio
import gc
import weakref
from contextvars import ContextVar

import pytest

from satchel import ConfigurationError, MemoryStore, StoreTimeoutError, StoreUnavailableError, open_store
from satchel.testing import FlakyStore
from satchel.wrappers import PrefixKeysWrapper, RetryWrapper, TimeoutWrapper
from satchel.wrappers.timeout import OutOfTimeError, in_time
from tests.wrappers.failing import Failing, collect
from tests.wrappers.test_retry import VERBS


def hanging():
    inner = Failing()
    inner.hang = asyncio.Event()
    return inner


@pytest.mark.parametrize("operation", VERBS)
async def test_every_verb_is_cut_off(operation):
    store = TimeoutWrapper(FlakyStore(latency=60), seconds=0.01)
    async with asyncio.timeout(50):
        with pytest.raises(StoreTimeoutError, match=f"{operation} of .*no answer within 0.01 s"):
            await getattr(store, operation)(*VERBS[operation])


async def test_the_error_has_the_names_of_the_caller():
    store = PrefixKeysWrapper(TimeoutWrapper(hanging(), seconds=0.01), prefix="p")
    with pytest.raises(StoreTimeoutError, match="get of key 'k' in collection 'c' of TimeoutWrapper") as failure:
        await store.get("c", "k")
    error = failure.value
    assert (error.operation, error.collection, error.key, error.retryable) == ("get", "c", "k", True)
    assert isinstance(error, TimeoutError)


async def test_of_a_listing_each_step_has_the_time(monkeypatch):
    class Slow(FlakyStore):
        pauses = (0,) * 4

        async def _keys(self, collection, prefix, now):
            for number, pause in enumerate(self.pauses):
                await asyncio.sleep(pause)
                yield [f"{number}a", f"{number}b"]

    found, loop = [], asyncio.get_running_loop()
    now = loop.time()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: now)
        async for key in TimeoutWrapper(Slow(), seconds=0.1).keys("c"):
            found.append(key)
            now += 0.03  # all steps together take longer
    assert len(found) == 8
    slow = Slow()
    slow.pauses = (0, 60)
    found = []
    store = TimeoutWrapper(slow, seconds=0.5)
    with pytest.raises(StoreTimeoutError, match=r"keys of TimeoutWrapper.*no answer within 0.5 s") as failure:
        await collect(found, store.keys("c"))
    assert found == ["0a", "0b"]
    assert failure.value.collection == "c"


async def test_wrong_arguments_of_a_listing_are_refused_at_the_call():
    store = TimeoutWrapper(MemoryStore(), seconds=1)
    with pytest.raises(ValueError, match="limit"):
        store.keys("c", limit=-1)


async def test_a_put_that_was_cut_off_does_not_land_over_a_later_one():
    gate = asyncio.Event()

    class Gated(FlakyStore):
        _shield_writes = True

        async def _write(self, records):
            if not gate.is_set():
                await gate.wait()
            return await super()._write(records)

    inner = Gated()
    with pytest.raises(StoreTimeoutError):
        await TimeoutWrapper(inner, seconds=0.02).put("c", "k", "early")
    store = TimeoutWrapper(inner, seconds=60)
    later = asyncio.create_task(store.put("c", "k", "late"))
    await asyncio.sleep(0)
    gate.set()
    await later
    assert await store.get("c", "k") == "late"


async def test_what_is_in_time_is_as_it_was():
    async with TimeoutWrapper(FlakyStore(latency=0.001), seconds=60) as store:
        await store.put("c", "k", None)
        assert await store.get("c", "k", 5) is None
        assert await store.get_many("c", ["k", "l"]) == {"k": None}
        with pytest.raises(StoreUnavailableError):
            await TimeoutWrapper(FlakyStore(failure_rate=1), seconds=1).get("c", "k")


async def test_a_cancellation_is_never_swallowed():
    call = asyncio.create_task(TimeoutWrapper(hanging(), seconds=60).get("c", "k"))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()


async def test_a_cancellation_in_the_same_moment_wins():
    inner = hanging()
    call = asyncio.create_task(TimeoutWrapper(inner, seconds=0.01).get("c", "k"))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.01, call.cancel)
    outcome = (await asyncio.gather(call, return_exceptions=True))[0]
    assert isinstance(outcome, (asyncio.CancelledError, StoreTimeoutError))
    assert call.cancelling() == isinstance(outcome, asyncio.CancelledError) or call.cancelled()


async def test_a_limit_within_a_limit():
    inner = TimeoutWrapper(FlakyStore(latency=60), seconds=0.01)
    with pytest.raises(StoreTimeoutError, match=r"TimeoutWrapper\(FlakyStore.*0.01 s"):
        await TimeoutWrapper(inner, seconds=60).get("c", "k")
    inner = TimeoutWrapper(FlakyStore(latency=60), seconds=60)
    with pytest.raises(StoreTimeoutError, match=r"TimeoutWrapper\(TimeoutWrapper.*0.01 s"):
        await TimeoutWrapper(inner, seconds=0.01).get("c", "k")
    assert asyncio.current_task().cancelling() == 0


async def test_attempts_have_their_time_each():
    inner = FlakyStore(latency=60)
    store = RetryWrapper(TimeoutWrapper(inner, seconds=0.01), attempts=3, first_pause=0.001)
    with pytest.raises(StoreTimeoutError, match=r"0\.01 s"):
        await store.get("c", "k")


class TestInTime:
    async def test_what_never_waits_sets_no_timer(self, monkeypatch):
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_at", None)

        async def work():
            return 5

        assert await in_time(1, work()) == 5

    async def test_errors_come_through(self):
        async def work(pause):
            if pause:
                await asyncio.sleep(pause)
            raise TimeoutError("of its own")

        for pause in (0, 0.001):
            with pytest.raises(TimeoutError, match="of its own"):
                await in_time(60, work(pause))

    async def test_work_can_wait_often_and_sees_its_cancellation(self):
        seen = []

        async def work():
            try:
                for _ in range(1000):
                    await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                seen.append("cancelled")
                await asyncio.sleep(0.001)
                seen.append("cleaned up")
                raise

        with pytest.raises(OutOfTimeError):
            await in_time(0.02, work())
        assert seen == ["cancelled", "cleaned up"]

    async def test_work_that_survives_its_cancellation_gives_its_result(self):
        async def work():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "done"

        assert await in_time(0.01, work()) == "done"
        assert asyncio.current_task().cancelling() == 0

    async def test_infinity_is_no_limit(self):
        async def work():
            await asyncio.sleep(0.001)
            return 5

        assert await in_time(float("inf"), work()) == 5

    async def test_the_timer_keeps_nothing_of_the_caller(self):
        class Thing:
            pass

        held = ContextVar("held")

        async def call():
            held.set(Thing())
            await in_time(60, asyncio.sleep(0.001))
            return weakref.ref(held.get())

        ahead = asyncio.get_running_loop().call_later(30, print)  # a cancelled timer behind another one is kept
        thing = await asyncio.create_task(call())
        await asyncio.sleep(0)  # the task's last step holds its context until it has ended
        gc.collect()
        assert thing() is None
        ahead.cancel()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "1", None, True])
def test_a_bad_option_is_refused(seconds):
    with pytest.raises(ConfigurationError, match="seconds must be a number of seconds above 0"):
        TimeoutWrapper(MemoryStore(), seconds=seconds)


async def test_a_url_opens_it():
    async with open_store("memory://?wrap=timeout(seconds=0.5)") as store:
        assert type(store) is TimeoutWrapper
