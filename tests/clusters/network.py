"""Networks of several hosts on this machine: a namespace for each, on one bridge, from which each can be cut off."""

import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Self

from scripts.test_servers.server import HOST, succeeds

_NUMBERS = count()
_NAMES = "satchel-{pid}-"
_SUBNET = "10.213.{}.{}"


class Network:
    """Hosts for the nodes of a cluster.

    Where this process may make no namespaces, all hosts are the loopback address, and none can be cut off.

    Args:
        size: Number of hosts.

    Attributes:
        hosts: Their addresses.
        can_cut: Whether hosts can be cut off.
    """

    def __init__(self, size: int) -> None:
        self.can_cut = _may_make_namespaces()
        self.hosts = [HOST] * size
        self._number = next(_NUMBERS)
        self._names: list[str] = []

    def __enter__(self) -> Self:
        if not self.can_cut:
            return self
        _remove_those_left_behind()
        taken = {line.split()[0] for line in _ip("route").splitlines()}
        third = next(number for number in range(256) if f"{_SUBNET.format(number, 0)}/24" not in taken)
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("address", "add", f"{_SUBNET.format(third, 1)}/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            self.hosts = [self._add(index, _SUBNET.format(third, index + 11)) for index in range(len(self.hosts))]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            _ip("netns", "delete", name)
        self._names.clear()
        if self.can_cut:
            _succeeds("link", "delete", self._bridge)

    def way_in(self, index: int) -> list[str]:
        """Return what stands before a command that is to run on a host."""
        return ["ip", "netns", "exec", self._names[index]] if self.can_cut else []

    def cut(self, index: int) -> None:
        """Let nothing pass to a host or from it; nobody is told."""
        _ip("link", "set", self._port(index), "nomaster")

    def join(self, index: int) -> None:
        """Let everything pass again."""
        _ip("link", "set", self._port(index), "master", self._bridge)

    def part(self, index: int) -> None:
        """Let nothing pass between a host and the other ones; clients reach all of them."""
        self._part(index, "add")

    def unite(self, index: int) -> None:
        """Let everything pass again."""
        self._part(index, "delete")

    def _part(self, index: int, change: str) -> None:
        for host in self.hosts:
            if host != self.hosts[index]:
                _ip("-n", self._names[index], "route", change, "blackhole", f"{host}/32")

    @property
    def _bridge(self) -> str:
        return f"s{os.getpid()}b{self._number}"

    def _port(self, index: int) -> str:
        return f"s{os.getpid()}n{self._number}{index}"

    def _add(self, index: int, address: str) -> str:
        name = f"{_NAMES.format(pid=os.getpid())}{self._number}-{index}"
        _ip("netns", "add", name)
        self._names.append(name)
        _ip("link", "add", self._port(index), "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", self._port(index), "master", self._bridge, "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", name, "link", "set", device, "up")
        return address


def _may_make_namespaces() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    probe = f"{_NAMES.format(pid=os.getpid())}probe"
    made = _succeeds("netns", "add", probe)
    if made:
        _ip("netns", "delete", probe)
    return made


def _remove_those_left_behind() -> None:
    """Remove the namespaces of processes that were killed."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        if name.startswith("satchel-") and not Path(f"/proc/{name.split('-')[1]}").exists():
            _succeeds("netns", "delete", name)


def _succeeds(*words: str) -> bool:
    return succeeds(["ip", *words])


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)  # noqa: S607  # the system's own
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
