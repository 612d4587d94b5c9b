"""The command as its users have it: a process, found by its name."""

import os
import subprocess
import sys

import pytest

from tests.project.checkout import ROOT


def made_script(folder):
    """Put a script `satchel` into a folder, as installing the package does."""
    folder.mkdir()
    script = folder / "satchel"
    script.write_text(f"#!{sys.executable}\nfrom satchel.cli import main\n\nmain()\n")
    script.chmod(0o755)
    return script


def environment(folder, **variables):
    """Return an environment in which the script of a folder is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SATCHEL_URL")}
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "80", **variables}


@pytest.fixture
def shell(tmp_path):
    """Run a line in a shell that finds `satchel`."""
    script = made_script(tmp_path / "bin")
    (tmp_path / "here").mkdir()

    def call(line, **variables):
        return subprocess.run(  # noqa: S602  # the lines are those of the tests
            line,
            shell=True,
            executable="/bin/bash",
            cwd=tmp_path / "here",
            env=environment(tmp_path / "bin", **variables),
            capture_output=True,
            check=False,
        )

    call.script = script
    call.folder = tmp_path / "here"
    call.environment = environment(tmp_path / "bin")
    return call
