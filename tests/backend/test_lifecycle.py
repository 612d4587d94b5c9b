"""A store opens once, closes once, and belongs to one event loop at a time."""

import asyncio
import contextvars
import gc
import weakref

import pytest

from satchel import StoreClosedError, StoreError, StoreUnavailableError
from satchel.backend.lifecycle import Lifecycle, SharedLifecycle, finish_and_close, leave
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
    assert await asyncio.wait_for(store.get("c", "a"), 50) is None
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
    assert asyncio.run(asyncio.wait_for(store.get("c", "unknown"), 50)) is None
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
        await asyncio.wait_for(store.put("c", "k", 2), 50)
        assert await asyncio.wait_for(store.get("c", "k"), 50) == 2
        call = asyncio.create_task(store.get("c", "k"))
        await turns(2)
        tasks.clear()
        gc.collect()  # runs the `finally` of the calls that were cut off
        await asyncio.wait_for(store.aclose(), 50)
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
            await asyncio.wait_for(store.put("c", f"end {number}", number), 50)
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


class Resources:
    """What a lifecycle opens and closes; `gate`, when there is one, holds that up."""

    def __init__(self, lent=None):
        self.events = []
        self.lent = lent
        self.gate = None

    async def open(self):
        self.events.append("open")
        if self.gate is not None:
            await self.gate.wait()

    async def close(self):
        self.events.append("close")
        if self.gate is not None:
            await self.gate.wait()

    def abandon(self):
        self.events.append("abandon")

    def disown(self, was_used):
        self.events.append(f"disown, used: {was_used}")
        return self.lent

    def lifecycle(self, kind=Lifecycle):
        return kind(lambda: "Store()", open=self.open, close=self.close, abandon=self.abandon, disown=self.disown)


both_kinds = pytest.mark.parametrize("kind", [Lifecycle, SharedLifecycle])


def told(error):
    return str(error), error.store, error.operation


def collected(reference):
    gc.collect()
    return reference() is None


@both_kinds
async def test_it_is_ready_from_the_opening_until_the_closing_begins(kind):
    lifecycle = Resources().lifecycle(kind)
    assert (lifecycle.opened, lifecycle.closed, lifecycle.ready) == (False, False, False)
    lifecycle.leave(await lifecycle.enter("get"))
    await lifecycle.open()
    assert (lifecycle.opened, lifecycle.closed, lifecycle.ready) == (True, False, True)
    loop = lifecycle.begin("get")
    closing = asyncio.create_task(lifecycle.aclose())
    await turns(2)
    assert (lifecycle.closed, lifecycle.ready, lifecycle.ended) == (True, False, False)
    lifecycle.leave(loop)
    await closing
    assert lifecycle.ended


@both_kinds
async def test_what_was_closed_while_it_opened_is_closed_again_and_never_ready(kind):
    resources = Resources()
    resources.gate = asyncio.Event()
    lifecycle = resources.lifecycle(kind)
    opening = [asyncio.create_task(lifecycle.open()) for _ in range(2)]
    await turns(2)
    closing = asyncio.create_task(lifecycle.aclose())
    await turns(2)
    resources.gate.set()
    await asyncio.wait_for(asyncio.gather(*opening, closing), 50)
    assert resources.events == ["open", "close"]
    assert lifecycle.ready is False


@both_kinds
@pytest.mark.parametrize("call", ["begin", "enter", "check", "aclose"])
async def test_a_refusal_of_a_closed_store_names_the_store_and_the_operation(kind, call):
    lifecycle = Resources().lifecycle(kind)
    await lifecycle.aclose()
    with pytest.raises(StoreClosedError) as caught:
        await (lifecycle.aclose() if call == "aclose" else getattr(lifecycle, call)("put"))
    assert told(caught.value) == ("Store() is closed", "Store()", "aclose" if call == "aclose" else "put")


async def test_a_refusal_on_another_loop_names_the_store_and_the_operation():
    lifecycle = Resources().lifecycle()
    await lifecycle.enter("get")

    async def elsewhere():
        with pytest.raises(StoreError) as caught:
            lifecycle.begin("put")
        return told(caught.value)

    assert await asyncio.to_thread(asyncio.run, elsewhere()) == (
        (
            "Store() is in use on another event loop; a store belongs to one loop at a time, until it is closed, so "
            "make one for each loop"
        ),
        "Store()",
        "put",
    )


