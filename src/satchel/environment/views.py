"""What is shown of variables: texts in which secrets are masked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

MASK = "***"


def is_secret_name(name: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether a name, in any case, matches one of the patterns."""
    return any(fnmatchcase(name.upper(), pattern) for pattern in patterns)


class Variables(dict[str, Any]):
    """Dictionary of values by the names of their variables; its `repr` masks those of secrets."""

    def __init__(self, values: Mapping[str, Any], secret: frozenset[str]) -> None:
        super().__init__(values)
        self._secret = secret

    def __repr__(self) -> str:
        return repr({name: MASK if name in self._secret else value for name, value in self.items()})

    __str__ = __repr__


@dataclass(frozen=True)
class Explanation:
    """Where the value of a variable comes from; `str()` returns it as lines.

    Attributes:
        name: The variable.
        value: Its value as text, `***` for a secret; None where it is not set or a fault keeps it from having one.
        source: The source that it comes from; None where it is not set.
        spelling: Its name there, such as `DEV_PORT`.
        overridden: The other places where it is set, each a source and a spelling, the nearest first.
        problem: What keeps it from having a value.
    """

    name: str
    value: str | None
    source: str | None
    spelling: str | None
    overridden: tuple[tuple[str, str], ...] = ()
    problem: str | None = None

    def __str__(self) -> str:
        if self.source is None:
            return f"{self.name} is not set"
        what = f"{self.name} = {self.value}" if self.problem is None else f"{self.name}: {self.problem}"
        where = [f"  from {self.source} as {self.spelling}"]
        where += [f"  over {source} as {spelling}" for source, spelling in self.overridden]
        return "\n".join([what, *where])
