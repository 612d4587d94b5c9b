"""Layers keep their promises in simulated processes that crash, over an engine in trouble; one seed is one run."""

import os
import subprocess
import sys

import pytest

from satchel import _shielding, _update
from satchel.coordination import tally
from satchel.testing.simulation import check, run
from tests.conftest import profile
from tests.simulation import caching, coordination, disk, following, models, records

SCENARIOS = [each for module in (coordination, caching, records, models, following, disk) for each in module.SCENARIOS]
RUNS = {"quick": 4, "default": 40, "long": 40}
NIGHT_RUNS = 4000
SEEDS = range(2)
"""Seeds that are run in two processes."""


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.__name__)
def scenario(request):
    return request.param


def test_a_layer_keeps_its_promises_in_whatever_happens(scenario):
    check(scenario, range(RUNS[profile()]))
    assert not _update._queues
    assert not tally._tallies
    assert not _shielding._tasks


def test_a_seed_is_the_same_run_in_another_process():
    told = [", ".join(run(each, seed).trace for each in SCENARIOS) for seed in SEEDS]
    script = (
        "from satchel.testing.simulation import run\n"
        "from tests.simulation.test_layers import SCENARIOS, SEEDS\n"
        "for seed in SEEDS: print(', '.join(run(each, seed).trace for each in SCENARIOS))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == told


@pytest.mark.night
@pytest.mark.timeout(7200)
def test_a_layer_keeps_its_promises_in_thousands_of_runs(scenario):
    check(scenario, range(1_000_000, 1_000_000 + NIGHT_RUNS))
