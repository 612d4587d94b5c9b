"""What a run of mutation testing means: which changes were noticed, which are explained, and which are neither."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Outcome(Enum):
    """What became of one change."""

    KILLED = "killed"
    TIMED_OUT = "killed by the time limit"
    SURVIVED = "survived"
    UNKNOWN = "ended without a result"


@dataclass(frozen=True)
class Mutant:
    """One change of the source.

    Attributes:
        function: The function that is changed, with its class.
        change: The lines before and after, as in `survivors.toml`.
        outcome: What became of it.
    """

    function: str
    change: str
    outcome: Outcome


@dataclass(frozen=True)
class Module:
    """Part of the source that is tested on its own.

    Attributes:
        name: Its name in `modules.toml`.
        sources: Files below `src/satchel`.
        functions: For a file of which only some functions are changed, these.
        tests: What pytest runs.
    """

    name: str
    sources: list[str]
    functions: Mapping[str, set[str]]
    tests: list[str]


@dataclass(frozen=True)
class Verdict:
    """Result for one module.

    Attributes:
        name: The module.
        mutants: All changes that were tried.
        explained: Those that survived, as `survivors.toml` says.
        unexplained: Those that survived or ended without a result, and must not.
        stale: Entries of `survivors.toml` that no survivor needs any more.
    """

    name: str
    mutants: list[Mutant]
    explained: list[Mutant] = field(default_factory=list)
    unexplained: list[Mutant] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether a change went unnoticed without an explanation, or nothing was changed at all."""
        return bool(self.unexplained) or not self.mutants

    def count(self, *outcomes: Outcome) -> int:
        """Return the number of changes with these outcomes."""
        return sum(mutant.outcome in outcomes for mutant in self.mutants)

    def report(self) -> str:
        """Return what has to be done, one line for each change."""
        lines = [f"{mutant.outcome.value}: {mutant.function}: {mutant.change}" for mutant in self.unexplained]
        lines += [f"listed, but no longer a survivor: {change}" for change in self.stale]
        return "\n".join(lines) or "every change was noticed or is explained"


def read_modules(text: str) -> dict[str, Module]:
    """Return the modules in a `modules.toml`, by their names."""
    modules = {}
    for name, given in tomllib.loads(text).items():
        functions: dict[str, set[str]] = {}
        for line in given.get("functions", []):
            source, _, function = line.partition(": ")
            functions.setdefault(source, set()).add(function)
        modules[name] = Module(name, given["sources"], functions, given["tests"])
    return modules


def judge(name: str, mutants: Iterable[Mutant], listed: list[dict[str, Any]]) -> Verdict:
    """Return the verdict on a module.

    Args:
        name: The module.
        mutants: What was tried.
        listed: The module's part of `survivors.toml`: functions, their changes, and why each goes unnoticed.

    Raises:
        ValueError: An entry of the list has no reason.
    """
    reasons = {(entry["function"], change) for entry in listed for change in entry["changes"]}
    for entry in listed:
        if not entry.get("why", "").strip():
            raise ValueError(f"survivors.toml gives no reason for {entry['function']}: {entry['changes']}")
    verdict = Verdict(name, list(mutants))
    found = set()
    for mutant in verdict.mutants:
        if mutant.outcome is Outcome.SURVIVED and (mutant.function, mutant.change) in reasons:
            verdict.explained.append(mutant)
            found.add((mutant.function, mutant.change))
        elif mutant.outcome in (Outcome.SURVIVED, Outcome.UNKNOWN):
            verdict.unexplained.append(mutant)
    verdict.stale.extend(f"{function}: {change}" for function, change in sorted(reasons - found))
    return verdict


def table(verdicts: list[Verdict]) -> str:
    """Return the numbers of all modules as a table."""
    lines = [f"{'module':12}{'mutants':>9}{'killed':>9}{'of them by time':>17}{'explained':>11}{'neither':>9}"]
    for verdict in verdicts:
        killed, by_time = verdict.count(Outcome.KILLED, Outcome.TIMED_OUT), verdict.count(Outcome.TIMED_OUT)
        lines.append(
            f"{verdict.name:12}{len(verdict.mutants):9}{killed:9}{by_time:17}{len(verdict.explained):11}"
            f"{len(verdict.unexplained):9}"
        )
    return "\n".join(lines)
