"""`Server`: the processes of one server for tests, on loopback ports of its own."""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
PATIENCE = 60.0
GRACE = 5.0
_PORTS = range(10_000, 32_768)  # below those that any connection that goes out may be given, at any moment
_PR_SET_PDEATHSIG = 1
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class Server:
    """Runs one server: its processes, its ports and its directory.

    Args:
        name: What it is called in `kinds.KINDS`.
        begin: Starts its processes and returns its URL; after `kill` it is called again, with the same ports and
            directory.
        outlives: Go on when the process that started it ends.

    Attributes:
        version: Its programs and their versions, such as "redis-server 7.0.15"; "" before it is started.
    """

    def __init__(self, name: str, begin: Callable[[Server], str], *, outlives: bool = False) -> None:
        self.name = name
        self.url = ""
        self.version = ""
        self.processes: list[subprocess.Popen[bytes]] = []
        self.directory = Path(tempfile.mkdtemp(prefix=f"satchel-{name}-"))
        self.directory.chmod(0o755)  # for servers that run as a user of their own, in directories of their own
        self._begin = begin
        self._outlives = outlives
        self._ports: dict[str, int] = {}

    @property
    def port(self) -> int:
        """Its port, the first one where there are several."""
        return next(iter(self._ports.values()))

    @property
    def pid(self) -> int:
        """The process behind `port`."""
        return self.processes[0].pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> str:
        """Start it, again after `kill`, and return its URL once it answers."""
        self.processes = []
        try:
            self.url = self._begin(self)
        except BaseException:
            self.kill()
            raise
        return self.url

    def kill(self) -> None:
        """End all its processes at once, as a crash does."""
        self._signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def pause(self) -> None:
        """Stop all its processes where they are."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let its processes go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in its own way, or else by force, and remove what it wrote."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGINT)
        end = time.monotonic() + GRACE
        while time.monotonic() < end and any(process.poll() is None for process in self.processes):
            time.sleep(0.02)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # For those who start one.

    def ask_version(self, command: str) -> None:
        """Note the version that one of its programs says it has, once."""
        name = Path(command).name
        if name not in self.version:
            self.version = ", ".join(filter(None, [self.version, f"{name} {version_of(command)}"]))

    def port_for(self, label: str) -> int:
        """Return the port for a label, the same one each time."""
        if label not in self._ports:
            self._ports[label] = free_port()
        return self._ports[label]

    def folder(self, label: str, user: str | None = None) -> Path:
        """Return a directory below its own, made if need be, for a user's eyes alone."""
        path = self.directory / label
        if not path.exists():
            path.mkdir(mode=0o700)
            if user is not None:
                shutil.chown(path, user, user)
        return path

    def spawn(
        self, command: Sequence[str], *, user: str | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        """Start one process, as another user if this one may."""
        with (self.directory / "log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [*as_user(user), *command],
                    cwd=self.directory,
                    env={**os.environ, **(variables or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=self._outlives,
                    preexec_fn=None if self._outlives else _end_with_parent,  # noqa: PLW1509  # no threads hold locks here
                )
            )

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: It ended, or did not answer in time; the message has the end of its log.
        """
        end = time.monotonic() + PATIENCE
        while True:
            if any(process.poll() is not None for process in self.processes):
                raise RuntimeError(f"{self.name} ended at once:\n{self.tail()}")
            try:
                if answers():
                    return
            except OSError:
                pass  # it does not listen yet
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not answer within {PATIENCE:.0f} s:\n{self.tail()}")
            time.sleep(0.02)

    def tail(self) -> str:
        """Return the end of its log."""
        return "\n".join((self.directory / "log").read_text(errors="replace").splitlines()[-15:])

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)


def free_port() -> int:
    """Return a loopback port that nobody listens on, and that this function gives to nobody else on this machine.

    A server may bind it seconds later: it stays this process's own until that ends.
    """
    for port in random.sample(_PORTS, 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            _claim(port)
            return port
    raise RuntimeError("no free port")


def _claim(port: int) -> None:
    """Hold a port's name, which the system gives to one process alone and takes back when that ends.

    Raises:
        OSError: Another one holds it.
    """
    if sys.platform != "linux":
        return
    with socket.socket(socket.AF_UNIX) as claim:
        claim.bind(f"\0satchel-port-{port}")
        claim.detach()  # left open until this process ends


def as_user(user: str | None) -> list[str]:
    """Return what stands before a command for it to run as a user; nothing where this one is not root."""
    if user is None or os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]


def ask(port: int, question: bytes, size: int = 64) -> bytes:
    """Send something to a loopback port, and return the first of what comes back."""
    with socket.create_connection((HOST, port), timeout=2) as connection:
        connection.sendall(question)
        return connection.recv(size)


def is_open(port: int) -> bool:
    """Tell whether something listens on a loopback port."""
    with socket.create_connection((HOST, port), timeout=2):
        return True


def version_of(command: str) -> str:
    """Return the first version number in what a program prints for `--version`, or "?" where there is none."""
    done = subprocess.run(
        [command, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/", check=False
    )
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "?"


def run(command: Sequence[str]) -> None:
    """Run a program to its end; what it said is in the error if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/", check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command} failed:\n{done.stdout}{done.stderr}")


def succeeds(command: Sequence[str]) -> bool:
    """Tell whether a program ends well."""
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, cwd="/", check=False).returncode == 0


def _end_with_parent() -> None:
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
