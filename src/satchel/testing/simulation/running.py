"""Running scenarios: one seed, many seeds, and the smallest run that still fails."""

from __future__ import annotations

import asyncio
import importlib
import platform
import shlex
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from inspect import unwrap
from operator import attrgetter
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from .surroundings import simulated
from .world import SimulationError, World

Scenario = Callable[[World], Coroutine[Any, Any, object]]
"""Async function of a world. It makes servers and processes, and raises if something is not as promised."""

_MOST_RUNS: Final = 500
_MOST_NAMES: Final = 200


@dataclass(frozen=True)
class Outcome:
    """What came of one run.

    Attributes:
        scenario: What was run.
        seed: The seed.
        taken: Names of the steps and faults that took place.
        history: What happened, a line each.
        trace: Hash over all that happened: the same in every run of the seed.
        error: What the scenario or the world raised; None for a run in which all was as promised.
        is_shrunk: Whether steps and faults were left out.
    """

    scenario: Scenario
    seed: int
    taken: list[str]
    history: list[str] = field(repr=False)
    trace: str
    error: BaseException | None
    is_shrunk: bool = False

    def report(self) -> str:
        """Return the history, the failure, and how to repeat it."""
        said = "" if self.error is None else "".join(traceback.format_exception(self.error))
        python = f"Python {platform.python_version()}"
        lines = [*self.history, "", said, f"trace {self.trace} on {python}; to repeat it:", f"    {self._call()}"]
        if self.is_shrunk and len(self.taken) <= _MOST_NAMES:
            lines += ["the shrunk run alone:", f"    {self._call(self.taken)}"]
        return "\n".join(lines)

    def _call(self, only: list[str] | None = None) -> str:
        """Return what runs it again: a command, or for a scenario without a name of its own a call."""
        name = name_of(self.scenario)
        if name is None:
            said = getattr(self.scenario, "__qualname__", self.scenario)
            return f"run({said}, {self.seed}{'' if only is None else f', {only}'})"
        command = ["python", "-m", "satchel.testing.simulation", "--scenario", name, "--seed", str(self.seed)]
        return shlex.join(command if only is None else [*command, "--only", *only])


def run(scenario: Scenario, seed: int, only: Iterable[str] | None = None) -> Outcome:
    """Run a scenario in a new world, and return what came of it.

    Args:
        scenario: What to run.
        seed: Everything that chance decides comes from it.
        only: Names of the steps and faults that take place; None for all.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("a simulation has event loops of its own; call it from a plain function, not an async one")
    error: BaseException | None = None
    world: Any = None
    with simulated(seed, lambda: float(world.now), lambda: float(_wall(world))):
        world = World(seed, None if only is None else frozenset(only))
        try:
            world.run(scenario)
        except Exception as failure:
            error = failure
        trace, history = world.trace(), list(world.history)
        world.bury()
    return Outcome(scenario, seed, world.taken, history, trace, error, only is not None)


def _wall(world: World) -> float:
    loop = asyncio._get_running_loop()
    return next((process.clock() for process in world.processes if process.loop is loop), world.main.clock())


def shrink(failed: Outcome) -> Outcome:
    """Return the smallest run found that fails in the same way: steps and faults are left out while it does."""
    best, runs = failed, 0
    size = max(1, len(best.taken) // 2)
    while size and runs < _MOST_RUNS:
        start = 0
        while start < len(best.taken) and runs < _MOST_RUNS:
            kept = best.taken[:start] + best.taken[start + size :]
            tried = run(failed.scenario, failed.seed, kept)
            runs += 1
            if type(tried.error) is type(failed.error) and len(tried.taken) < len(best.taken):
                best = tried
            else:
                start += size
        size = size // 2 if size > 1 or runs >= _MOST_RUNS else 0
    return best


def check(scenario: Scenario, seeds: Iterable[int]) -> int:
    """Run a scenario once for each seed, and return the number of runs.

    Raises:
        SimulationError: One failed. The message has the shrunk history and the line that repeats it.
    """
    count = 0
    for seed in seeds:
        outcome = run(scenario, seed)
        count += 1
        if outcome.error is not None:
            raise SimulationError(f"seed {seed} fails:\n{shrink(outcome).report()}") from outcome.error
    return count


def name_of(scenario: Scenario) -> str | None:
    """Return the name by which the command finds a scenario from this directory; None if it finds only functions.

    It is `module:function`, or `file.py:function` for a file below this directory whose module is not found from here.
    """
    if not isinstance(scenario, FunctionType) or "<" in scenario.__qualname__:
        return None
    place = scenario.__module__
    here, file = Path.cwd().resolve(), Path(unwrap(scenario).__code__.co_filename).resolve()
    is_found = place.startswith("satchel.") or file == here.joinpath(*place.split(".")).with_suffix(".py")
    if file.is_relative_to(here) and not is_found:
        place = str(file.relative_to(here))
    return f"{place}:{scenario.__qualname__}"


def find(name: str) -> Scenario:
    """Return the scenario of a name, `module:function` or `file.py:function`.

    Raises:
        ImportError, AttributeError: There is none.
    """
    module, _, function = name.rpartition(":")
    if module.endswith(".py"):
        module = _importable(Path(module).resolve())
    found: Scenario = attrgetter(function)(importlib.import_module(module))
    return found


def _importable(file: Path) -> str:
    """Return the name of the module in a file, which can be imported from now on."""
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").exists():
        root, parts = root.parent, [root.name, *parts]
    sys.path.insert(0, str(root))
    return ".".join(parts)
