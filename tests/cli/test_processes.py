"""What only a process of its own shows: signals, closed pipes, imports, completion."""

import asyncio
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import tomllib
from contextlib import contextmanager, suppress

import pytest

from satchel import open_store
from satchel.cli import output
from tests.cli.shell import shell
from tests.patience import wait_until
from tests.project.checkout import ROOT

pytestmark = pytest.mark.long  # whole programs, which take long to start

__all__ = ["shell"]

COUNT = 100_000


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The URL of a store that takes a while to go through."""
    url = f"disk:{tmp_path_factory.mktemp('large')}"

    async def fill():
        async with open_store(url) as store:
            for start in range(0, COUNT, 10_000):
                await store.put_many("c", {f"key-{number:07}": number for number in range(start, start + 10_000)})

    asyncio.run(fill())
    return url


def test_a_listing_ends_quietly_when_nobody_reads_on(shell, large):
    done = shell(f"set -o pipefail; satchel ls c -s {large} | head -3")
    assert done.stdout.decode().splitlines() == ["key-0000000", "key-0000001", "key-0000002"]
    assert (done.returncode, done.stderr) == (141, b"")
    for command in ("export", "ls c --json"):
        done = shell(f"satchel {command} -s {large} | head -c 10")
        assert (done.returncode, len(done.stdout), done.stderr) == (0, 10, b"")


def test_a_full_disk_is_one_line(shell, large):
    for command in (f"ls c -s {large}", f"export -s {large}", "describe -s memory://", "--help"):
        done = shell(f"satchel {command} > /dev/full")
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert b"No space left on device" in done.stderr


@pytest.mark.parametrize("command", ["--help", "ls --help", "get c missing -s memory://", "nosuch"])
def test_closed_streams_are_no_traceback(shell, command):
    for closing in ("| true", ">&- 2>&-", "2>&-", ">&-", "> /dev/full"):
        done = shell(f"satchel {command} {closing}")
        assert b"Traceback" not in done.stderr
        assert b"Exception ignored" not in done.stderr


@contextmanager
def interrupted(shell, *arguments):
    """Start a command; end it by Ctrl-C after the block, and look how it took that."""
    command = [shell.script, *arguments]
    process = subprocess.Popen(
        command, cwd=shell.folder, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, b"", b"satchel: interrupted\n")


@pytest.mark.parametrize("command", ["ls", "copy", "doctor"])
def test_a_command_that_waits_for_a_server_can_be_interrupted(shell, command):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0?timeout=50"
        arguments = ["copy", "memory://", url] if command == "copy" else [command, "-s", url]
        with interrupted(shell, *arguments):
            connection, _ = server.accept()
        connection.close()


def test_an_interrupted_export_leaves_nothing(shell, large):
    with interrupted(shell, "export", "-s", large, "-o", "x"):
        wait_until((shell.folder / "x.partial").exists)
    assert list(shell.folder.iterdir()) == []


def test_help_imports_no_driver_and_nothing_for_the_screen(shell):
    program = (
        "import sys; from satchel.cli import run; run(['--help']); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=shell.environment, check=True)
    modules = set(json.loads(done.stderr.decode().replace("'", '"')))
    assert "typer" in modules
    assert not modules & {"rich", "anyio", "asyncio", "sqlite3", "redis", "asyncpg", "pymongo", "obstore", "pydantic"}


def test_without_typer_it_says_what_to_install():
    program = "import sys; sys.modules['typer'] = None; from satchel.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == (
        b'satchel: the command line needs typer, which is not installed: pip install "satchel[cli]"\n'
    )


def test_commands_and_store_names_are_completed(shell):
    (shell.folder / "satchel.toml").write_text('[stores.production]\nurl = "memory://"\n')
    line = "_SATCHEL_COMPLETE=complete_bash COMP_WORDS='{}' COMP_CWORD={} satchel"
    assert shell(line.format("satchel de", 1)).stdout.split() == [b"describe"]
    assert shell(line.format("satchel ls -s pro", 3)).stdout.split() == [b"production"]


def test_the_command_is_installed_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"satchel": "satchel.cli:main"}


def on_a_terminal(shell, *arguments):
    """Run a command whose standard error is a terminal, and return what that shows."""
    primary, secondary = pty.openpty()
    command = [shell.script, *arguments]
    environment = {**shell.environment, "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=shell.folder, env=environment, stdout=subprocess.PIPE, stderr=secondary)
    os.close(secondary)
    shown = b""
    with suppress(OSError):  # Linux ends a terminal that nobody writes to any more with an error
        while part := os.read(primary, 65536):
            shown += part
    os.close(primary)
    out, _ = process.communicate()
    return process.returncode, out, shown


def test_long_work_shows_a_bar_on_a_terminal(shell, large):
    code, out, shown = on_a_terminal(shell, "stats", "-s", large)
    assert (code, out.splitlines()[-1].split()) == (0, [b"100,000", b"488,890", b"0", b"0", b"c"])
    assert b"counting" in shown
    assert b"entries" in shown


def test_long_work_shows_lines_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(output, "_PLAIN_EVERY", 0.0)
    with output.progress("copying") as show:
        show("5 copied")
        show("9 copied")
    assert capsys.readouterr().err == "copying: 5 copied\ncopying: 9 copied\n"
    monkeypatch.setattr(output, "_PLAIN_EVERY", 5.0)
    with output.progress("copying") as show:
        show("quickly done")
    assert capsys.readouterr().err == ""
