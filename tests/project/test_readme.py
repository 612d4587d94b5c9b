"""The table of stores and capabilities in the README is what the stores say of themselves."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_of_capabilities_is_up_to_date():
    command = [sys.executable, str(ROOT / "scripts" / "capability_table.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
