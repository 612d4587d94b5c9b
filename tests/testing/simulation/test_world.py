"""What goes wrong in a world is found: each fault put in on purpose, by one of few seeds."""

import asyncio
import math
import os
import random
import time
import uuid

import pytest

from satchel import MemoryStore, StoreTimeoutError, StoreUnavailableError
from satchel._threads import in_thread
from satchel.backend import coalescer, engine
from satchel.testing.simulation import (
    Faults,
    ProcessCrashedError,
    Recorder,
    SimulatedEngine,
    SimulatedServer,
    SimulatedStore,
    Subscription,
    disturb,
    run,
    world,
)
from satchel.wrappers import RetryWrapper, retry

SEEDS = range(40)


def error_of(scenario, seed=1):
    """Run a scenario, and return what it raised."""
    return run(scenario, seed).error


def first_error(scenario, seeds=SEEDS):
    """Return what the first failing run raised."""
    return next((error for seed in seeds if (error := error_of(scenario, seed)) is not None), None)


# What the world itself finds.


def test_a_task_that_is_left_is_found():
    async def scenario(world):
        world.main.loop.background = asyncio.create_task(asyncio.Event().wait(), name="left")

    assert "tasks are left: Event.wait" in str(error_of(scenario))


def test_a_timer_that_is_left_is_found():
    async def scenario(world):
        def again():
            asyncio.get_running_loop().call_later(30, again)

        again()

    assert "a timer of process main is left" in str(error_of(scenario))


def test_a_connection_that_is_left_is_found():
    async def scenario(world):
        await SimulatedStore(world.main, SimulatedEngine(world)).get("c", "k")

    assert "connections are left: ['main']" in str(error_of(scenario))


def test_an_error_that_nobody_handles_is_found():
    async def scenario(world):
        asyncio.get_running_loop().call_later(1, lambda: 1 / 0)

    assert "ZeroDivisionError" in str(error_of(scenario))


def test_waiting_for_what_never_comes_is_found():
    async def scenario(world):
        await asyncio.Event().wait()

    assert "all wait for something that never comes" in str(error_of(scenario))


def test_a_program_without_end_is_found(monkeypatch):
    monkeypatch.setattr(world, "_STEPS", 5000)

    async def scenario(_world):
        loop = asyncio.get_running_loop()

        def again():
            loop.call_soon(again)

        again()
        await asyncio.Event().wait()

    assert "no end after" in str(error_of(scenario))


# Faults of satchel's own that are put in on purpose.


def calling(make, calls, *, faults, in_order=True, repeats=0, ttl=None):
    """Return a scenario of some calls on one key, each with the seconds after which it is cancelled or None."""

    async def scenario(world):
        store = make(world.main, SimulatedEngine(world, in_order=in_order))
        world.faults, recorder = faults, Recorder(world, ["a"], repeats=repeats)

        async def live():
            async with store:
                for number, together in enumerate(calls):
                    await asyncio.gather(
                        *(
                            recorder.call(world.main, store, f"{number}", kind, ["a"], limit=limit, ttl=ttl)
                            for kind, limit in together
                        )
                    )
                await asyncio.sleep(20)
                world.faults = Faults()
                await recorder.look(world.main, store)

        await world.main.run(live)
        recorder.check()

    return scenario


def test_a_lost_acknowledged_write_is_found(monkeypatch):
    scenario = calling(SimulatedStore, [[("put", None)]], faults=Faults())
    assert first_error(scenario) is None
    monkeypatch.setattr(SimulatedEngine, "write", lambda self, ref, record: None)
    assert "no order" in str(first_error(scenario))


PUTS = [[("put", 0.001)], [("put", None)]] * 4
DELAYS = Faults(delay=0.3)


def patient(process, engine):
    return SimulatedStore(process, engine, timeout=None)


def test_a_late_write_over_an_acknowledged_one_is_found():
    assert first_error(calling(SimulatedStore, PUTS, faults=DELAYS)) is None
    error = first_error(calling(SimulatedStore, PUTS, faults=DELAYS, in_order=False))
    assert "no order of the calls on key a explains their answers" in str(error)


def test_a_write_that_is_cut_off_with_its_caller_is_found(monkeypatch):
    scenario = calling(patient, PUTS, faults=DELAYS, in_order=False)
    assert first_error(scenario) is None
    make = coalescer.Coalescer.__init__

    def unshielded(self, *given, **named):
        make(self, *given, **named | {"shield": False})

    monkeypatch.setattr(coalescer.Coalescer, "__init__", unshielded)
    assert "no order" in str(first_error(scenario))


