"""`python -m benchmarks [NAME ...]` runs all benchmarks, or those named."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks.harness import Report

NAMES = sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - {"__main__", "harness", "value"})


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(NAMES)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in wanted or NAMES:
        report = Report(name)
        importlib.import_module(f"benchmarks.{name}").run(report)
        report.write()
    return 0


sys.exit(main(sys.argv[1:]))
