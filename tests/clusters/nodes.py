"""Nodes of a cluster, each on a host of its own, which can be lost and come back."""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Literal, Self

from scripts.test_servers.server import Server, as_user
from tests.clusters.network import Network

Fault = Literal["killed", "frozen", "cut off", "alone with its clients"]


class Cluster(ABC):
    """Nodes that stand in for each other.

    Args:
        name: What the nodes are called.
        size: How many there are.

    Attributes:
        url: Where a store finds it.
        faults: What its nodes can suffer here.
    """

    def __init__(self, name: str, size: int) -> None:
        self.url = ""
        self.faults: Sequence[Fault] = ("killed", "frozen")
        self._network = Network(size)
        self.nodes = [Server(f"{name}-{index}", partial(self._begin, index)) for index in range(size)]
        self._ends = ExitStack()

    @property
    def can_cut(self) -> bool:
        """Whether this machine can cut nodes off."""
        return self._network.can_cut

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            ends.enter_context(self._network)
            if self._network.can_cut:
                self.faults = ("killed", "frozen", "cut off")
            for node in self.nodes:
                ends.callback(node.stop)
                ends.callback(self._signal, self.nodes.index(node), signal.SIGCONT)
            self.url = self._start()
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @abstractmethod
    def _begin(self, index: int, server: Server) -> str:
        """Start the process of a node, again too."""

    @abstractmethod
    def _start(self) -> str:
        """Start all, make a cluster of them, and return its URL."""

    @abstractmethod
    def victim(self) -> int:
        """Return the node whose loss is worst now."""

    @abstractmethod
    def is_whole(self) -> bool:
        """Tell whether all nodes do their work, and none has anything left to catch up with."""

    def affected(self, victim: int) -> Callable[[str], bool]:
        """Return whether a key of collection `c` can be used only when the others have replaced a node."""
        return lambda _: True

    def lose(self, index: int, fault: Fault) -> None:
        """Take a node away."""
        if fault == "killed":
            self.kill(index)
        elif fault == "frozen":
            self._signal(index, signal.SIGSTOP)
        elif fault == "cut off":
            self._network.cut(index)
        else:
            self._network.part(index)

    def replace(self, index: int) -> None:  # noqa: B027  # the others often do it by themselves
        """Do what an operator does after the loss of a node, where the others do not do it by themselves."""

    def give_back(self, index: int, fault: Fault) -> None:
        """Let a node come back."""
        if fault == "killed":
            self.nodes[index].start()
        elif fault == "frozen":
            self._signal(index, signal.SIGCONT)
        elif fault == "cut off":
            self._network.join(index)
        else:
            self._network.unite(index)

    def wait_until_whole(self) -> None:
        """Wait until all is well again."""
        self.nodes[0].wait_until(self.is_whole)

    def account(self) -> str:
        """Return what the nodes say of themselves: the ends of their logs."""
        return "\n".join(f"{node.name} at {self.host(index)}:\n{node.tail()}" for index, node in enumerate(self.nodes))

    def kill(self, index: int) -> None:
        """End all processes of a node at once."""
        self._signal(index, signal.SIGKILL)
        self.nodes[index].kill()

    def host(self, index: int) -> str:
        """Return the address of a node."""
        return self._network.hosts[index]

    def spawn(self, index: int, command: Sequence[str], user: str | None = None) -> None:
        """Start a process on the host of a node."""
        self.nodes[index].spawn([*self._network.way_in(index), *as_user(user), *command])

    def _signal(self, index: int, number: signal.Signals) -> None:
        running = [process.pid for process in self.nodes[index].processes if process.poll() is None]
        for pid in [pid for parent in running for pid in (parent, *descendants(parent))]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    children = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += [int(child) for child in task.read_text().split()]
    return children + [found for child in children for found in descendants(child)]
