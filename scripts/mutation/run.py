"""Runs mutmut on a copy of the checkout, and reads what it found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant

from scripts.mutation.verdict import Module, Mutant, Outcome

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "build/mutation"
NEEDED = ["src", "tests", "scripts", "docs", "pyproject.toml"]
SEPARATOR = "ǁ"
OUTCOMES = {
    0: Outcome.SURVIVED,
    5: Outcome.SURVIVED,  # no test runs the function
    33: Outcome.SURVIVED,  # the same
    1: Outcome.KILLED,
    3: Outcome.KILLED,  # pytest itself ended in an error
    36: Outcome.TIMED_OUT,
    24: Outcome.TIMED_OUT,
    152: Outcome.TIMED_OUT,
    -24: Outcome.TIMED_OUT,
}
"""Meaning of the exit codes that mutmut notes for a mutant."""
SETTINGS = """\
[mutmut]
source_paths=src/
only_mutate=
{sources}
also_copy=
    scripts/
    docs/
pytest_add_cli_args_test_selection=
{tests}
pytest_add_cli_args=
    -p
    no:cacheprovider
    --hypothesis-seed=0
    --timeout=10
timeout_constant=15.0
timeout_multiplier=2.0
use_setproctitle=false
use_git_change_detection=false
"""


def run(module: Module) -> list[Mutant]:
    """Try every change of a module, and return what became of each.

    Raises:
        SystemExit: The tests fail without a change, or mutmut cannot run.
    """
    place = _prepare(module)
    program = str(Path(sys.executable).parent / "mutmut")
    patterns = [f"{prefix}*" for source in module.functions for prefix in _prefixes(module, source)]
    patterns += [f"{_python_name(source)}.x*" for source in module.sources if source not in module.functions]
    with (place / "log").open("wb") as log:
        code = subprocess.run(
            [program, "run", "--max-children", "1", *patterns],
            cwd=place,
            env={**os.environ, "TEST_PROFILE": "quick", "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        ).returncode
    if code != 0:
        raise SystemExit(f"mutmut ended with {code}; what it said is in {place / 'log'}")
    return list(_read(place, module))


def _prepare(module: Module) -> Path:
    """Make the place to work in; mutmut itself copies what the links lead to before it changes anything."""
    place = PLACE / module.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in NEEDED:
        (place / name).symlink_to(ROOT / name)
    sources = "\n".join(f"    src/satchel/{source}" for source in module.sources)
    tests = "\n".join(f"    {test}" for test in module.tests)
    (place / "setup.cfg").write_text(SETTINGS.format(sources=sources, tests=tests), encoding="utf-8")
    return place


def _python_name(source: str) -> str:
    return "satchel." + source.removesuffix(".py").replace("/", ".")


def _prefixes(module: Module, source: str) -> list[str]:
    """Return how the names of the mutants of chosen functions begin."""
    mangled = []
    for function in sorted(module.functions[source]):
        owner, _, name = function.rpartition(".")
        mangled.append(f"x{SEPARATOR}{owner}{SEPARATOR}{name}" if owner else f"x_{name}")
    return [f"{_python_name(source)}.{name}__mutmut_" for name in mangled]


def _read(place: Path, module: Module) -> Iterator[Mutant]:
    with chdir(place):
        for source in module.sources:
            path = f"src/satchel/{source}"
            found = json.loads(Path(f"mutants/{path}.meta").read_text("utf-8"))
            prefixes = tuple(_prefixes(module, source)) if source in module.functions else ("",)
            for name, code in found["exit_code_by_key"].items():
                if name.startswith(prefixes):
                    outcome = OUTCOMES.get(code, Outcome.UNKNOWN)
                    yield Mutant(_function(name), _change(name, path), outcome)


def _function(name: str) -> str:
    """Return the name of the function that a mutant changes, as it is written in the source."""
    mangled = name.rpartition(".")[2].rpartition("__mutmut_")[0]
    return mangled[2:].replace(SEPARATOR, ".") if SEPARATOR in mangled else mangled[2:]


def _change(name: str, path: str) -> str:
    """Return the lines that a mutant replaces and what it puts there."""
    lines = get_diff_for_mutant(name, path=path).splitlines()[2:]
    before = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    after = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return f"{before} => {after}"
