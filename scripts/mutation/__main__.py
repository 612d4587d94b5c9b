"""Mutation testing: `python3 scripts/dev mutation [MODULE ...]` changes modules one place at a time and runs tests.

`modules.toml` names the modules and the tests that judge them. A change that no test notices has to be in
`survivors.toml`, with the reason why none can; otherwise the run fails and shows it. All work is done on copies below
`build/mutation`: an interrupted run leaves the sources as they were. MODULE=NAME does the same as an argument.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from scripts.mutation.run import run
from scripts.mutation.verdict import Module, judge, read_modules, table

HERE = Path(__file__).parent


def main(names: list[str]) -> int:
    """Test the modules that are named, or all, and return the exit code."""
    modules = read_modules((HERE / "modules.toml").read_text("utf-8"))
    listed = tomllib.loads((HERE / "survivors.toml").read_text("utf-8"))
    unknown = [name for name in names if name not in modules]
    if unknown:
        print(f"no such module: {', '.join(unknown)}; there are {', '.join(modules)}", file=sys.stderr)
        return 2
    chosen: list[Module] = [module for name, module in modules.items() if not names or name in names]
    verdicts = []
    for module in chosen:
        print(f"== {module.name}", flush=True)
        verdict = judge(module.name, run(module), listed.get(module.name, []))
        verdicts.append(verdict)
        print(verdict.report(), flush=True)
    print(table(verdicts))
    return int(any(verdict.failed for verdict in verdicts))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or os.environ.get("MODULE", "").split()))