def test_a_delete_that_tells_two_callers_that_it_was_theirs_is_found(monkeypatch):
    scenario = calling(SimulatedStore, [[("put", None), *[("delete", None)] * 3]] * 3, faults=DELAYS)
    assert first_error(scenario) is None

    def deliver(self, outcomes):
        for merged, outcome in zip(self.groups, outcomes, strict=True):
            for request in merged:
                request.answer(outcome)
        self.groups = []

    monkeypatch.setattr(coalescer._Batch, "deliver", deliver)
    assert "no order" in str(first_error(scenario))


def test_a_second_attempt_that_denies_the_first_is_found(monkeypatch):
    def retrying(process, engine):
        return RetryWrapper(SimulatedStore(process, engine), attempts=2)

    scenario = calling(retrying, [[("put_if_absent", None)]], faults=Faults(reset=0.3), repeats=1)
    assert first_error(scenario) is None
    monkeypatch.setattr(retry, "CONDITIONAL_WRITES", frozenset())
    assert "no order" in str(first_error(scenario))


def test_an_expired_entry_is_found(monkeypatch):
    read = engine.Engine.read

    async def late(self, *given):
        right = self._store.clock
        self._store.clock = lambda: right() - 30
        try:
            return await read(self, *given)
        finally:
            self._store.clock = right

    scenario = calling(SimulatedStore, [[("put", None)]], faults=Faults(), ttl=5)
    assert first_error(scenario) is None
    monkeypatch.setattr(engine.Engine, "read", late)
    assert "no order" in str(first_error(scenario))


# What is simulated.


def test_hours_pass_at_once():
    async def scenario(world):
        begun, wall = time.monotonic(), time.time()
        await asyncio.sleep(7200)
        assert math.isclose(time.monotonic() - begun, 7200, abs_tol=1)
        assert math.isclose(time.time() - wall, 7200, abs_tol=1)

    begun = time.monotonic()
    assert error_of(scenario) is None
    assert time.monotonic() - begun < 3600


def test_a_clock_that_nobody_gave_is_the_worlds_too():
    made = []

    async def scenario(world):
        async with MemoryStore() as store:
            await store.put("c", "k", 1)
            made.append((await store.get_entry("c", "k")).updated_at.timestamp())

    assert error_of(scenario) is None
    assert error_of(scenario) is None
    assert made[0] == made[1]
    assert math.isclose(made[0], world.EPOCH, abs_tol=1)


def test_random_numbers_come_from_the_seed_and_are_random_again_afterwards():
    drawn = []

    async def scenario(world):
        drawn.append((random.random(), os.urandom(8), uuid.uuid4()))

    for seed in (1, 1, 2):
        assert error_of(scenario, seed) is None
    assert drawn[0] == drawn[1] != drawn[2]
    assert os.urandom(8) != os.urandom(8)
    assert time.time() > 0
    assert time.time.__module__ == "time"


def test_work_in_a_thread_is_carried_out_in_its_place():
    seen = []

    async def scenario(world):
        ways = (lambda number: in_thread(seen.append, number), lambda number: asyncio.to_thread(seen.append, number))
        await asyncio.gather(*(ways[number % 2](number) for number in range(8)))

    orders = set()
    for seed in range(5):
        seen.clear()
        assert error_of(scenario, seed) is None
        assert sorted(seen) == list(range(8))
        orders.add(tuple(seen))
    assert len(orders) > 1


def test_a_process_crashes_between_two_steps():
    counted = []

    async def scenario(world):
        process = world.process("short")

        async def count():
            try:
                while True:
                    counted.append(world.now)
                    await asyncio.sleep(1)
            finally:
                counted.append("finally")

        world.later(3.5, process.crash)
        with pytest.raises(ProcessCrashedError):
            await process.run(count)
        assert len(counted) == 4
        await asyncio.sleep(10)
        assert len(counted) == 4
        with pytest.raises(ProcessCrashedError):
            await process.run(count)

    assert error_of(scenario) is None


def test_a_frozen_process_goes_on_later():
    async def scenario(world):
        process = world.process("slow")

        async def wait():
            await asyncio.sleep(1)
            return world.now

        world.later(0.5, process.freeze, 100)
        assert 100.5 <= await process.run(wait) < 101

    assert error_of(scenario) is None


