"""Stores and stacks of wrappers keep their guarantees on every seed, and leave nothing behind."""

import asyncio
import gc

import pytest

from satchel import BaseStore
from satchel.testing.simulation import SimulatedLoop, check
from satchel.testing.simulation.scenarios import SCENARIOS
from satchel.wrappers import BaseWrapper
from tests.conftest import profile

COUNT = {"quick": 10, "default": 200, "long": 2000}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_seed_keeps_the_guarantees(name):
    count = COUNT[profile()]
    assert check(SCENARIOS[name], range(count)) == count


def test_a_touch_that_is_repeated_after_its_entry_expired_may_deny_it():
    assert check(SCENARIOS["stacks"], [508_858]) == 1


def test_a_value_that_a_repeated_put_wrote_twice_has_two_versions():
    assert check(SCENARIOS["stacks"], [518_558, 524_733]) == 2


@pytest.mark.night
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SCENARIOS)
def test_very_many_seeds_keep_the_guarantees(name):
    assert check(SCENARIOS[name], range(100_000, 120_000)) == 20_000


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_of_a_run_stays_in_memory(name):
    kinds = (BaseStore, BaseWrapper, SimulatedLoop, asyncio.Task)

    def living() -> int:
        gc.collect()
        return sum(isinstance(each, kinds) for each in gc.get_objects())

    check(SCENARIOS[name], range(1))
    before = living()
    check(SCENARIOS[name], range(3, 13))
    assert living() <= before
