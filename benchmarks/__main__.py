"""`python -m benchmarks [--rounds N] [NAME ...]` runs all benchmarks, or those named."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from benchmarks.harness import Report
from scripts.test_servers.fleet import Fleet
from scripts.test_servers.kinds import KINDS

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if "\ndef run(" in path.read_text("utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run all benchmarks, or those named.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=21, help="of each comparison (default: 21)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    names = arguments.names or NAMES
    with Fleet([server for server in map(server_of, names) if server]) as servers:
        if servers.problems:
            parser.error("; ".join(f"{name} cannot be had: {problem}" for name, problem in servers.problems.items()))
        os.environ.update(servers.urls)
        for name in names:
            report = Report(name, arguments.rounds)
            importlib.import_module(f"benchmarks.{name}").run(report)
            report.write()
    return 0


def server_of(name: str) -> str | None:
    """Return the server that a benchmark needs; most are called as what they measure."""
    servers = {
        "coordination": "redis",
        "blobs_native": "s3",
        "copying": "redis",
        "near": "redis",
        "objectstore": "s3",
        "sql": "mariadb",
        "stalls": "redis",
        "watch": "redis",
    }
    server = servers.get(name, name)
    return server if server in KINDS else None


sys.exit(main())
