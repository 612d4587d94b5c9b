"""Clusters of Redis or Valkey: three masters, and a replica of each."""

import itertools

from satchel.stores._redislike.layout import Layout, slot_of
from scripts.test_servers import resp
from scripts.test_servers.server import Server
from tests.clusters.nodes import Cluster

SIZE = 6
TIMING = ["--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0", "--repl-timeout", "5"]


class RedisCluster(Cluster):
    """Six nodes of Redis, of which three have a third of the keys each.

    Args:
        scheme: `redis` or `valkey`.
        command: The server's program.
        *options: Its further options.
    """

    def __init__(self, scheme: str, command: str, *options: str) -> None:
        super().__init__(scheme, SIZE)
        self._scheme = scheme
        self._command = command
        self._options = options
        self._turn = itertools.count()

    def _begin(self, index: int, server: Server) -> str:
        server.ask_version(self._command)
        host, port, bus = self.host(index), server.port_for("main"), server.port_for("bus")
        where = ["--port", str(port), "--cluster-port", str(bus), "--bind", host, "--protected-mode", "no"]
        place = ["--dir", str(server.folder("data")), "--save", "", "--appendonly", "no"]
        self.spawn(index, [self._command, *where, *place, "--cluster-enabled", "yes", *TIMING, *self._options])
        server.wait_until(lambda: resp.ask_at((host, port), "PING") != b"")
        return f"{self._scheme}+cluster://{host}:{port}"

    def _start(self) -> str:
        for node in self.nodes:
            node.start()
        resp.join(self._addresses, [node.port_for("bus") for node in self.nodes], self.nodes[0].wait_until)
        self.wait_until_whole()
        hosts = ",".join(f"{host}:{port}" for host, port in self._addresses)
        return f"{self._scheme}+cluster://{hosts}"

    @property
    def _addresses(self) -> list[resp.Address]:
        return [(self.host(index), node.port_for("main")) for index, node in enumerate(self.nodes)]

    def victim(self) -> int:
        masters = [
            index for index, address in enumerate(self._addresses) if resp.ask_at(address, "ROLE").startswith(b"master")
        ]
        return masters[next(self._turn) % len(masters)]

    def affected(self, victim: int):
        slots = {
            number
            for line in resp.ask_at(self._addresses[victim], "CLUSTER", "NODES").decode().splitlines()
            if "myself" in line
            for part in line.split()[8:]
            for number in _range(part)
        }
        layout = Layout("satchel")
        return lambda key: slot_of(layout.key(("c", key))) in slots

    def is_whole(self) -> bool:
        roles = [resp.ask_at(address, "ROLE") for address in self._addresses]
        return sum(role.startswith(b"master") for role in roles) == SIZE // 2 and all(
            resp.is_ready(address) and b"fail" not in resp.ask_at(address, "CLUSTER", "NODES")
            for address in self._addresses
        )


def _range(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)
