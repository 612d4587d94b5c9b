"""Finds the Pythons of this machine that the package supports."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from requirements import supported_pythons

PATIENCE = 30


def find_pythons() -> dict[str, str]:
    """Return the path of a Python for each supported version that there is, on PATH or among those of pyenv."""
    found = {}
    for version in supported_pythons():
        working = (path for path in _candidates(version) if _version(path) == version)
        path = next(working, None)
        if path is not None:
            found[version] = path
    return found


def _candidates(version: str) -> Iterator[str]:
    for folder in os.get_exec_path():
        path = shutil.which(f"python{version}", path=folder)
        if path is not None:
            yield path
    # pyenv's commands on PATH answer for the versions alone that it was told to make global.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob(f"versions/{version}.*/bin/python{version}"), reverse=True))


def _version(path: str) -> str:
    """Return the version that a Python says it is, or nothing where it does not run."""
    ask = [path, "-c", "import sys, ssl, sqlite3; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(
            ask, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
