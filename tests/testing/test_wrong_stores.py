"""The suite catches wrong stores: each named test fails for the store that breaks its promise."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

import satchel.testing.machine
from tests.testing import wrong_stores

FILE = Path(wrong_stores.__file__)
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # whole runs of the suite, on a machine that may be busy

BREAKS_NO_SEQUENCE = {
    wrong_stores.GuessesTypes,
    wrong_stores.TruncatesKeys,
    wrong_stores.LandsLate,
    wrong_stores.CullsWhatIsFresh,
    wrong_stores.ReadsThenWrites,
    wrong_stores.ListsTheFirstPage,
    wrong_stores.SharesTheValue,
    wrong_stores.DestroysEverything,
    wrong_stores.IsSometimesFalsy,
    wrong_stores.BlocksTheLoop,
}
"""What shows only with a rare value, long keys, many entries, two stores, calls at once, or a value that is changed."""


@pytest.fixture(scope="module")
def failed():
    """Run the tests that must fail, and all tests of the right store; return the names of those that failed."""
    chosen = [f"{FILE}::Test{store.__name__}::{name}" for store, names in wrong_stores.WRONG.items() for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider"]
    run = subprocess.run([*command, *chosen, f"{FILE}::TestRightStore"], capture_output=True, text=True, check=False)
    assert "passed" in run.stdout, run.stdout + run.stderr
    assert "error" not in run.stdout.splitlines()[-1], run.stdout
    return {tuple(name) for name in re.findall(r"^FAILED \S*::Test(\w+)::(\S+)", run.stdout, re.MULTILINE)}


def test_a_right_store_passes_everything(failed):
    assert {name for store, name in failed if store == "RightStore"} == set()


@pytest.mark.parametrize("store", wrong_stores.WRONG)
def test_a_wrong_store_is_caught_by_name(failed, store):
    assert {name for owner, name in failed if owner == store.__name__} == set(wrong_stores.WRONG[store])


def run_machine(store, place):
    quick = settings(
        max_examples=600,  # the rarest fault needs a put with a ttl, one without, and time between them
        stateful_step_count=40,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    satchel.testing.machine.check_random_operations(
        lambda clock, place: store(place, clock=clock), place, persistent=True, chosen=quick
    )


@pytest.mark.parametrize("store", [store for store in wrong_stores.WRONG if store not in BREAKS_NO_SEQUENCE])
def test_random_operations_catch_a_wrong_store(store, tmp_path):
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_machine(store, tmp_path)
