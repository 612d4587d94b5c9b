"""NATSStore against plain nats-py with its own key-value bucket.

The server is the one of SATCHEL_TEST_NATS_URL; `export $(python3 scripts/servers start nats)` starts one.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import nats
from nats.js.errors import KeyNotFoundError

from benchmarks.harness import Report
from benchmarks.network import compare
from satchel.stores.nats import NATSStore

BUCKET = f"benchmark-{uuid4().hex[:8]}"


class PlainStore:
    """What a service writes for itself: JSON in a bucket of NATS, without a time to live of each key."""

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket

    async def get(self, collection: str, key: str) -> Any:
        try:
            entry = await self._bucket.get(f"{collection}.{key}", validate_keys=False)
        except KeyNotFoundError:
            return None
        return json.loads(entry.value)

    async def put(self, collection: str, key: str, value: object, ttl: float) -> None:  # noqa: ARG002  # its keys have none
        await self._bucket.put(f"{collection}.{key}", json.dumps(value).encode(), validate_keys=False)


@asynccontextmanager
async def plain() -> AsyncIterator[PlainStore]:
    client = await nats.connect(url())
    yield PlainStore(await client.jetstream().create_key_value(bucket=f"{BUCKET}-plain", direct=True))
    await client.close()


@asynccontextmanager
async def satchel() -> AsyncIterator[NATSStore]:
    async with NATSStore(url(), bucket=f"{BUCKET}-satchel") as store:
        yield store


def url() -> str:
    return os.environ["SATCHEL_TEST_NATS_URL"]


def run(report: Report) -> None:
    compare(report, {"plain nats-py": plain, "satchel": satchel})