@both_kinds
async def test_closing_waits_for_the_last_of_the_calls(kind):
    resources = Resources()
    lifecycle = resources.lifecycle(kind)
    loops = [await lifecycle.enter("get"), await lifecycle.enter("get"), lifecycle.begin("get")]
    closings = [asyncio.create_task(lifecycle.aclose()) for _ in range(2)]
    for loop in loops:
        await asyncio.sleep(0.003)
        assert resources.events == ["open"]
        lifecycle.leave(loop)
    await asyncio.wait_for(asyncio.gather(*closings), 50)
    assert resources.events == ["open", "close"]


async def test_a_call_that_could_not_open_the_store_does_not_hold_up_its_closing():
    resources = Resources()
    lifecycle = resources.lifecycle()
    resources.gate = asyncio.Event()
    call = asyncio.create_task(lifecycle.enter("get"))
    await turns(2)
    call.cancel()
    await asyncio.wait([call])
    resources.gate.set()
    await asyncio.wait_for(lifecycle.aclose(), 50)


async def test_a_store_that_is_closing_on_one_loop_is_closed_for_another():
    lifecycle = Resources().lifecycle(SharedLifecycle)
    loop = await lifecycle.enter("get")
    closing = asyncio.create_task(lifecycle.aclose())
    await turns(2)
    with pytest.raises(StoreClosedError):
        await asyncio.to_thread(asyncio.run, lifecycle.aclose())
    lifecycle.leave(loop)
    await closing


@both_kinds
def test_an_opening_that_ended_with_its_loop_is_begun_again_on_the_next(kind):
    resources = Resources()
    resources.gate = asyncio.Event()
    lifecycle = resources.lifecycle(kind)

    async def give_up():
        opening = asyncio.create_task(lifecycle.enter("get"))
        await turns(3)
        opening.cancel()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(give_up())
    left = asyncio.all_tasks(loop)
    assert len(left) == 1
    if kind is Lifecycle:
        loop.close()
    resources.gate = None
    asyncio.run(lifecycle.enter("get"))
    assert resources.events.count("open") == 2
    if kind is SharedLifecycle:
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
        loop.close()
    for task in left:
        task._log_destroy_pending = False  # it was left behind on purpose


class CleansUp(BatchStore):
    """Closes what it has made when opening fails, by then under the name that the next opening uses too."""

    hangs = True

    def __init__(self):
        super().__init__()
        self.connection = None
        self.closed = []

    async def _open(self):
        self.connection = object()
        try:
            if self.hangs:
                await asyncio.get_running_loop().create_future()
        except BaseException:
            self.closed.append(self.connection)
            await turns(1)
            raise


def test_an_opening_left_by_an_ended_loop_cleans_up_before_the_next():
    store = CleansUp()
    loop = asyncio.new_event_loop()

    async def begin():
        opening = asyncio.create_task(store.get("c", "k"))
        await turns(5)
        return opening

    loop.run_until_complete(begin())
    left = asyncio.all_tasks(loop)
    loop.close()
    first = store.connection
    assert store.closed == []
    store.hangs = False
    asyncio.run(store.get("c", "k"))
    for task in left:
        task._log_destroy_pending = False  # it was left behind on purpose
    del task, left
    gc.collect()
    assert store.connection is not first
    assert store.closed == [first]


def test_without_a_loop_a_call_fails_as_anything_asynchronous_does():
    with pytest.raises(RuntimeError, match="no running event loop"):
        Resources().lifecycle().begin("get")


def test_a_loop_that_has_ended_leaves_the_store_as_it_was_before_the_first_call():
    resources = Resources()
    lifecycle = resources.lifecycle()
    asyncio.run(lifecycle.enter("get"))

    async def afterwards():
        lifecycle.check("get")
        assert (lifecycle.opened, lifecycle.ready) == (False, False)
        await asyncio.wait_for(lifecycle.aclose(), 50)

    asyncio.run(afterwards())
    assert resources.events == ["open", "abandon"]


