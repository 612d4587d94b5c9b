"""The servers of the tests: started once, used as they are where somebody said where, and ended without a remainder."""

import json
import platform
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.test_servers import fleet
from scripts.test_servers.fleet import Fleet, stop_servers, urls
from scripts.test_servers.server import HOST, Server, free_port

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# What `scripts/servers start` does, with a server that takes its time, in case somebody else starts it too.
START = """
import pathlib, sys, time
from scripts.test_servers import fleet
place = pathlib.Path(sys.argv[1])

def slow(server):
    begun = place / str(server.port_for("main"))
    begun.touch()
    for _ in range(50):
        if len(list(place.iterdir())) > 2:
            break
        time.sleep(0.01)
    server.spawn(["sleep", "60"])
    return f"slow://{begun.name}"

fleet.STATE, fleet.KINDS = place / "state", {"slow": slow}
print(fleet.Fleet(["slow"], outlive=True).urls["SATCHEL_TEST_SLOW_URL"])
"""
# Asks for one of a few ports in a process of its own.
ASK_FOR_ONE_OF = """
import random
from scripts.test_servers.server import free_port
random.sample = lambda *_: {}
print(free_port())
"""
URL = {"SATCHEL_TEST_SLEEPERS_URL": "sleep://here"}


def sleepers(server: Server) -> str:
    """Start two processes that do nothing."""
    server.spawn(SLEEP)
    server.spawn(SLEEP)
    server.ask_version(sys.executable)
    return "sleep://here"


def broken(server: Server) -> str:
    """Start a program that is not there."""
    server.spawn([str(server.directory / "nowhere")])
    return "never://"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], Fleet]]:
    monkeypatch.setattr(fleet, "KINDS", {"sleepers": sleepers, "broken": broken})
    monkeypatch.setattr(fleet, "STATE", tmp_path / "state")
    started: list[Fleet] = []

    def begin(name: str) -> Fleet:
        started.append(Fleet([name], outlive=True))
        return started[-1]

    yield begin
    for each in started:
        each.__exit__(None, None, None)


def is_gone(server: Server) -> bool:
    return not server.directory.exists() and all(process.wait(5) != 0 for process in server.processes)


def test_a_second_start_uses_what_runs_and_stopping_leaves_nothing(start: Callable[[str], Fleet]) -> None:
    first, second = start("sleepers"), start("sleepers")
    (server,) = first._servers
    assert first.urls == second.urls == urls() == URL
    assert second._servers == []
    assert stop_servers(["sleepers"]) == ["sleepers"]
    assert is_gone(server)
    assert urls() == {}
    assert stop_servers(["sleepers"]) == []


def test_the_version_that_runs_is_known_to_who_starts_it_and_to_who_uses_it(start: Callable[[str], Fleet]) -> None:
    expected = f"{Path(sys.executable).name} {platform.python_version()}"
    first, second = start("sleepers"), start("sleepers")
    assert first.versions == second.versions == {"SATCHEL_TEST_SLEEPERS_URL": expected}


def test_two_shells_that_start_a_server_at_once_get_the_same_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fleet, "STATE", tmp_path / "state")
    (tmp_path / "state").mkdir()
    command = [sys.executable, "-c", START, str(tmp_path)]
    shells = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {shell.communicate(timeout=30)[0] for shell in shells}
    begun = [each.name for each in tmp_path.iterdir() if each.name != "state"]
    assert stop_servers(["slow"]) == ["slow"]
    assert len(begun) == 1
    assert said == {f"slow://{begun[0]}\n"}


def test_what_is_left_of_one_that_ended_in_part_goes_before_the_next(start: Callable[[str], Fleet]) -> None:
    (server,) = start("sleepers")._servers
    server.processes[0].kill()
    server.processes[0].wait()
    assert urls() == {}
    (other,) = start("sleepers")._servers
    assert is_gone(server)
    stop_servers(["sleepers"])
    assert is_gone(other)


def test_stopping_spares_a_process_that_only_has_the_number_of_one(start: Callable[[str], Fleet]) -> None:
    (server,) = start("sleepers")._servers
    file = fleet.STATE / "sleepers.json"
    state = json.loads(file.read_text("utf-8"))
    state["processes"] = [(pid, began - 1) for pid, began in state["processes"]]
    file.write_text(json.dumps(state), "utf-8")
    stop_servers(["sleepers"])
    assert [process.poll() for process in server.processes] == [None, None]


def test_a_url_in_the_environment_is_used_as_it_is(
    start: Callable[[str], Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATCHEL_TEST_SLEEPERS_URL", "sleep://elsewhere")
    assert start("sleepers").urls == {"SATCHEL_TEST_SLEEPERS_URL": "sleep://elsewhere"}
    assert urls() == {}


def test_one_whose_program_cannot_be_run_is_a_problem_and_not_an_end(start: Callable[[str], Fleet]) -> None:
    begun = start("broken")
    assert begun.urls == {}
    assert "nowhere" in begun.problems["broken"]


def test_a_port_is_given_to_one_process_once_and_to_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [free_port() for _ in range(3)]
    with socket.create_server((HOST, 0)) as other:
        assert max(here) < other.getsockname()[1]
    monkeypatch.setattr(random, "sample", lambda *_: here)
    with pytest.raises(RuntimeError, match="no free port"):
        free_port()
    done = subprocess.run(
        [sys.executable, "-c", ASK_FOR_ONE_OF.format(here)], capture_output=True, text=True, check=False
    )
    assert "no free port" in done.stderr
