"""The versions that are installed are written down, allowed by the package, and shown where there are newer ones."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.requirements import CONSTRAINTS, differences, supported_pythons
from tests.project.checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LINES = [line for line in CONSTRAINTS.read_text("utf-8").splitlines() if not line.startswith("#")]
LINE = re.compile(r"[a-z0-9-]+==[a-z0-9.!+]+( ; [a-z_]+ .+)?")


def direct_requirements() -> list[str]:
    """Return what the package, its extras and its groups ask for, but for what names the package itself."""
    table = PROJECT["project"]
    lists = [table["dependencies"], *table["optional-dependencies"].values(), *PROJECT["dependency-groups"].values()]
    found = {entry for entries in lists for entry in entries if isinstance(entry, str)}
    return sorted(entry for entry in found if not entry.startswith("satchel["))


def test_constraints_are_names_and_versions_alone() -> None:
    assert [line for line in LINES if LINE.fullmatch(line) is None] == []


@pytest.mark.parametrize("text", direct_requirements())
def test_a_direct_requirement_is_met_by_the_constraints(text: str) -> None:
    asked = Requirement(text)
    given = [Requirement(line) for line in LINES]
    versions = [
        specifier.version
        for line in given
        if canonicalize_name(line.name) == canonicalize_name(asked.name)
        for specifier in line.specifier
    ]
    assert versions
    assert [version for version in versions if version not in asked.specifier] == []


def test_a_package_with_other_versions_is_shown_once() -> None:
    old = "# a remark\na==1\nb==1 ; python_version < '3.13'\nb==2 ; python_version >= '3.13'\nc==1\n"
    new = "a==1\nb==1 ; python_version < '3.13'\nb==3 ; python_version >= '3.13'\nd==1\n"
    (b, c, d) = differences(old, new)
    assert b.endswith("-> 1 ; python_version < '3.13', 3 ; python_version >= '3.13'")
    assert (c, d) == ("c: 1 -> absent", "d: absent -> 1")


def test_a_python_that_only_pyenv_has_is_found(tmp_path: Path) -> None:
    """Its command on PATH ends with an error for a version that is there but not made global."""
    version = supported_pythons()[-1]
    shim, behind = tmp_path / "shims", tmp_path / "pyenv" / "versions" / f"{version}.1" / "bin"
    for folder, program in [(shim, "exit 127"), (behind, f"echo {version}")]:
        folder.mkdir(parents=True)
        path = folder / f"python{version}"
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
    variables = {"PATH": f"{shim}{os.pathsep}{os.defpath}", "PYENV_ROOT": str(tmp_path / "pyenv")}
    program = f"from pythons import find_pythons; print(find_pythons()[{version!r}])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=variables,
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(behind / f"python{version}"), done.stderr
