"""The types that users see, as mypy and basedpyright, both strict, see them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "typing"
CHECKERS = {
    "mypy": ["mypy", "--config-file", str(ROOT / "pyproject.toml")],
    "basedpyright": ["basedpyright", "--project", str(FOLDER / "pyrightconfig.json"), "--pythonpath", sys.executable],
}


def check(checker, *files):
    arguments = [sys.executable, "-m", *CHECKERS[checker], *map(str, files)]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_the_types_are_what_they_should_be(checker):
    done = check(checker, *([FOLDER] if checker == "mypy" else []))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_the_checkers_would_say_so_if_they_were_not(checker, tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import assert_type\n"
        "from satchel import Collection\n"
        "async def read(numbers: Collection[int]) -> None:\n"
        "    assert_type(await numbers.get('k'), int)\n"
    )
    done = check(checker, wrong)
    assert done.returncode == 1
    assert "assert" in done.stdout
