"""Serving what is there while it is refreshed: stale entries, and early refreshes."""

import asyncio
import logging
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import Capability, MemoryStore, StoreUnavailableError
from satchel._single_flight import is_due_early
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import SingleFlightWrapper, TTLWrapper
from tests.scripted import turns
from tests.wrappers.single_flight import Factory, other_tasks, quiet

STALE = {"ttl": 60, "stale": 30}
ALWAYS_EARLY, NEVER_EARLY = 1e15, 1e-15


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return SingleFlightWrapper(MemoryStore(clock=clock))


async def test_a_stale_value_is_served_at_once_while_one_call_refreshes_it(store, clock):
    factory = Factory("old", "new")
    assert await store.get_or_put("c", "k", factory, **STALE) == "old"
    assert (await store.get_entry("c", "k")).ttl == 90
    clock.advance(59)
    assert await store.get_or_put("c", "k", factory, **STALE) == "old"
    assert factory.runs == 1
    clock.advance(2)
    factory.gate.clear()
    assert [await store.get_or_put("c", "k", factory, **STALE) for _ in range(10)] == ["old"] * 10
    await turns(5)
    assert factory.runs == 2
    factory.gate.set()
    await quiet()
    assert await store.get_or_put("c", "k", factory, **STALE) == "new"
    assert (await store.get_entry("c", "k")).ttl == 90
    assert factory.runs == 2


async def test_other_verbs_see_a_stale_entry(store, clock):
    await store.get_or_put("c", "k", Factory("old"), **STALE)
    clock.advance(61)
    assert await store.get("c", "k") == "old"
    assert await store.exists("c", "k") is True
    clock.advance(30)
    assert await store.get("c", "k") is None


async def test_past_the_stale_time_callers_wait(store, clock):
    factory = Factory("old", "new")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(91)
    assert await store.get_or_put("c", "k", factory, **STALE) == "new"


async def test_a_refresh_that_fails_is_logged_once_without_the_value_and_the_stale_value_served(store, clock, caplog):
    factory = Factory("old", ValueError("a secret value"), "new")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    with caplog.at_level(logging.WARNING, "satchel"):
        assert await store.get_or_put("c", "k", factory, **STALE) == "old"
        await quiet()
    assert [record.getMessage() for record in caplog.records] == [
        "MemoryStore() could not refresh an entry of 'c': ValueError"
    ]
    assert "secret" not in caplog.text
    assert await store.get_or_put("c", "k", factory, **STALE) == "old"
    await quiet()
    assert await store.get_or_put("c", "k", factory, **STALE) == "new"
    assert factory.runs == 3


async def test_a_refresh_that_the_backend_fails_keeps_the_stale_value_until_its_end(clock, caplog):
    inner = FlakyStore(clock=clock)
    store = SingleFlightWrapper(inner)
    factory = Factory("old", "new")
    await store.get_or_put("c", "k", factory, **STALE)
    for _ in range(3):
        clock.advance(22)
        inner.fail_next(operation="put_if")
        assert await store.get_or_put("c", "k", factory, **STALE) == "old"
        await quiet()
    assert factory.runs == 2  # only the last of the three was stale
    assert "StoreUnavailableError" in caplog.text
    clock.advance(25)
    inner._failures.clear()
    assert await store.get_or_put("c", "k", factory, **STALE) == "new"


async def test_callers_who_come_after_the_end_join_the_refresh_that_is_under_way(store, clock):
    factory = Factory("old", "new")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    factory.gate.clear()
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(30)
    callers = [asyncio.create_task(store.get_or_put("c", "k", factory, **STALE)) for _ in range(3)]
    await turns(10)
    callers[0].cancel()
    factory.gate.set()
    assert await asyncio.gather(*callers[1:]) == ["new", "new"]
    assert factory.runs == 2
    assert await store.get("c", "k") == "new"


async def test_a_refresh_is_not_cancelled_with_those_who_joined_it(store, clock):
    factory = Factory("old", "new")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    factory.gate.clear()
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(30)
    caller = asyncio.create_task(store.get_or_put("c", "k", factory, **STALE))
    await turns(10)
    caller.cancel()
    await asyncio.wait([caller])
    factory.gate.set()
    await quiet()
    assert await store.get("c", "k") == "new"
    assert factory.cancelled == 0


