"""PgBouncer between clients and PostgreSQL, set to be as hard on clients as its transaction mode can be."""

from pathlib import Path

from .server import HOST


def configuration(directory: Path, listen_port: int, postgres_port: int) -> str:
    """Return the text of `pgbouncer.ini`.

    Args:
        directory: Where its process may write.
        listen_port: Where clients connect, whatever their user and database.
        postgres_port: Where PostgreSQL listens, which trusts the user postgres.
    """
    options = {
        "listen_addr": HOST,
        "listen_port": listen_port,
        "unix_socket_dir": "",
        "pidfile": directory / "pgbouncer.pid",
        "auth_type": "any",
        "pool_mode": "transaction",
        "server_round_robin": 1,  # each transaction on another connection than the last, so that leaning on one shows
        "default_pool_size": 5,
        "max_client_conn": 1000,
        "server_login_retry": 1,  # the default leaves a restarted server alone for 15 seconds
        "log_connections": 0,
        "log_disconnections": 0,
    }
    lines = [f"{name} = {value}" for name, value in options.items()]
    database = f"* = host={HOST} port={postgres_port} user=postgres"
    return "\n".join(["[databases]", database, "[pgbouncer]", *lines, ""])
