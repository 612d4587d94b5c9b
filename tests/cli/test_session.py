"""The sessions of the page, word for word, in one shell."""

import re
import subprocess
from uuid import uuid4

import pytest

from tests.cli.shell import shell
from tests.project.checkout import ROOT
from tests.project.markdown import Page
from tests.servers import server_url

__all__ = ["shell"]

PROGRESS = re.compile(r"(copying|mirroring|exporting|importing|counting): ")
"""A line that long work shows every five seconds: on a busy machine any command can take that long."""
SHOWN = "redis://localhost:6379/0?prefix=shop"


def steps():
    """Return the commands of the page, each with what it writes."""
    found = []
    for block in Page((ROOT / "docs" / "cli.md").read_text("utf-8")).blocks:
        if block.language == "console":
            for line in block.code.splitlines():
                if line.startswith("$ "):
                    found.append((line[2:], []))
                else:
                    found[-1][1].append(line)
    return found


@pytest.mark.timeout(300)  # each command is a process
@pytest.mark.server("redis")
def test_the_sessions_of_the_page(shell):
    url = f"'{server_url('redis')}?prefix={uuid4().hex}'"
    mark = "--- end ---"
    script = "".join(f"{command.replace(SHOWN, url)}\necho '{mark}'\n" for command, _ in steps())
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}satchel rm users ada -s {url}; satchel rm files logo.png -s {url}"],  # noqa: S607  # the shell of the user
        cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    written = [
        [line for line in part.strip("\n").splitlines() if not PROGRESS.match(line)]
        for part in done.stdout.split(f"{mark}\n")
    ]
    for (command, expected), actual in zip(steps(), written, strict=False):
        assert (command, actual) == (command, expected)
    assert len(written) == len(steps()) + 1
    assert (shell.folder / "logo.png").read_bytes() == b"\x89PNG"