@pytest.mark.parametrize("conditional", [True, False])
async def test_what_was_put_during_a_refresh_stays_where_the_store_can_tell(clock, conditional):
    inner = MemoryStore(clock=clock)
    if not conditional:
        inner._missing = Capability.CONDITIONAL
    store = SingleFlightWrapper(inner)
    factory = Factory("old", "refreshed")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    factory.gate.clear()
    await store.get_or_put("c", "k", factory, **STALE)
    await inner.put("c", "k", "put by somebody")
    factory.gate.set()
    await quiet()
    assert await store.get("c", "k") == ("put by somebody" if conditional else "refreshed")


async def test_what_was_deleted_during_a_refresh_stays_away(store, clock):
    factory = Factory("old", "refreshed")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    factory.gate.clear()
    await store.get_or_put("c", "k", factory, **STALE)
    await turns(5)
    assert await store.delete("c", "k") is True
    factory.gate.set()
    await quiet()
    assert await store.get("c", "k") is None
    assert factory.runs == 2


async def late_call(store, factory, arrives):
    """Begin a call that has read the entry, and hears of it when it arrives."""
    get_entry = store.inner.get_entry

    async def slow_get_entry(*arguments):
        found = await get_entry(*arguments)
        await arrives.wait()
        return found

    store.inner.get_entry = slow_get_entry
    late = asyncio.create_task(store.get_or_put("c", "k", factory, **STALE))
    await turns(5)
    store.inner.get_entry = get_entry
    return late


async def test_who_read_before_a_refresh_ended_does_not_begin_another(store, clock):
    factory, arrives = Factory("old", "new"), asyncio.Event()
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    late = await late_call(store, factory, arrives)
    assert await store.get_or_put("c", "k", factory, **STALE) == "old"
    await turns(20)
    arrives.set()
    assert await late == "old"
    await quiet()
    assert factory.runs == 2


async def test_a_flight_of_another_key_does_not_end_a_refresh(store, clock):
    factory, arrives = Factory("old", "new"), asyncio.Event()
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    late = await late_call(store, factory, arrives)
    await store.get_or_put("c", "other", Factory(1))
    arrives.set()
    assert await late == "old"
    await quiet()
    assert await store.get("c", "k") == "new"


async def test_an_entry_without_a_deadline_is_fresh(store, clock):
    await store.put("c", "k", "for ever")
    clock.advance(1e9)
    factory = Factory("new")
    assert await store.get_or_put("c", "k", factory, **STALE, early=ALWAYS_EARLY) == "for ever"
    assert (factory.runs, other_tasks()) == (0, set())


async def test_times_that_a_wrapper_inside_shortens_come_off_the_fresh_ones(clock):
    store = SingleFlightWrapper(TTLWrapper(MemoryStore(clock=clock), maximum=50))
    factory = Factory("old", "new")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(19)
    await store.get_or_put("c", "k", factory, **STALE)
    assert (factory.runs, other_tasks()) == (1, set())
    clock.advance(2)
    await store.get_or_put("c", "k", factory, **STALE)
    await quiet()
    assert factory.runs == 2


async def test_an_early_refresh_runs_behind_the_value(store):
    factory = Factory("old", "new", "newest")
    assert await store.get_or_put("c", "k", factory, ttl=60, early=ALWAYS_EARLY) == "old"
    assert await store.get_or_put("c", "k", factory, ttl=60, early=NEVER_EARLY) == "old"
    assert (factory.runs, other_tasks()) == (1, set())
    assert await store.get_or_put("c", "k", factory, ttl=60, early=ALWAYS_EARLY) == "old"
    await quiet()
    assert factory.runs == 2
    assert await store.get_or_put("c", "k", factory, ttl=60) == "new"


