"""A store opens once, closes once, and belongs to one event loop at a time."""

import asyncio
import contextvars
import gc

import pytest

from satchel import StoreClosedError, StoreError, StoreUnavailableError
from tests.scripted import BatchStore, Server, SingleStore, held, turns


class SlowToOpen(BatchStore):
    """Opens in some turns, after as many failures as wanted."""

    failures = 0
    seen = None
    variable = contextvars.ContextVar("variable", default="nothing")

    async def _open(self):
        await super()._open()
        self.seen = self.variable.get()
        await turns(5)
        if self.failures:
            self.failures -= 1
            raise ConnectionRefusedError


async def test_one_opens_and_all_wait():
    store = SlowToOpen()
    SlowToOpen.variable.set("leaked")
    await asyncio.gather(*[store.get("c", f"{number}") for number in range(10)], store.put("c", "k", 1), store.ping())
    assert store.events == ["open"]
    assert store.seen == "nothing"
    await store.aclose()
    assert store.events == ["open", "close"]


async def test_a_failure_to_open_reaches_each_caller_and_the_next_call_tries_again():
    store = SlowToOpen()
    store.failures = 1
    failures = await asyncio.gather(*[store.get("c", f"{number}") for number in range(4)], return_exceptions=True)
    assert all(type(failure) is StoreUnavailableError for failure in failures)
    assert len({id(failure) for failure in failures}) == 4
    assert all(isinstance(failure.__cause__.__cause__, ConnectionRefusedError) for failure in failures)
    assert store.server.calls == []
    assert await store.get("c", "k") is None
    assert store.events == ["open", "open"]
    await store.aclose()


async def test_a_cancelled_opener_does_not_stop_the_others():
    store = SlowToOpen()
    first, second = asyncio.create_task(store.get("c", "a")), asyncio.create_task(store.get("c", "b"))
    await turns(2)
    first.cancel()
    assert await second is None
    assert first.cancelled()
    assert store.events == ["open"]
    await store.aclose()


async def test_an_opening_that_was_cancelled_is_tried_again():
    store = SlowToOpen()
    call = asyncio.create_task(store.get("c", "a"))
    await turns(3)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait([call])
    assert await asyncio.wait_for(store.get("c", "a"), 5) is None
    await store.aclose()


async def test_opening_that_fails_when_all_callers_have_gone_leaves_no_warning():
    store = SlowToOpen()
    store.failures = 1
    call = asyncio.create_task(store.get("c", "a"))
    await turns(3)
    call.cancel()
    await turns(20)
    gc.collect()
    assert await store.get("c", "a") is None
    await store.aclose()


async def test_closing_drains_what_is_under_way():
    store = BatchStore(Server(delay=lambda: 10))
    calls = [asyncio.create_task(store.put("c", f"{number}", number)) for number in range(5)]
    await turns(1)
    await store.aclose()
    assert [call.done() for call in calls] == [True] * 5
    assert len(store.server.data) == 5
    assert store.events == ["open", "close"]


async def test_closing_drains_a_write_whose_caller_was_cancelled():
    store = BatchStore(Server(delay=lambda: 10))
    call = asyncio.create_task(store.put("c", "k", 1))
    await turns(6)
    call.cancel()
    await store.aclose()
    assert list(store.server.data) == [("c", "k")]


async def test_closing_waits_for_a_value_that_is_being_encoded():
    store = BatchStore()
    await store.ping()
    call = asyncio.create_task(store.put("c", "k", "x" * 200_000))
    await turns(1)
    await store.aclose()
    await call
    assert list(store.server.data) == [("c", "k")]


async def test_a_closing_store_refuses_new_calls_at_once():
    store = BatchStore()
    await store.ping()
    gate = held(store)
    call = asyncio.create_task(store.get("c", "k"))
    await turns(2)
    closing = asyncio.create_task(store.aclose())
    await turns(2)
    with pytest.raises(StoreClosedError):
        await store.get("c", "k")
    with pytest.raises(StoreClosedError):
        await store.put("c", "k", object())  # before the value is looked at
    assert not closing.done()
    gate.set()
    await asyncio.gather(call, closing)


async def test_a_second_close_raises():
    store = BatchStore()
    await store.ping()
    await store.aclose()
    with pytest.raises(StoreClosedError):
        await store.aclose()
    assert store.events == ["open", "close"]


async def test_leaving_a_context_closes_unless_it_was_closed_inside():
    async with BatchStore() as store:
        await store.ping()
    assert store.events == ["open", "close"]
    async with BatchStore() as store:
        await store.aclose()
    with pytest.raises(StoreClosedError):
        async with store:
            raise AssertionError("entered a closed store")


