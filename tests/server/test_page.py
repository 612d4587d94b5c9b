"""The sessions of the page, word for word: a server, and curl."""

import re
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest

from tests.cli.shell import environment, made_script
from tests.project.checkout import ROOT
from tests.project.markdown import Page

ADDRESS = "http://127.0.0.1:8377"


def sessions():
    """Return the commands of the page, each with what it writes."""
    found = []
    for block in Page((ROOT / "docs" / "server.md").read_text("utf-8")).blocks:
        if block.language == "console":
            for line in block.code.splitlines():
                if line.startswith("$ "):
                    found.append((line[2:], []))
                else:
                    found[-1][1].append(line)
    return found


@contextmanager
def running(folder, *arguments):
    """Run `satchel serve` as a user does, and give the process and its first line."""
    script = folder / "bin" / "satchel"
    if not script.exists():
        made_script(folder / "bin")
    process = subprocess.Popen(
        [script, "serve", *arguments], cwd=folder, env=environment(folder / "bin"), stderr=subprocess.PIPE, text=True
    )
    try:
        yield process, process.stderr.readline()
    finally:
        process.kill()
        process.communicate()


def address_in(line):
    return re.search(r"http://\S+:\d+", line)[0]


@pytest.mark.long
def test_the_sessions_of_the_page(tmp_path):
    assert shutil.which("curl")
    (serving, said), *rest = sessions()
    with running(tmp_path, *serving.split()[2:], "--port", "0") as (_, line):
        address = address_in(line)
        assert [line.rstrip().replace(address, ADDRESS)] == said
        for command, expected in rest:
            if command.startswith(("curl", "printf")) and "$TOKEN" not in command:
                given = command.replace(ADDRESS, address).replace("curl ", "curl -s ")
                done = subprocess.run(["bash", "-c", given], capture_output=True, text=True, check=True)  # noqa: S607  # the shell of the user
                assert done.stdout.splitlines() == expected, command
    refused = next(step for step in rest if step[0].startswith("satchel"))
    with running(tmp_path, *refused[0].split()[2:]) as (process, line):
        assert [line.rstrip()] == refused[1]
        assert process.wait() == 2


@pytest.mark.long
def test_the_end_of_a_server(tmp_path):
    for name in (signal.SIGTERM, signal.SIGINT):
        with running(tmp_path, "memory:", "--port", "0") as (process, line):
            curl = [shutil.which("curl"), "-sN", f"{address_in(line)}/v1/watch/a"]
            stream = subprocess.Popen(curl, stdout=subprocess.PIPE, text=True)
            assert stream.stdout.readline() == "event: ready\n"
            process.send_signal(name)
            assert process.wait(20) == 0
            assert process.stderr.read() == ""
            stream.communicate(timeout=20)
            assert stream.returncode == 0
