"""The command `python -m satchel.testing.simulation`: many seeds of a scenario, or one again."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from typing import TextIO

from .running import Scenario, find, run, shrink
from .scenarios import SCENARIOS

_TELL_SECONDS = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say, and return 1 if a run failed, otherwise 0."""
    options = _parser().parse_args(arguments)
    chosen = [SCENARIOS[name] if name in SCENARIOS else find(name) for name in options.scenario or SCENARIOS]
    if options.seed is not None:
        return max(_once(scenario, options.seed, options.only) for scenario in chosen)
    return _many(chosen, options.first, options.seeds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m satchel.testing.simulation", description="Run simulated programs among faults, by their seeds."
    )
    parser.add_argument(
        "--scenario",
        action="append",
        help=f"one of {', '.join(SCENARIOS)}, module:function or file.py:function; may be given again; all by default",
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many runs, shared by the scenarios")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this seed alone, and print its history")
    parser.add_argument("--only", nargs="*", help="with --seed: the steps and faults that take place, and no others")
    return parser


def _once(scenario: Scenario, seed: int, only: list[str] | None) -> int:
    outcome = run(scenario, seed, only)
    _tell(outcome.report())
    return int(outcome.error is not None)


def _many(scenarios: list[Scenario], first: int, count: int) -> int:
    failed, told = 0, time.monotonic()
    for number in range(count):
        outcome = run(scenarios[number % len(scenarios)], first + number)
        if outcome.error is not None:
            failed += 1
            _tell(f"seed {outcome.seed} fails:\n{shrink(outcome).report()}")
        if time.monotonic() > told + _TELL_SECONDS:
            told = time.monotonic()
            _tell(f"{number + 1} of {count} runs, {failed} failed", sys.stderr)
        if number % 100 == 0:
            gc.collect()
    _tell(f"{count} runs from seed {first}, {failed} failed")
    return int(failed > 0)


def _tell(text: str, stream: TextIO | None = None) -> None:
    print(text, file=stream, flush=True)  # it is a command


if __name__ == "__main__":
    sys.exit(main())
