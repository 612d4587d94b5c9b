"""Several servers at once: for a run of the tests, or until they are stopped by another command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .install import NotInstalledError
from .kinds import KINDS, variable
from .lock import locked
from .server import GRACE, Server

STATE = Path(__file__).resolve().parents[2] / "build" / "servers"


class Fleet:
    """Holds servers that run as long as it does.

    Args:
        names: Which ones. One whose URL is in the environment already is used as it is.
        outlive: Leave them running when this process ends, for `stop_servers` of a later one.

    Attributes:
        urls: The environment variable of each that answers, with its URL.
        versions: The environment variable of each that answers, with what runs there.
        problems: Why each of the others cannot be had, and how to get it.
    """

    def __init__(self, names: Sequence[str], *, outlive: bool = False) -> None:
        self.urls: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self._servers: list[Server] = []
        self._outlive = outlive
        # Its threads last as long as the servers: a process that is to end with its parent ends with the thread.
        self._threads = ThreadPoolExecutor(len(names) or 1)
        list(self._threads.map(self._start, names))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        list(self._threads.map(Server.stop, self._servers))
        self._threads.shutdown()

    def _start(self, name: str) -> None:
        if not self._outlive:
            self._start_or_use(name)
            return
        with _alone(name):  # another shell may start it just now, and then it is used
            self._start_or_use(name)

    def _start_or_use(self, name: str) -> None:
        given = os.environ.get(variable(name))
        running = {"url": given, "version": "not started here"} if given else _running().get(name)
        if running:
            self._take(name, running["url"], running["version"])
            return
        if self._outlive:
            _stop(name)  # what is left of one of which a part ended
        server = Server(name, KINDS[name], outlives=self._outlive)
        try:
            self._take(name, server.start(), server.version)
        except (NotInstalledError, RuntimeError, OSError) as error:
            self.problems[name] = str(error)
            server.stop()
            return
        self._servers.append(server)
        if self._outlive:
            _remember(server)

    def _take(self, name: str, url: str, version: str) -> None:
        self.urls[variable(name)] = url
        self.versions[variable(name)] = version or "version unknown"


def urls() -> dict[str, str]:
    """Return the variables and URLs of the servers that were left running."""
    return {variable(name): state["url"] for name, state in _running().items()}


def stop_servers(names: Sequence[str]) -> list[str]:
    """End those of the servers that were left running, remove what they wrote, and return their names."""
    known = sorted(file.stem for file in STATE.glob("*.json"))
    return [name for name in known if name in names and _stop_alone(name)]


def _stop_alone(name: str) -> bool:
    with _alone(name):
        return _stop(name)


def _stop(name: str) -> bool:
    """Stop a server; say whether there was one."""
    file = STATE / f"{name}.json"
    if not file.exists():
        return False
    state = json.loads(file.read_text("utf-8"))
    _end([pid for pid, began in state["processes"] if _began(pid) == began])
    shutil.rmtree(state["directory"], ignore_errors=True)
    file.unlink()
    return True


def _alone(name: str) -> AbstractContextManager[None]:
    return locked(STATE / f"{name}.lock")


def _remember(server: Server) -> None:
    processes = [(process.pid, _began(process.pid)) for process in server.processes]
    directory = str(server.directory)
    state = {"url": server.url, "version": server.version, "directory": directory, "processes": processes}
    file = STATE / f"{server.name}.json"
    whole = file.with_suffix(".new")  # others read it at any time
    whole.write_text(json.dumps(state), "utf-8")
    whole.rename(file)


def _running() -> dict[str, dict[str, Any]]:
    """Return the states of those that run; one of which a part ended does not."""
    states: dict[str, dict[str, Any]] = {}
    for file in STATE.glob("*.json"):
        with suppress(FileNotFoundError):  # stopped at this moment
            states[file.stem] = json.loads(file.read_text("utf-8"))
    return {
        name: state for name, state in states.items() if all(_began(pid) == began for pid, began in state["processes"])
    }


def _end(pids: Sequence[int]) -> None:
    for number, patience in ((signal.SIGINT, GRACE), (signal.SIGKILL, GRACE)):
        for pid in pids:
            if _began(pid) is not None:
                os.kill(pid, number)
        end = time.monotonic() + patience
        while time.monotonic() < end and any(_began(pid) is not None for pid in pids):
            time.sleep(0.02)


def _began(pid: int) -> int | None:
    """Return when a process began, in ticks since the system did; None when there is none. A pid alone comes back."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