async def test_what_this_process_never_made_is_not_refreshed_early(store):
    await store.put("c", "k", "put by another process", ttl=60)
    factory = Factory("new")
    assert await store.get_or_put("c", "k", factory, ttl=60, early=ALWAYS_EARLY) == "put by another process"
    assert (factory.runs, other_tasks()) == (0, set())


async def test_what_factories_took_is_kept_for_so_many_keys(store, monkeypatch):
    monkeypatch.setattr("satchel._single_flight._MOST_COSTS", 3)
    for key in "abca" + "d":
        await store.delete("c", key)
        await store.get_or_put("c", key, Factory(1), ttl=60, early=NEVER_EARLY)
    assert [key for _, key in store._flights._costs] == ["c", "a", "d"]


async def test_a_seed_makes_the_same_calls_refresh():
    async def refreshed(seed):
        clock = FakeClock()
        store = SingleFlightWrapper(MemoryStore(clock=clock), seed=seed)
        await store.get_or_put("c", "k", Factory(0), ttl=60, early=1.0)
        outcomes = []
        for _ in range(64):
            store._flights._costs["c", "k"] = 60.0
            factory = Factory(1)
            await store.get_or_put("c", "k", factory, ttl=60, early=1.0)
            await quiet()
            outcomes.append(factory.runs)
        return outcomes

    first = await refreshed(1)
    assert first == await refreshed(1)
    assert first != await refreshed(2)
    assert 0 < sum(first) < 64


@given(
    left=st.floats(0.01, 1000),
    cost=st.floats(0.001, 100),
    early=st.floats(0.01, 10),
    drawn=st.floats(0, 1, exclude_max=True),
)
def test_an_early_refresh_is_the_paper_s(left, cost, early, drawn):
    # now - delta * beta * log(rand()) >= expiry, with rand() above 0 and at most 1
    now, uniform = 1000.0, 1 - drawn
    expected = now - cost * early * math.log(uniform) >= now + left
    if not math.isclose(-cost * early * math.log(uniform), left, rel_tol=1e-6):
        assert is_due_early(left, cost, early, drawn) is expected


@pytest.mark.parametrize(("left", "cost", "early"), [(1, 1, 1.0), (10, 5, 1.0), (10, 5, 2.0), (0.5, 0.1, 1.0)])
def test_the_share_of_calls_that_refresh_early(left, cost, early):
    draw = random.Random(7).random
    share = sum(is_due_early(left, cost, early, draw()) for _ in range(100_000)) / 100_000
    assert share == pytest.approx(math.exp(-left / (cost * early)), abs=0.01)


async def test_closing_cancels_refreshes_and_leaves_no_task(store, clock):
    factory = Factory("old", "new")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    factory.gate.clear()
    assert await store.get_or_put("c", "k", factory, **STALE) == "old"
    await turns(5)
    await store.aclose()
    assert (factory.runs, factory.cancelled, other_tasks()) == (2, 1, set())


async def test_closing_cancels_a_refresh_whose_result_is_not_wanted_any_more(store, clock):
    factory = Factory("old", "new")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    factory.gate.clear()
    await store.get_or_put("c", "k", factory, **STALE)
    await turns(5)
    await store.delete("c", "k")
    await store.aclose()
    assert (factory.cancelled, other_tasks()) == (1, set())


async def test_closing_waits_for_a_refresh_that_somebody_joined(store, clock):
    factory = Factory("old", "new")
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    factory.gate.clear()
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(30)
    caller = asyncio.create_task(store.get_or_put("c", "k", factory, **STALE))
    await turns(5)
    closing = asyncio.create_task(store.aclose())
    await turns(5)
    factory.gate.set()
    assert await caller == "new"
    await closing


async def test_a_refresh_that_fails_tells_those_who_joined_it(store, clock, caplog):
    factory = Factory("old", StoreUnavailableError("down"))
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(61)
    factory.gate.clear()
    await store.get_or_put("c", "k", factory, **STALE)
    clock.advance(30)
    callers = [asyncio.create_task(store.get_or_put("c", "k", factory, **STALE)) for _ in "ab"]
    await turns(10)
    factory.gate.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(error) for error in errors] == [StoreUnavailableError] * 2
    assert len(caplog.records) == 1
