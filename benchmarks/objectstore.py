"""ObjectStore against plain obstore, against itself with batches, and against py-key-value-aio's store.

The server is the one of SATCHEL_TEST_S3_URL; `export $(python3 scripts/servers start s3)` starts one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiobotocore.session
import msgspec
import obstore
from obstore.store import S3Store

from benchmarks.harness import Report
from benchmarks.network import compare, stand_in_for_aioboto3
from satchel.backend.base import ReadResult, WriteResult
from satchel.backend.record import Record
from satchel.names import Ref
from satchel.stores.objectstore import ObjectStore

STEPS = {1: 80, 32: 320}


class Batched(ObjectStore):
    """The same, with batches that wait for their slowest member."""

    _max_inflight = 1
    _max_items = 64

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await asyncio.gather(*map(self._read_one, refs))

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        return await asyncio.gather(*(self._write_one(*item) for item in records))


class PlainStore:
    """What a service writes for itself."""

    def __init__(self, client: S3Store) -> None:
        self._client = client
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    async def get(self, collection: str, key: str) -> Any:
        try:
            answer = await obstore.get_async(self._client, f"plain/{collection}/{key}")
        except FileNotFoundError:
            return None
        return self._decode(await answer.bytes_async())

    async def put(self, collection: str, key: str, value: object, *, ttl: int) -> None:  # noqa: ARG002  # S3 has none
        await obstore.put_async(self._client, f"plain/{collection}/{key}", self._encode(value))


def place() -> tuple[str, dict[str, str]]:
    """Return the bucket, and the options of a client for it."""
    parts = urlsplit(os.environ["SATCHEL_TEST_S3_URL"])
    return parts.netloc, dict(parse_qsl(parts.query))


def new_store(kind: type[ObjectStore]) -> ObjectStore:
    bucket, options = place()
    return kind(f"s3://{bucket}", prefix="benchmark", **options)  # type: ignore[arg-type]  # all of them are text


def satchel() -> ObjectStore:
    return new_store(ObjectStore)


def batched() -> ObjectStore:
    return new_store(Batched)


@asynccontextmanager
async def plain() -> AsyncIterator[PlainStore]:
    bucket, options = place()
    yield PlainStore(S3Store(bucket, client_options={"allow_http": True}, **options))  # type: ignore[arg-type]  # the same


@asynccontextmanager
async def peer() -> AsyncIterator[Any]:
    stand_in_for_aioboto3()
    from key_value.aio.stores.s3 import S3Store as PeerStore  # noqa: PLC0415  # after the line above

    bucket, options = place()
    access = {f"aws_{name}": options[name] for name in ("access_key_id", "secret_access_key")}
    session = aiobotocore.session.get_session()
    new_client = session.create_client("s3", endpoint_url=options["endpoint"], region_name=options["region"], **access)
    async with new_client as client, PeerStore(client=client, bucket_name=bucket) as store:
        yield store


def run(report: Report) -> None:
    makers = {"plain obstore": plain, "satchel": satchel, "satchel, in batches": batched, "py-key-value-aio": peer}
    compare(report, makers, STEPS)