def test_clocks_drift_and_jump_apart():
    async def scenario(world):
        fast = world.process("fast")
        fast.drift = 0.1
        await asyncio.sleep(100)
        assert 9.9 < fast.clock() - world.main.clock() < 10.1
        fast.set_clock(-5)
        assert -5.1 < fast.clock() - world.main.clock() < -4.9

    assert error_of(scenario) is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("drop_request", StoreTimeoutError),
        ("drop_reply", StoreTimeoutError),
        ("reset", StoreUnavailableError),
        ("refuse", StoreUnavailableError),
        ("fail_item", StoreUnavailableError),
        ("hand_back", StoreUnavailableError),
    ],
)
def test_each_fault_strikes(fault, error):
    async def scenario(world):
        server = SimulatedEngine(world)
        async with SimulatedStore(world.main, server) as store:
            await store.get("c", "k")
            world.faults = Faults(**{fault: 1.0})
            with pytest.raises(error):
                await store.put("c", "k", 1)
            world.faults = Faults()
            assert (("c", "k") in server.data) is (fault in ("drop_reply", "reset"))

    assert error_of(scenario) is None


# Changes that are watched.


def watching(live, **settings):
    """Return a scenario that watches collection "c", and gives what is told later to a function."""

    async def scenario(world):
        server = SimulatedEngine(world)
        async with SimulatedStore(world.main, server, **settings) as store, store.watch("c") as changes:
            assert (await anext(changes)).kind == "ready"
            await live(world, server, store, changes)
        assert server.subscriptions == []

    return scenario


@pytest.mark.parametrize("settings", [{}, {"watches_apart": True}])
def test_changes_and_expiry_are_reported(settings):
    async def live(world, server, store, changes):
        await store.put("d", "k", 1)
        await store.put("c", "k", 1, ttl=5)
        assert (await anext(changes)).key == "k"
        assert await store.touch("c", "k", ttl=10)
        assert (await anext(changes)).key == "k"
        assert (await anext(changes)).key == "k"
        assert 10 < world.now < 11
        await store.destroy()
        assert [(await anext(changes)).kind for _ in range(2)] == ["lost", "ready"]

    for seed in range(5):
        assert error_of(watching(live, **settings), seed) is None


@pytest.mark.parametrize(
    ("fault", "latest"), [("reset", 1.0), ("drop_reply", 8.0), ("restart", 8.0), ("cut_off", 8.0), ("freeze", 11.0)]
)
def test_a_report_that_is_lost_is_a_gap_that_is_announced(fault, latest):
    async def live(world, server, store, changes):
        if fault == "restart":
            server.restart(0.5)
        elif fault == "cut_off":
            server.cut_off(world.main, 0.5)
        elif fault == "freeze":
            world.main.freeze(10)
            server.cut_off(world.main, 0.5)
        else:
            world.faults = Faults(**{fault: 1.0})
        begun = world.now
        server.changed(("c", "k"))
        world.faults = Faults()
        assert (await anext(changes)).kind == "lost"
        assert world.now - begun < latest
        assert (await anext(changes)).kind == "ready"

    for seed in range(5):
        assert error_of(watching(live), seed) is None


def test_reports_arrive_in_their_order_late_and_twice():
    async def scenario(world):
        server, heard = SimulatedServer(world), []
        world.faults = Faults(delay=0.3, duplicate=0.3)
        async with Subscription(server, world.main, heard.append) as subscription:
            assert server.subscribe(subscription, "topic")
            for number in range(20):
                server.publish("topic", number)
                server.publish("other", -1)
            server.publish(None, 20)
            await asyncio.sleep(10)
        assert heard == sorted(heard)
        assert set(heard) == set(range(21))
        assert len(heard) > 21
        assert not server.subscribe(subscription, "topic")

    assert error_of(scenario) is None


def test_a_subscription_that_is_left_is_found():
    async def scenario(world):
        await Subscription(SimulatedEngine(world), world.main, print).__aenter__()

    assert "connections are left: ['main']" in str(error_of(scenario))


def test_a_server_of_ones_own_is_called_by_the_same_network():
    async def scenario(world):
        counter = SimulatedServer(world, "counter")
        counts = {"visits": 0}

        def add(name, number):
            counts[name] += number
            return counts[name]

        assert await counter.request(world.main, "add", [("visits", 2), ("visits", 3)], add) == [2, 5]
        counter.restart(10)
        with pytest.raises(OSError, match="down"):
            await counter.request(world.main, "add", [("visits", 1)], add)
        counter.cut_off(world.main, 60)
        await asyncio.sleep(20)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(counter.request(world.main, "add", [("visits", 1)], add), 5)
        await asyncio.sleep(60)
        assert await counter.request(world.main, "add", [("visits", 1)], add) == [6]

    assert error_of(scenario) is None


def test_disturbances_come_from_the_seed():
    async def scenario(world):
        disturb(world, [world.process("a"), world.process("b")], [SimulatedServer(world)], count=8, skew=2)
        await asyncio.sleep(30)

    said = [line for seed in range(10) for line in run(scenario, seed).history]
    for event in ("crashed", "frozen for", "restarts", "is cut off from", "its clock jumps"):
        assert any(event in line for line in said), event
