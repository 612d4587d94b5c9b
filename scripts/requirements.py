"""Which versions are installed: the file `constraints.txt`, the newest there are, and the lowest that are allowed."""

from __future__ import annotations

import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
CONSTRAINTS = PROJECT.with_name("constraints.txt")
HEADER = """\
# The versions that `make test` and `make demo` install, for every Python and system.
# Written by `python3 scripts/dev outdated --renew`.
"""


def project() -> dict[str, Any]:
    """Return the `project` table of `pyproject.toml`."""
    table: dict[str, Any] = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return table


def extras() -> list[str]:
    """Return the names of all extras but `all`, whose own requirements a resolver does not take for direct ones."""
    return sorted(project()["optional-dependencies"].keys() - {"all"})


def supported_pythons() -> list[str]:
    """Return the versions of Python that the package names, the oldest first."""
    words = [classifier.split(" :: ") for classifier in project()["classifiers"]]
    found = [word[-1] for word in words if word[:2] == ["Programming Language", "Python"] and "." in word[-1]]
    return sorted(found, key=lambda version: tuple(map(int, version.split("."))))


def resolve_lowest(uv: str, python: str, groups: Sequence[str], variables: Mapping[str, str]) -> str:
    """Return the lowest versions that `pyproject.toml` allows, for one Python.

    Raises:
        RuntimeError: The resolver failed; the message has what it said.
    """
    options = ["--resolution", "lowest-direct", "--python", python]
    # A requirement counts as direct only where its extra is named here.
    return _resolve(uv, f"{PROJECT.parent.as_posix()}[{','.join(extras())}]", groups, options, variables)


def resolve_newest(uv: str, variables: Mapping[str, str]) -> str:
    """Return what `constraints.txt` would be now, for every Python and system that the package supports.

    Raises:
        RuntimeError: The resolver failed; the message has what it said.
    """
    options = ["--universal", "--python-version", supported_pythons()[0]]
    return HEADER + _resolve(uv, PROJECT.parent.as_posix(), ["dev"], options, variables)


def _resolve(
    uv: str, checkout: str, groups: Sequence[str], options: Sequence[str], variables: Mapping[str, str]
) -> str:
    chosen = [word for group in groups for word in ("--group", f"{PROJECT}:{group}")]
    plain = ["--quiet", "--no-header", "--no-annotate", "--no-emit-package", "satchel"]
    done = subprocess.run(
        [uv, "pip", "compile", *plain, *options, *chosen, "-"],
        input=f"--editable {checkout}\n",
        capture_output=True,
        cwd=PROJECT.parent,
        env=dict(variables),
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def differences(old: str, new: str) -> list[str]:
    """Return a line for each package that two texts of constraints have in other versions."""
    before, after = _by_name(old), _by_name(new)
    return [
        f"{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _by_name(text: str) -> dict[str, str]:
    versions: dict[str, list[str]] = defaultdict(list)
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            versions[name].append(version)
    return {name: ", ".join(found) for name, found in versions.items()}
