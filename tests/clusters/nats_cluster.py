"""Three servers of NATS, each with a copy of every stream."""

import json
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scripts.test_servers.install import wheels
from scripts.test_servers.kinds import executable
from scripts.test_servers.server import Server
from tests.clusters.nodes import Cluster

SIZE = 3
CATCHING_UP = 20.0
"""Seconds that a server may take to get what it missed."""
STUCK = "Expected first catchup entry to be a snapshot and peerstate, will retry"
"""What a server logs every few seconds that will never get it."""


class NATSCluster(Cluster):
    """Three servers of NATS with JetStream.

    Args:
        bucket: The bucket whose leader is lost.

    Attributes:
        started_anew: How many servers were stuck.
    """

    def __init__(self, bucket: str) -> None:
        super().__init__("nats", SIZE)
        self._stream = f"KV_{bucket}"
        self.started_anew = 0

    def _begin(self, index: int, server: Server) -> str:
        command = executable(wheels("nats") / "bin" / "nats-server")
        host, port, route, asking = (self.host(index), *map(server.port_for, ("main", "route", "monitor")))
        routes = [f"nats://{self.host(other)}:{node.port_for('route')}" for other, node in enumerate(self.nodes)]
        file = server.directory / "nats.conf"
        file.write_text(
            f"server_name: n{index}\nlisten: {host}:{port}\nhttp: {host}:{asking}\nping_interval: 2\n"
            "reconnect_error_reports: 3600\n"
            f"jetstream {{ store_dir: {json.dumps(str(server.folder('data')))} }}\n"
            f"cluster {{ name: satchel, listen: {host}:{route}, ping_interval: 1, routes: {json.dumps(routes)} }}\n"
        )
        self.spawn(index, [command, "-c", str(file)])
        server.wait_until(lambda: self._ask(index, "varz")["server_name"] == f"n{index}")
        return f"{host}:{port}"

    def _start(self) -> str:
        for node in self.nodes:
            node.port_for("main"), node.port_for("route")
        places = ",".join(node.start() for node in self.nodes)
        for index, node in enumerate(self.nodes):
            node.wait_until(lambda index=index: self._knows_all(index))
        return f"nats://{places}"

    def victim(self) -> int:
        return int(self._state()["leader"].removeprefix("n"))

    def is_whole(self) -> bool:
        state = self._state()
        replicas = state.get("replicas", [])
        return len(replicas) == SIZE - 1 and all(
            each.get("current") and not each.get("offline") and not each.get("lag") for each in replicas
        )

    def replace(self, index: int) -> None:
        """Do nothing but what `wait_until_whole` does too: one that is stuck may be needed for a majority."""
        self._wait_or_start_anew(self._has_majority, lost=index)

    def wait_until_whole(self) -> None:
        """Wait until all is well again; a server that is stuck is started anew, as an operator does.

        NATS 2.15 can come to a state in which it asks for what it lacks and does not take it, and says so in its log.
        """
        self._wait_or_start_anew(self.is_whole)
        super().wait_until_whole()

    def _wait_or_start_anew(self, is_well: Callable[[], bool], lost: int | None = None) -> None:
        give_up = time.monotonic() + CATCHING_UP
        while time.monotonic() < give_up:
            with suppress(OSError):
                if is_well():
                    return
            time.sleep(0.1)
        for index, node in enumerate(self.nodes):
            if index != lost and STUCK in node.tail():
                self.kill(index)
                node.start()
                self.started_anew += 1

    def _has_majority(self) -> bool:
        return any(each.get("current") for each in self._state().get("replicas", ()))

    def account(self) -> str:
        """Return the ends of their logs, and what each says of the stream."""
        said = []
        for index in range(SIZE):
            try:
                said.append(f"n{index}: {json.dumps(self._ask(index, 'jsz?streams=true&raft=true'))}")
            except OSError as error:
                said.append(f"n{index}: {error}")
        return "\n".join([super().account(), *said])

    def _knows_all(self, index: int) -> bool:
        meta = self._ask(index, "jsz").get("meta_cluster", {})
        return meta.get("cluster_size") == SIZE and bool(meta.get("leader"))

    def _state(self) -> Any:
        """Return what the leader of the stream says of its copies."""
        for index in range(SIZE):
            with suppress(OSError):  # it is the one that is lost
                for account in self._ask(index, "jsz?streams=true").get("account_details", ()):
                    for stream in account.get("stream_detail", ()):
                        cluster = stream.get("cluster", {})
                        if stream["name"] == self._stream and cluster.get("leader") == f"n{index}":
                            return cluster
        raise OSError("no leader yet")

    def _ask(self, index: int, what: str) -> Any:
        where = f"http://{self.host(index)}:{self.nodes[index].port_for('monitor')}/{what}"
        with urllib.request.urlopen(where, timeout=2) as reply:
            return json.load(reply)
