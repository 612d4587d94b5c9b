"""Expired entries go from a store in whose process nothing happens any more."""

import asyncio
import gc
import logging
import subprocess
import sys
import weakref

import pytest

from satchel import Capability, StoreClosedError, StoreUnavailableError
from satchel.backend import reclaiming
from satchel.clock import NEVER
from tests.patience import until
from tests.scripted import BatchStore, Server, turns


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Timed(BatchStore):
    """Knows its first deadline."""

    failing = 0

    async def _cull(self, now):
        if self.failing:
            self.failing -= 1
            self.events.append("fail")
            raise OSError
        return await super()._cull(now)

    async def _first_deadline(self):
        self.events.append("ask")
        return min([record.deadline for record in self.server.data.values()], default=NEVER)


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(reclaiming, "PERIOD", 0.001)


def timers():
    return [
        handle
        for handle in asyncio.get_running_loop()._scheduled
        if not handle.cancelled() and handle._callback is reclaiming._wake
    ]


@pytest.mark.usefixtures("hurried")
async def test_what_has_expired_goes_without_another_call():
    store = Timed(clock=Clock())
    await store.put("c", "stays", 1)
    await store.put("c", "first", 1, ttl=5)
    await store.put_many("c", {"second": 1, "third": 1}, ttl=50)
    await store.touch("c", "third", ttl=500)
    for seconds, left in ((5, {"stays", "second", "third"}), (50, {"stays", "third"}), (500, {"stays"})):
        store.clock.now = 1000 + seconds
        await until(lambda left=left: {key for _, key in store.server.data} == left)
    await until(lambda: not timers())
    await store.aclose()


@pytest.mark.usefixtures("hurried")
async def test_what_an_earlier_process_left_goes_too():
    earlier = Timed(clock=Clock())
    await earlier.put("c", "k", 1, ttl=5)
    await earlier.aclose()
    later = Timed(earlier.server, clock=earlier.clock)
    await later.ping()
    await until(lambda: later.events.count("ask") == 1 and timers())
    assert "cull" not in later.events
    later.clock.now += 6
    await until(lambda: not later.server.data)
    await until(lambda: not timers())
    await later.aclose()


@pytest.mark.usefixtures("hurried")
async def test_nothing_runs_where_nothing_expires():
    store = Timed(clock=Clock())
    await store.put("c", "k", 1)
    await until(lambda: "ask" in store.events)
    await until(lambda: not timers())
    store.clock.now += 10_000
    await store.put("c", "k", 2)
    await turns(20)
    assert timers() == []
    assert store.events == ["open", "ask"]
    await store.aclose()


async def test_there_is_one_timer_and_it_is_a_minute_long():
    store = Timed(clock=Clock())
    loop = asyncio.get_running_loop()
    before = loop.time()
    for number in range(100):
        await store.put("c", f"{number}", 1, ttl=5 + number)
    (timer,) = timers()
    assert before + 60 <= timer.when() <= loop.time() + 60
    await store.aclose()
    assert timers() == []


async def test_many_writes_reclaim_at_once_only_what_has_expired():
    store = Timed(clock=Clock())
    await store.put_many("c", {f"{number}": 1 for number in range(1500)}, ttl=50)
    await until(lambda: "ask" in store.events)  # what others left is not known yet
    await turns(20)
    assert "cull" not in store.events
    store.clock.now += 49
    await store.put_many("c", {f"late {number}": 1 for number in range(1000)}, ttl=50)
    await turns(20)
    assert "cull" not in store.events
    store.clock.now += 12
    await store.put("c", "last", 1, ttl=50)
    await until(lambda: len(store.server.data) == 1001)
    await store.aclose()


@pytest.mark.usefixtures("hurried")
async def test_nothing_runs_after_closing():
    store = Timed(clock=Clock())
    asked, never = asyncio.Event(), asyncio.Event()

    async def hang():
        asked.set()
        await never.wait()

    store._first_deadline = hang
    await store.put("c", "k", 1, ttl=5)
    await asked.wait()
    await asyncio.wait_for(store.aclose(), 60)
    assert timers() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert store.events == ["open", "close"]


@pytest.mark.usefixtures("hurried")
async def test_a_failure_is_told_once_and_tried_again(caplog):
    store = Timed(clock=Clock())
    store.failing = 3
    with caplog.at_level(logging.WARNING, "satchel"):
        await store.put("c", "k", 1, ttl=5)
        store.clock.now += 6
        await until(lambda: not store.server.data)
    assert store.events.count("fail") == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await store.aclose()


