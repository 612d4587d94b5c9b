"""The soak can fail, and a short one passes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.load import Problem
from tests.soak.verdict import ALLOWED, Disturbances, complaints, growth, unexpected

HOUR = 3600
SPANS = [(float(begin), begin + 3.0) for begin in range(120, HOUR, 120)]
DISTURBANCES = Disturbances(SPANS, settle=5)


def series(**gauges: Callable[[int], float]) -> list[dict[str, float]]:
    """Return the samples of an hour: each gauge steady, with some noise, but those that are given."""
    steady = {gauge: (lambda at: 40 + at % 3) for gauge in ALLOWED}
    return [{"at": at, **{gauge: value(at) for gauge, value in (steady | gauges).items()}} for at in range(0, HOUR, 5)]


def test_a_steady_hour_passes() -> None:
    failed = [Problem(121, 124, "get: 503"), Problem(118, 119.9 + 1, "put: 503"), Problem(127, 127.5, "get: 503")]
    assert complaints(series(), failed, DISTURBANCES) == []


@pytest.mark.parametrize(
    ("gauge", "leak"),
    [
        ("memory", lambda at: 40 + at * 100 * 60 / 2**20),  # 60 bytes with each of 100 requests a second
        ("blocks", lambda at: 300_000 + 50 * at),  # one with every other request
        ("descriptors", lambda at: 40 + at // 240),  # with every other disturbance
        ("threads", lambda at: 4 + at // 600),
        ("tasks", lambda at: 30 + at // 240),
    ],
)
def test_a_slow_leak_fails(gauge: str, leak: Callable[[int], float]) -> None:
    (line,) = complaints(series(**{gauge: leak}), [], DISTURBANCES)
    assert line.startswith(f"{gauge} grew by")


def test_growth_while_warming_up_is_none() -> None:
    assert complaints(series(memory=lambda at: min(at, 600)), [], DISTURBANCES) == []


def test_what_is_held_only_while_the_server_is_away_is_no_growth() -> None:
    held = series(tasks=lambda at: 500 if DISTURBANCES.touch(at, at) else 20)
    assert growth(held, "tasks", DISTURBANCES) == 0


@pytest.mark.parametrize(
    "problem",
    [
        Problem(60, 61, "get: 503"),
        Problem(128.5, 129, "get: 503"),  # too long after a disturbance
        Problem(121, 122, "get: 500"),
        Problem(121, 122, "get: WRONG ANSWER: d1 is version 2, not 3"),
    ],
)
def test_an_unexpected_failure_fails(problem: Problem) -> None:
    assert unexpected([problem], DISTURBANCES) == [problem]
    (line,) = complaints(series(), [problem], DISTURBANCES)
    assert problem.what in line


def test_a_run_that_saw_nothing_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="too few"):
        complaints(series()[:5], [], DISTURBANCES)


@pytest.mark.long
def test_a_picture_is_the_same_each_time(tmp_path: Path) -> None:
    from tests.soak.plot import draw  # noqa: PLC0415  # matplotlib takes a second to load

    parts = [{"until": 60.0 * n, "p50": 0.002, "p99": 0.01 * n, "p99.9": 0.1 * n} for n in range(1, 20)]
    result = {"parts": parts, "samples": series(), "disturbances": [{"begin": 120.0}]}
    for name in ("one", "other"):
        draw(result, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.night
@pytest.mark.timeout(180)
@pytest.mark.server("redis")
def test_a_short_soak_passes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.soak", "--seconds", "30", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert {each["kind"] for each in result["disturbances"]} == {"restart", "cut", "freeze"}
    assert sum(result["requests"].values()) >= 3000
    assert (tmp_path / "soak.svg").stat().st_size > 0
