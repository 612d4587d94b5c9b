"""A PostgreSQL primary and its standby, of which the standby is promoted when the primary is lost."""

import shutil
import subprocess
import time

from scripts.test_servers.install import postgresql_places, program
from scripts.test_servers.kinds import POSTGRES
from scripts.test_servers.server import Server, as_user, run, succeeds
from tests.clusters.nodes import Cluster, Fault

NOTICED = 1.5
"""Seconds until whoever watches over the primary promotes the standby."""
SETTINGS = {
    "max_connections": "200",
    "fsync": "off",  # a killed process loses nothing without it; only a machine does
    "wal_keep_size": "64MB",
    "hot_standby": "on",
    "wal_receiver_timeout": "5s",
    "wal_sender_timeout": "5s",
    "wal_retrieve_retry_interval": "200ms",
}


class PostgreSQLPair(Cluster):
    """Two servers of PostgreSQL with streaming replication; this stands in for what watches over them elsewhere.

    A primary that was lost is ended before its standby is promoted, as is due: two primaries would both take writes.

    Args:
        synchronous: A write is acknowledged when the standby has it too.
    """

    def __init__(self, *, synchronous: bool) -> None:
        super().__init__("postgresql", 2)
        self._synchronous = synchronous
        self._primary = 0
        self._user = POSTGRES if as_user(POSTGRES) else None

    def _begin(self, index: int, server: Server) -> str:
        command, asks = self._program("postgres"), self._program("pg_isready")
        server.ask_version(command)
        data, port = server.folder("data", self._user), server.port_for("main")
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        where = ["-D", str(data), "-p", str(port), "-k", str(data), "-c", f"listen_addresses={self.host(index)}"]
        self.spawn(index, [command, *where, *settings], user=self._user)
        server.wait_until(lambda: succeeds([asks, "-q", "-h", self.host(index), "-p", str(port)]))
        return f"{self.host(index)}:{port}"

    def _start(self) -> str:
        data = self.nodes[0].folder("data", self._user)
        options = ["-A", "trust", "-U", POSTGRES, "-N", "--locale=C.UTF-8"]
        run([*as_user(self._user), self._program("initdb"), "-D", str(data), *options])
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.0.0.0/8 trust\nhost replication all 10.0.0.0/8 trust\n")
        places = self.nodes[0].start()
        places += f",{self._follow(1)}"
        self.wait_until_whole()
        return f"postgresql://{POSTGRES}@{places}/postgres?target_session_attrs=read-write"

    def victim(self) -> int:
        return self._primary

    def replace(self, index: int) -> None:
        time.sleep(NOTICED)
        self.kill(index)
        self._primary = 1 - index
        self._ask(self._primary, "SELECT pg_promote()")
        if self._synchronous:
            self._wait_for_standby(wait=False)  # there is none now

    def give_back(self, index: int, fault: Fault) -> None:
        if fault == "cut off":
            super().give_back(index, fault)
        self._follow(index)

    def is_whole(self) -> bool:
        state = "sync" if self._synchronous else "async"
        if self._ask(self._primary, "SELECT state FROM pg_stat_replication") != "streaming":
            return False
        if self._synchronous:
            self._wait_for_standby(wait=True)
        return self._ask(self._primary, "SELECT sync_state FROM pg_stat_replication") == state

    def _wait_for_standby(self, *, wait: bool) -> None:
        names = "*" if wait else ""
        if self._ask(self._primary, "SHOW synchronous_standby_names") != names:
            self._ask(self._primary, f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
            self._ask(self._primary, "SELECT pg_reload_conf()")

    def _follow(self, index: int) -> str:
        """Make a node a new standby of the primary."""
        data = self.nodes[index].folder("data", self._user)
        shutil.rmtree(data)
        self.nodes[index].folder("data", self._user)
        source = ["-h", self.host(self._primary), "-p", str(self.nodes[self._primary].port), "-U", POSTGRES]
        copy = [self._program("pg_basebackup"), *source, "-D", str(data), "-R", "-X", "stream", "-c", "fast", "-N"]
        run([*as_user(self._user), *copy])
        # The copy has the setting of the primary.
        with (data / "postgresql.auto.conf").open("a") as file:
            file.write("synchronous_standby_names = ''\n")
        return self.nodes[index].start()

    def _ask(self, index: int, statement: str) -> str:
        server = ["-h", self.host(index), "-p", str(self.nodes[index].port), "-U", POSTGRES]
        asking = [self._program("psql"), *server, "-Atqc", statement, POSTGRES]
        return subprocess.run(asking, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    def _program(self, name: str) -> str:
        return program(name, "postgresql", *postgresql_places())
