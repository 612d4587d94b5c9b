"""`python -m benchmarks [--rounds N] [NAME ...]` runs all benchmarks, or those named."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.harness import Report

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if "\ndef run(" in path.read_text("utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run all benchmarks, or those named.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=21, help="of each comparison (default: 21)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for name in arguments.names or NAMES:
        report = Report(name, arguments.rounds)
        importlib.import_module(f"benchmarks.{name}").run(report)
        report.write()
    return 0


sys.exit(main())
