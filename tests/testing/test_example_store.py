"""The example of a third party's store: the right one passes the suite, the wrong one fails it by name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_store"


pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # whole runs of the suite, on a machine that may be busy


def run_pytest(*chosen):
    command = [sys.executable, "-m", "pytest", *chosen, "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)


def test_the_right_store_passes_in_under_20_lines():
    run = run_pytest("test_mapping_store.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) > 150
    assert "skipped" not in run.stdout
    assert len((EXAMPLE / "test_mapping_store.py").read_text().splitlines()) < 20


def test_the_wrong_store_is_caught_by_name():
    run = run_pytest("test_wrong_store.py", "-k", "collide or not_there or come_back")
    failed = set(re.findall(r"^FAILED \S*::(test_\w+)", run.stdout, re.MULTILINE))
    assert failed == {
        "test_names_joined_with_separators_do_not_collide",
        "test_deleting_an_expired_entry_says_it_was_not_there",
    }, run.stdout + run.stderr
