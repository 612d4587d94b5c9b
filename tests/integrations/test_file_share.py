"""The shared files among the examples pass their own tests."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APP = ROOT / "examples" / "file_share"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_it_passes_its_own_tests():
    command = [sys.executable, "-m", "pytest", "-q", str(APP)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
