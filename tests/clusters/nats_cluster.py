"""Three servers of NATS, each with a copy of every stream."""

import json
import time
import urllib.request
from contextlib import suppress
from typing import Any

from scripts.test_servers.install import wheels
from scripts.test_servers.kinds import executable
from scripts.test_servers.server import Server
from tests.clusters.nodes import Cluster

SIZE = 3
CATCHING_UP = 30.0
"""Seconds that a server may take to get what it missed."""


class NATSCluster(Cluster):
    """Three servers of NATS with JetStream.

    Args:
        bucket: The bucket whose leader is lost.
    """

    def __init__(self, bucket: str) -> None:
        super().__init__("nats", SIZE)
        self._stream = f"KV_{bucket}"

    def _begin(self, index: int, server: Server) -> str:
        command = executable(wheels("nats") / "bin" / "nats-server")
        host, port, route, asking = (self.host(index), *map(server.port_for, ("main", "route", "monitor")))
        routes = [f"nats://{self.host(other)}:{node.port_for('route')}" for other, node in enumerate(self.nodes)]
        file = server.directory / "nats.conf"
        file.write_text(
            f"server_name: n{index}\nlisten: {host}:{port}\nhttp: {host}:{asking}\nping_interval: 2\n"
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

    def wait_until_whole(self) -> None:
        """Wait until all is well again; a server that does not catch up is started anew, as an operator does.

        NATS 2.15 can come to a state in which it asks for what it lacks for ever, and logs each time "Expected first
        catchup entry to be a snapshot and peerstate, will retry".
        """
        give_up = time.monotonic() + CATCHING_UP
        while time.monotonic() < give_up:
            with suppress(OSError):
                if self.is_whole():
                    return
            time.sleep(0.1)
        for late in [each for each in self._state()["replicas"] if not each.get("current") or each.get("lag")]:
            self.kill(int(late["name"].removeprefix("n")))
            self.nodes[int(late["name"].removeprefix("n"))].start()
        super().wait_until_whole()

    def _knows_all(self, index: int) -> bool:
        meta = self._ask(index, "jsz").get("meta_cluster", {})
        return meta.get("cluster_size") == SIZE and bool(meta.get("leader"))

    def _state(self) -> Any:
        """Return what the leader of the stream says of its copies."""
        for index in range(SIZE):
            for account in self._ask(index, "jsz?streams=true")["account_details"]:
                for stream in account.get("stream_detail", ()):
                    cluster = stream.get("cluster", {})
                    if stream["name"] == self._stream and cluster.get("leader") == f"n{index}":
                        return cluster
        raise OSError("no leader yet")

    def _ask(self, index: int, what: str) -> Any:
        where = f"http://{self.host(index)}:{self.nodes[index].port_for('monitor')}/{what}"
        with urllib.request.urlopen(where, timeout=2) as reply:
            return json.load(reply)
