"""The command `satchel`: stores from the shell. `docs/cli.md` shows it."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

__all__ = ["main", "run"]


def main() -> NoReturn:
    """Run the command with the arguments of this process, and end the process with its exit code."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # the parent process closed it
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: PTH123,SIM115  # to the end
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules were imported
        code = 130
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            if code == 0 and not isinstance(error, BrokenPipeError):
                sys.stderr.write(f"satchel: the output: {error.strerror}\n")
                code = 2
            # Python flushes the streams once more when it ends, which must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command, and return its exit code: 0 done, 1 absent, 2 wrong usage, 3 a store failed."""
    try:
        from .app import command  # noqa: PLC0415  # it imports typer, which may not be installed
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.stderr.write('satchel: the command line needs typer, which is not installed: pip install "satchel[cli]"\n')
        return 2
    return command(arguments)