@pytest.mark.usefixtures("hurried")
async def test_a_process_that_has_set_no_deadline_gives_up_after_a_failure(caplog):
    writer = Timed(clock=Clock())
    await writer.put("c", "k", 1, ttl=5)
    await writer.aclose()
    writer.clock.now += 6
    reader = Timed(writer.server, clock=writer.clock)
    reader.failing = 10
    with caplog.at_level(logging.WARNING, "satchel"):
        await reader.get("c", "k")
        await until(lambda: "fail" in reader.events)
        await until(lambda: not timers())
    await turns(20)
    assert reader.events.count("fail") == 1
    assert caplog.records == []
    await reader.aclose()


@pytest.mark.usefixtures("hurried")
async def test_the_timer_keeps_no_store_alive():
    async def forgotten():
        store = Timed(clock=Clock())
        await store.put("c", "k", 1, ttl=5000)
        await until(lambda: "ask" in store.events)
        return weakref.ref(store)

    there = await forgotten()
    await turns(20)
    gc.collect()
    assert there() is None


def test_the_next_event_loop_has_a_timer_of_its_own(monkeypatch):
    store = Timed(Server(), clock=Clock())

    async def put():
        await store.put("c", "k", 1, ttl=5)
        assert len(timers()) == 1

    async def wait():
        await store.ping()
        assert len(timers()) == 1
        store.clock.now += 6
        monkeypatch.setattr(reclaiming, "PERIOD", 0.001)
        store._engine.reclaimer.stop()
        store._engine.reclaimer.start()
        await until(lambda: not store.server.data)
        await store.aclose()

    asyncio.run(put())
    asyncio.run(wait())


