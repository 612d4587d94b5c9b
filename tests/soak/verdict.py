"""The rule by which a soak passes or fails, from what was measured alone."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.soak.load import Problem

ALLOWED = {"memory": 4.0, "blocks": 15_000.0, "descriptors": 3.0, "threads": 1.0, "tasks": 3.0}
"""Growth of each gauge that is no leak, memory in MiB, and blocks of memory as Python counts them."""
LEAST = {"tasks"}
"""Gauges that count requests too: their least value is looked at, which no load raises."""
ENOUGH = 8
Sample = Mapping[str, float]


@dataclass(frozen=True)
class Disturbances:
    """When the server was disturbed, and the seconds after each in which requests may still fail."""

    spans: Sequence[tuple[float, float]]
    settle: float

    def touch(self, began: float, ended: float) -> bool:
        return any(began <= end + self.settle and ended >= begin for begin, end in self.spans)


def growth(samples: Sequence[Sample], gauge: str, disturbances: Disturbances) -> float:
    """Return what a gauge is in the last quarter less what it is in the second, in quiet times; the first warms up.

    That is its median, or for some its least value.
    """
    values = [sample[gauge] for sample in samples if not disturbances.touch(sample["at"], sample["at"])]
    if len(values) < ENOUGH:
        raise ValueError(f"{len(values)} samples in quiet times are too few for a verdict")
    quarter = len(values) // 4
    typical: Callable[[Sequence[float]], float] = min if gauge in LEAST else statistics.median
    return typical(values[-quarter:]) - typical(values[quarter : 2 * quarter])


def unexpected(problems: Sequence[Problem], disturbances: Disturbances) -> list[Problem]:
    """Return the requests that failed in quiet times, and those that were answered wrongly or by a 500 at any."""
    return [
        problem
        for problem in problems
        if problem.what.endswith(" 500")
        or "WRONG" in problem.what
        or not disturbances.touch(problem.began, problem.ended)
    ]


def complaints(samples: Sequence[Sample], problems: Sequence[Problem], disturbances: Disturbances) -> list[str]:
    """Return what speaks against a run; nothing if it passes."""
    found = []
    for gauge, allowed in ALLOWED.items():
        grown = growth(samples, gauge, disturbances)
        if grown > allowed:
            found.append(f"{gauge} grew by {grown:,.1f}; {allowed:,.0f} are allowed")
    left = unexpected(problems, disturbances)
    if left:
        shown = "; ".join(f"{problem.what} at {problem.ended:.1f} s" for problem in left[:5])
        found.append(f"{len(left)} requests failed that should not have, such as {shown}")
    return found