class TestAChildOfFork:
    """What `after_fork` leaves, called without a fork: these tests are about this process's own side of it."""

    def test_a_store_that_was_never_used_is_used_as_any_other(self):
        resources = Resources()
        lifecycle = resources.lifecycle()
        lifecycle.after_fork()
        asyncio.run(lifecycle.enter("get"))
        assert resources.events == ["disown, used: False", "open"]

    async def test_the_loop_of_the_parent_is_refused(self):
        lifecycle = Resources().lifecycle()
        await lifecycle.enter("get")
        lifecycle.after_fork()
        with pytest.raises(StoreError) as caught:
            lifecycle.begin("put")
        assert told(caught.value) == (
            (
                "Store() was in use on this event loop when this process was forked, and the loop is still its "
                "parent's; use the store on a new event loop, as asyncio.run makes one, or fork before the first use"
            ),
            "Store()",
            "put",
        )

    def test_a_coroutine_that_the_parent_had_begun_is_refused_too(self):
        lifecycle = Resources().lifecycle()
        asyncio.run(lifecycle.enter("get"))
        lifecycle.after_fork()
        with pytest.raises(StoreError, match="still its parent's") as caught:
            lifecycle.begin("put")
        assert caught.value.operation == "put"

    def test_a_new_loop_opens_anew_and_waits_for_none_of_the_parents_calls(self):
        resources = Resources()
        lifecycle = resources.lifecycle()
        asyncio.run(lifecycle.enter("get"))
        lifecycle.after_fork()
        assert lifecycle.ready is False

        async def child():
            lifecycle.leave(await lifecycle.enter("get"))
            await asyncio.wait_for(lifecycle.aclose(), 50)

        asyncio.run(child())
        assert resources.events == ["open", "disown, used: True", "open", "close"]

    def test_a_client_that_was_lent_by_the_parent_bars_every_call(self):
        lifecycle = Resources(lent="the client").lifecycle()
        lifecycle.after_fork()

        async def child():
            with pytest.raises(StoreError) as caught:
                lifecycle.begin("put")
            return told(caught.value)

        assert asyncio.run(child()) == (
            (
                "Store() works over the client of the process from which this one was forked, which would take answers "
                "that are meant for the other one; make both, and the store, anew in each process"
            ),
            "Store()",
            "put",
        )

    async def test_a_shared_store_goes_on_without_the_parents_calls(self):
        resources = Resources()
        lifecycle = resources.lifecycle(SharedLifecycle)
        loop = await lifecycle.enter("get")
        lifecycle.after_fork()
        lifecycle.leave(loop)
        lifecycle.leave(await lifecycle.enter("get"))
        lifecycle.begin("get")
        lifecycle.after_fork()
        await asyncio.wait_for(lifecycle.aclose(), 50)
        assert resources.events == ["open", "disown, used: True", "disown, used: True", "close"]

    @both_kinds
    @pytest.mark.parametrize("listed", [True, False])
    def test_nothing_that_the_parent_waits_for_becomes_garbage(self, kind, listed):
        resources, kept = Resources(), []
        lifecycle = resources.lifecycle(kind)

        async def parent(lifecycle, resources):
            under_way = await lifecycle.enter("get")
            if not listed:  # the closing waits for the resources, and not for the call
                lifecycle.leave(under_way)
            resources.gate = asyncio.Event()
            closing = asyncio.create_task(lifecycle.aclose())
            await turns(2)
            closing.cancel()
            await turns(2)
            if listed:
                kept.append(weakref.ref(asyncio.create_task(asyncio.Event().wait())))
                await turns(2)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(parent(lifecycle, resources))
        kept += [weakref.ref(thing) for thing in (loop, lifecycle._opening, lifecycle._closing)]
        with pytest.MonkeyPatch.context() as patch:
            if not listed:  # the parent was about to start or end a task
                patch.setattr(asyncio, "all_tasks", lambda _loop: (_ for _ in ()).throw(RuntimeError))
            lifecycle.after_fork()
        del lifecycle, resources
        assert not any(map(collected, kept))
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
        loop.close()


class TestEndOfAContext:
    @staticmethod
    def closing(error=None):
        async def aclose():
            closed.append(True)
            if error is not None:
                raise error

        closed = []
        return aclose, closed

    async def test_a_store_that_was_closed_before_is_no_failure(self):
        aclose, closed = self.closing(StoreClosedError("closed", operation="aclose"))
        await leave(aclose)
        assert closed

    async def test_work_that_came_too_late_is_one(self):
        aclose, _ = self.closing(StoreClosedError("closed", operation="put"))
        with pytest.raises(StoreClosedError):
            await leave(aclose)

    async def test_the_failure_of_the_work_before_closing_is_raised_after_it(self):
        aclose, closed = self.closing(StoreClosedError("closed", operation="aclose"))

        async def finish():
            raise StoreUnavailableError("away")

        with pytest.raises(StoreUnavailableError, match="away"):
            await finish_and_close(finish, aclose)
        assert closed

    async def test_a_failure_after_the_caller_was_cancelled_is_logged(self, caplog):
        aclose, _ = self.closing(StoreUnavailableError("away"))
        gate = asyncio.Event()
        closing = asyncio.create_task(finish_and_close(gate.wait, aclose))
        await turns(2)
        closing.cancel()
        gate.set()
        await asyncio.wait([closing])
        assert caplog.messages == ["a store did not close cleanly after its caller was cancelled: away"]
