"""PostgreSQLStore against plain asyncpg, one statement a call, and against py-key-value-aio's store.

The server is the one of SATCHEL_TEST_POSTGRESQL_URL; `export $(python3 scripts/servers start postgresql)` starts one.
"""

from __future__ import annotations

import os
import time
from typing import Any, Self

import asyncpg
import msgspec
from key_value.aio.stores.postgresql import PostgreSQLStore as PeerStore

from benchmarks.harness import Report
from benchmarks.network import compare
from satchel.stores.postgresql import PostgreSQLStore

STEPS = {1: 200, 32: 1_600}


def url() -> str:
    """Return where the server is."""
    return os.environ["SATCHEL_TEST_POSTGRESQL_URL"]


class PlainStore:
    """What a service writes for itself: asyncpg's pool as it comes, one statement a call."""

    reset: Any = None
    table = "plain"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    async def __aenter__(self) -> Self:
        self._pool = await asyncpg.create_pool(url(), min_size=1, max_size=10, reset=self.reset)
        await self._pool.execute(f"DROP TABLE IF EXISTS {self.table}")
        await self._pool.execute(
            f"CREATE TABLE {self.table} "
            "(collection text, key text, value bytea, deadline float, PRIMARY KEY (collection, key))"
        )
        self._get = f"SELECT value FROM {self.table} WHERE collection = $1 AND key = $2 AND deadline > $3"  # noqa: S608  # it is ours
        self._put = (
            f"INSERT INTO {self.table} VALUES ($1, $2, $3, $4) "  # noqa: S608  # it is ours
            "ON CONFLICT (collection, key) DO UPDATE SET value = excluded.value, deadline = excluded.deadline"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.execute(f"DROP TABLE {self.table}")
        await self._pool.close()

    async def get(self, collection: str, key: str) -> Any:
        value = await self._pool.fetchval(self._get, collection, key, time.time())
        return None if value is None else self._decode(value)

    async def put(self, collection: str, key: str, value: object, *, ttl: int) -> None:
        await self._pool.execute(self._put, collection, key, self._encode(value), time.time() + ttl)


class BareStore(PlainStore):
    """The same without the round trip that asyncpg's pool makes after each call to reset the connection."""

    table = "bare"

    @staticmethod
    async def reset(connection: object) -> None:
        """Reset nothing."""


class Store(PostgreSQLStore):
    """Ours, in a table that goes at the end."""

    def __init__(self) -> None:
        super().__init__(url=url(), table_name="benchmark")

    async def __aexit__(self, *error: object) -> None:
        await self.destroy()
        await super().__aexit__(*error)


def run(report: Report) -> None:
    makers = {
        "plain asyncpg": PlainStore,
        "without its reset": BareStore,
        "satchel": Store,
        "py-key-value-aio": lambda: PeerStore(url=url(), table_name="peer"),
    }
    compare(report, makers, STEPS)
