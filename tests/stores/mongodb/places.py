"""What the tests of the MongoDB store share."""

import asyncio
import gc
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from blockbuster import BlockBuster
from motor.motor_asyncio import AsyncIOMotorClient

from satchel.stores.mongodb import MongoDBStore
from satchel.testing import StoreConformance
from satchel.testing.blocking import blocking_detected


@contextmanager
def detector_for_pymongo() -> Iterator[BlockBuster]:
    """Detect calls that block, but for one of the driver's own.

    For each server that it comes to know PyMongo looks whether there is a file `/.dockerenv`. There is no option
    against it, and no hook to do it elsewhere: it belongs to the event loop from the start.
    """
    with blocking_detected() as detector:
        detector.functions["os.stat"].can_block_in("pymongo/pool_options.py", "get_container_env_info")
        yield detector


@pytest.fixture(autouse=True)
def blocking_detector() -> Iterator[BlockBuster]:
    with detector_for_pymongo() as detector:
        yield detector


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Iterator[None]:
    """Let PyMongo forget a socket, as it does now and then when a connection is refused or cut off while it is made."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
        yield
        gc.collect()


class MongoDBConformance(StoreConformance):
    persistent = True

    @pytest.fixture(autouse=True)
    def blocking_detector(self) -> Iterator[BlockBuster]:
        with detector_for_pymongo() as detector:
            yield detector


class StoreOverMotor(MongoDBStore):
    """Is given a Motor client, a new one for each event loop: a Motor client stays with its first."""

    def __init__(self, url: str, **options: Any) -> None:
        self._new = partial(AsyncIOMotorClient, url, w="majority")
        super().__init__(client=self._new(), **options)
        self._client.close()

    async def _open(self) -> None:
        self._client = self._new()
        self._end = _close_at_end_of_loop(self._client)
        await anext(self._end)
        await super()._open()

    async def _close(self) -> None:
        await self._end.aclose()


async def _close_at_end_of_loop(client: Any) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await asyncio.to_thread(client.close)  # it says goodbye to the server, and waits