async def test_closing_an_unopened_store_opens_nothing():
    store = BatchStore()
    await store.aclose()
    assert store.events == []


async def test_a_cancelled_close_goes_on():
    store = BatchStore(Server(delay=lambda: 10))
    call = asyncio.create_task(store.put("c", "k", 1))
    await turns(2)
    closing = asyncio.create_task(store.aclose())
    await turns(2)
    closing.cancel()
    await call
    await turns(20)
    assert store.events == ["open", "close"]


async def test_a_failure_to_close_is_an_error_of_ours():
    class Failing(BatchStore):
        async def _close(self):
            raise OSError

    store = Failing()
    await store.ping()
    with pytest.raises(StoreUnavailableError) as caught:
        await store.aclose()
    assert caught.value.operation == "aclose"


async def test_another_running_loop_is_refused():
    store = BatchStore()
    await store.ping()
    caught = []

    def elsewhere():
        try:
            asyncio.run(store.get("c", "k"))
        except StoreError as error:
            caught.append(error)

    await asyncio.to_thread(elsewhere)
    assert "another event loop" in str(caught[0])
    assert await store.get("c", "k") is None
    await store.aclose()


def test_a_loop_that_is_stopped_but_not_closed_still_owns_the_store():
    store = BatchStore()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.ping())
    with pytest.raises(StoreError, match="another event loop"):
        asyncio.run(store.ping())
    loop.run_until_complete(store.aclose())
    loop.close()


@pytest.mark.parametrize("kind", [BatchStore, SingleStore])
def test_it_reopens_when_its_loop_has_been_closed(kind):
    store = kind()
    asyncio.run(store.put("c", "k", 1))
    assert asyncio.run(store.get("c", "k")) == 1
    assert store.events == ["open", "abandon", "open"]
    asyncio.run(store.aclose())
    assert store.events == ["open", "abandon", "open", "abandon"]


@pytest.mark.parametrize("kind", [BatchStore, SingleStore])
@pytest.mark.parametrize("settings", [{}, {"shield_writes": False}])
def test_the_end_of_the_loop_with_calls_under_way_hangs_nothing(kind, settings, caplog):
    store = kind(Server(delay=lambda: 10), **settings)

    async def leave_calls_behind():
        for number in range(5):
            asyncio.create_task(store.put("c", "k", number))  # noqa: RUF006  # left behind on purpose
            asyncio.create_task(store.get("c", f"{number}"))  # noqa: RUF006  # left behind on purpose
        await turns(4)

    asyncio.run(leave_calls_behind())
    gc.collect()
    assert asyncio.run(asyncio.wait_for(store.get("c", "unknown"), 5)) is None
    assert not caplog.records


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what a bare loop does to its tasks
@pytest.mark.parametrize("settings", [{}, {"shield_writes": False}])
def test_calls_cut_off_with_a_bare_loop_do_not_disturb_the_next_one(settings):
    store = BatchStore(Server(delay=lambda: 10), **settings)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(store.put("c", "k", 1)), loop.create_task(store.get("c", "k"))]
    loop.run_until_complete(turns(4))
    loop.close()

    async def afterwards():
        await asyncio.wait_for(store.put("c", "k", 2), 5)
        assert await asyncio.wait_for(store.get("c", "k"), 5) == 2
        call = asyncio.create_task(store.get("c", "k"))
        await turns(2)
        tasks.clear()
        gc.collect()  # runs the `finally` of the calls that were cut off
        await asyncio.wait_for(store.aclose(), 5)
        assert call.done()

    asyncio.run(afterwards())


async def test_work_in_a_finally_after_everything_was_cancelled_does_not_hang():
    store = BatchStore(Server(delay=lambda: 3))
    ended = []

    async def worker(number):
        try:
            while True:
                await store.put("c", f"{number % 3}", number)
        finally:
            await asyncio.wait_for(store.put("c", f"end {number}", number), 5)
            ended.append(number)

    workers = [asyncio.create_task(worker(number)) for number in range(6)]
    await turns(20)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait(workers)
    assert sorted(ended) == list(range(6))
    await store.aclose()


async def test_a_close_that_was_given_up_can_be_waited_for_again():
    store = BatchStore()
    gate = held(store)
    reading = asyncio.create_task(store.get("c", "k"))
    await turns(3)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.aclose(), 0.01)
    again, leaving = asyncio.create_task(store.aclose()), asyncio.create_task(store.__aexit__(None, None, None))
    await turns(3)
    assert not again.done()
    assert not leaving.done()
    gate.set()
    await asyncio.gather(reading, again, leaving)
    assert store.events == ["open", "close"]
    with pytest.raises(StoreClosedError):
        await store.aclose()