def test_a_child_of_fork_has_no_timer_of_its_parent():
    program = """
import asyncio, os, sys, warnings
from satchel.backend import reclaiming
from tests.backend.test_reclaiming import Clock, Timed, timers
from tests.patience import until
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
reclaiming.PERIOD = 0.001
store = Timed(clock=Clock())

async def parent():
    await store.put("c", "k", 1, ttl=5)
    await until(lambda: "ask" in store.events and timers())
    (timer,) = timers()
    store.clock.now += 6
    child = os.fork()
    if child == 0:
        timer._run()  # as the loop of the parent would
        print(store.events.count("cull"), store._engine.reclaimer._task, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    await until(lambda: "cull" in store.events)
    await store.aclose()
    print(store.events[-1])

asyncio.run(parent())
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0 None\nclose\n"), done.stderr


class Run:
    """A reclaimer with what it works on: `known` is the first deadline that the store knows."""

    def __init__(self, *, timed=True, can=True, native=False):
        self.clock, self.known = Clock(), NEVER
        self.did, self.failure, self.silence, self.gate = [], None, None, None
        self._native_expiry, self._any_loop = native, False
        self.capabilities = Capability.CULL if can else Capability(0)
        if not timed:
            self._first_deadline.__func__.is_absent = True
        self.reclaimer = reclaiming.Reclaimer(self, spawn=asyncio.create_task, cull=self.cull, ask=self.ask)
        if not timed:
            del self._first_deadline.__func__.is_absent

    def __repr__(self):
        return "Store()"

    async def _first_deadline(self):
        raise AssertionError("asked past the engine")

    async def cull(self):
        self.did.append("cull")
        if self.failure is not None:
            raise self.failure

    async def ask(self):
        self.did.append("ask")
        if self.gate is not None:
            await self.gate.wait()
        if self.silence is not None:
            raise self.silence
        return self.known

    async def does(self, *, after=0.0):
        """Return what is done by the next timer, some seconds later."""
        self.clock.now += after
        self.did.clear()
        for timer in timers():
            timer.cancel()
            self.reclaimer.on_timer(self.reclaimer._turn)
        await turns(5)
        return self.did

    async def does_by_counting(self, deadlines, first=NEVER, *, after=0.0):
        self.clock.now += after
        self.did.clear()
        self.reclaimer.count(deadlines, first)
        await turns(5)
        return self.did


class TestWhenARunIsDue:
    @pytest.mark.parametrize(("after", "expected"), [(59.9, []), (60, ["cull", "ask"])])
    async def test_a_minute_after_the_last_one(self, after, expected):
        run = Run()
        assert await run.does_by_counting(1, 1010) == []
        assert await run.does_by_counting(0, after=after) == expected
        run.reclaimer.stop()

    @pytest.mark.parametrize(("deadlines", "expected"), [(999, []), (1000, ["cull", "ask"])])
    async def test_after_a_thousand_deadlines(self, deadlines, expected):
        run = Run()
        assert await run.does_by_counting(deadlines, 1000.0) == expected
        run.reclaimer.stop()

    async def test_deadlines_of_many_writes_add_up_and_the_earliest_counts(self):
        run = Run()
        assert await run.does_by_counting(600, 1005) == []
        assert await run.does_by_counting(400, 1009, after=5) == ["cull", "ask"]
        assert run.reclaimer.owed == 0

    async def test_not_before_something_has_expired(self):
        run = Run()
        assert await run.does_by_counting(1000, 1000.1) == []
        assert len(timers()) == 1
        assert await run.does() == []
        assert run.reclaimer.owed == 1000
        assert len(timers()) == 1
        assert await run.does(after=0.1) == ["cull", "ask"]
        assert timers() == []

    async def test_not_while_one_is_under_way(self):
        run = Run()
        run.gate = asyncio.Event()
        assert await run.does_by_counting(1000, 1000.0) == ["cull", "ask"]
        assert await run.does_by_counting(1000, 1000.0, after=61) == []
        run.gate.set()
        await turns(5)
        assert run.reclaimer.owed == 0
        assert len(timers()) == 1
        assert await run.does() == ["cull", "ask"]

    async def test_not_where_nothing_set_a_deadline(self):
        run = Run()
        assert await run.does_by_counting(0, after=100) == []
        assert timers() == []

    async def test_not_soon_after_the_last_one(self):
        run = Run(timed=False)
        assert await run.does_by_counting(1, 1001, after=60) == ["cull"]
        assert await run.does_by_counting(1, 1001, after=59) == []
        assert await run.does_by_counting(1, 1001, after=1) == ["cull"]
        assert timers() == []

    @pytest.mark.parametrize("timed", [True, False])
    @pytest.mark.parametrize("settings", [{"native": True}, {"can": False}])
    async def test_never_where_the_engine_does_it_or_nothing_can(self, timed, settings):
        run = Run(timed=timed, **settings)
        run.reclaimer.start()
        assert await run.does_by_counting(1000, 1000.0, after=100) == []
        assert timers() == []
        assert run.reclaimer.owed == (0 if "native" in settings else 1000)


class TestTheFirstDeadline:
    async def test_it_is_asked_for_a_minute_after_the_opening(self):
        run = Run()
        run.known = 1005.0
        run.reclaimer.start()
        assert await run.does() == ["ask"]
        assert await run.does(after=4.9) == []
        assert await run.does(after=0.1) == ["cull", "ask"]
        run.reclaimer.stop()

    async def test_one_set_while_it_is_asked_for_counts_too(self):
        run = Run()
        run.gate = asyncio.Event()
        run.known = 2000.0
        run.reclaimer.start()
        assert await run.does() == ["ask"]
        assert await run.does_by_counting(1, 1005) == []
        run.gate.set()
        await turns(5)
        assert await run.does(after=5) == ["cull", "ask"]
        run.reclaimer.stop()

    @pytest.mark.parametrize("failing", ["failure", "silence"])
    async def test_a_run_that_fails_leaves_it_as_it_was(self, failing):
        run = Run()
        assert await run.does_by_counting(1, 1005) == []
        setattr(run, failing, StoreUnavailableError("away"))
        assert (await run.does(after=5))[0] == "cull"
        setattr(run, failing, None)
        assert await run.does() == ["cull", "ask"]
        assert timers() == []


class TestFailures:
    async def test_the_first_of_several_is_a_warning(self, caplog):
        run = Run()
        run.known = 1000.0
        run.failure = StoreUnavailableError("away")
        with caplog.at_level(logging.DEBUG, "satchel"):
            await run.does_by_counting(1000, 1000.0)
            await run.does()
            run.failure = None
            await run.does()
            run.failure = StoreUnavailableError("away")
            await run.does()
        assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "WARNING"]
        assert set(caplog.messages) == {"Store() could not reclaim expired entries: away"}
        run.reclaimer.stop()

    async def test_a_closed_store_is_none(self, caplog):
        run = Run()
        run.failure = StoreClosedError("closed")
        with caplog.at_level(logging.DEBUG, "satchel"):
            assert await run.does_by_counting(1000, 1000.0) == ["cull"]
        assert caplog.records == []
        run.reclaimer.stop()

    async def test_a_process_that_sets_no_deadline_gives_up_in_silence(self, caplog):
        run = Run()
        run.known = 1000.0
        run.failure = StoreUnavailableError("away")
        run.reclaimer.start()
        run.reclaimer.count(0)  # a write without one
        with caplog.at_level(logging.DEBUG, "satchel"):
            assert await run.does() == ["ask", "cull"]
        assert (caplog.records, timers()) == ([], [])

    async def test_the_timer_of_another_process_does_nothing(self):
        run = Run()
        await run.does_by_counting(1, 1000.0)
        run.reclaimer.on_timer(run.reclaimer._turn + 1)
        await turns(5)
        assert run.did == []
        assert len(timers()) == 1
        run.reclaimer.stop()
