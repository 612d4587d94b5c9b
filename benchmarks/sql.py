"""SQLStore on MariaDB against plain SQLAlchemy and against plain asyncmy, one statement a call.

The server is the one of SATCHEL_TEST_MARIADB_URL; `export $(python3 scripts/servers start mariadb)` starts one.
"""

from __future__ import annotations

import os
import time
from typing import Any, Self

import asyncmy
import msgspec
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.harness import Report
from benchmarks.network import compare
from satchel.stores.sql import SQLStore

STEPS = {1: 200, 32: 1_600}
CREATE = (
    "CREATE TABLE {} (collection VARBINARY(200), `key` VARBINARY(200), value LONGBLOB, deadline DOUBLE, "
    "PRIMARY KEY (collection, `key`))"
)


def url() -> URL:
    """Return where the server is."""
    return make_url(os.environ["SATCHEL_TEST_MARIADB_URL"]).set(drivername="mariadb+asyncmy")


class PlainSQLAlchemy:
    """What a service writes for itself: an engine as it comes, and a transaction a call."""

    async def __aenter__(self) -> Self:
        self._engine = create_async_engine(url())
        async with self._engine.begin() as connection:
            await connection.execute(text(CREATE.format("plain")))
        self._get = text("SELECT value FROM plain WHERE collection = :collection AND `key` = :key AND deadline > :now")
        self._put = text(
            "INSERT INTO plain VALUES (:collection, :key, :value, :deadline) "
            "ON DUPLICATE KEY UPDATE value = VALUES(value), deadline = VALUES(deadline)"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(text("DROP TABLE plain"))
        await self._engine.dispose()

    async def get(self, collection: str, key: str) -> Any:
        async with self._engine.connect() as connection:
            named = {"collection": collection, "key": key, "now": time.time()}
            value = (await connection.execute(self._get, named)).scalar_one_or_none()
        return None if value is None else msgspec.json.decode(value)

    async def put(self, collection: str, key: str, value: object, *, ttl: int) -> None:
        named = {"collection": collection, "key": key, "value": msgspec.json.encode(value)}
        async with self._engine.begin() as connection:
            await connection.execute(self._put, named | {"deadline": time.time() + ttl})


class PlainAsyncmy:
    """The same with asyncmy's pool in autocommit mode."""

    async def __aenter__(self) -> Self:
        where = url()
        self._pool = await asyncmy.create_pool(
            host=where.host, port=where.port, user=where.username, db=where.database, autocommit=True, maxsize=10
        )
        await self._run(CREATE.format("bare"))
        self._get = "SELECT value FROM bare WHERE collection = %s AND `key` = %s AND deadline > %s"
        self._put = (
            "INSERT INTO bare VALUES (%s, %s, %s, %s) "
            "ON DUPLICATE KEY UPDATE value = VALUES(value), deadline = VALUES(deadline)"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._run("DROP TABLE bare")
        self._pool.close()
        await self._pool.wait_closed()

    async def _run(self, statement: str, *arguments: object) -> Any:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(statement, arguments or None)
            return await cursor.fetchone()

    async def get(self, collection: str, key: str) -> Any:
        row = await self._run(self._get, collection, key, time.time())
        return None if row is None else msgspec.json.decode(row[0])

    async def put(self, collection: str, key: str, value: object, *, ttl: int) -> None:
        await self._run(self._put, collection, key, msgspec.json.encode(value), time.time() + ttl)


class Store(SQLStore):
    """Ours, in a table that is emptied at the end."""

    def __init__(self) -> None:
        super().__init__(url=os.environ["SATCHEL_TEST_MARIADB_URL"], table_name="benchmark")

    async def __aexit__(self, *error: object) -> None:
        await self.destroy()
        await super().__aexit__(*error)


def run(report: Report) -> None:
    makers = {"plain SQLAlchemy": PlainSQLAlchemy, "plain asyncmy": PlainAsyncmy, "satchel": Store}
    compare(report, makers, STEPS)
