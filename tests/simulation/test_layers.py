"""Layers keep their promises in simulated processes that crash, over an engine in trouble; one seed is one run."""

import pytest

from satchel import _shielding, _update
from satchel.coordination import tally
from satchel.testing.simulation import check
from tests.conftest import profile
from tests.simulation import caching, coordination, following, models, records

SCENARIOS = [*coordination.SCENARIOS, *caching.SCENARIOS, *records.SCENARIOS, *models.SCENARIOS, *following.SCENARIOS]
RUNS = {"quick": 4, "default": 40, "long": 40}
NIGHT_RUNS = 4000


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.__name__)
def scenario(request):
    return request.param


def test_a_layer_keeps_its_promises_in_whatever_happens(scenario):
    check(scenario, range(RUNS[profile()]))
    assert not _update._queues
    assert not tally._tallies
    assert not _shielding._tasks


@pytest.mark.night
@pytest.mark.timeout(7200)
def test_a_layer_keeps_its_promises_in_thousands_of_runs(scenario):
    check(scenario, range(1_000_000, 1_000_000 + NIGHT_RUNS))
