"""What tests of SQLStore share, such as URLs, and tables of their own on servers that several test processes use."""

import hashlib
import secrets
from pathlib import Path
from typing import Any

import asyncmy  # noqa: F401  # its module reads a file, which the detector of the suite would notice in a store

from tests.servers import server_url

_RUN = secrets.token_hex(4)


def table_for(place: Path) -> str:
    """Return the name of the table for a place, the same each time, which no other test process uses."""
    return f"s_{_RUN}_{hashlib.sha256(str(place).encode()).hexdigest()[:16]}"


def postgresql_url() -> str:
    """Return the URL of the PostgreSQL server as SQLAlchemy has it."""
    return server_url("postgresql").replace("postgresql://", "postgresql+asyncpg://")


def hasten(connection: Any, _record: object) -> None:
    """Let SQLite not wait for the disk: a killed process loses nothing by that."""
    if "sqlite" in type(connection).__module__:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous = OFF")
        cursor.close()
