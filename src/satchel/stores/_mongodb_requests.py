"""Requests to MongoDB: how long they may take, and one write told from another in the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, WriteError

from ..backend.network import apart
from ._mongodb_document import Query
from ._mongodb_errors import Failure, Put, outcomes_in

T = TypeVar("T")

_AT_ONCE = 16


class Requests:
    """Makes requests that the driver and the server give up a little before the base does: then they can say why.

    Args:
        timeout: Seconds that the base gives a request; None for no end.
    """

    def __init__(self, timeout: float | None) -> None:
        # The driver looks at its clock every half second.
        self._seconds = None if timeout is None else timeout - min(1.0, timeout / 2)

    def limit(self) -> AbstractContextManager[object]:
        """Bound in time what the driver is asked within."""
        return nullcontext() if self._seconds is None else pymongo.timeout(self._seconds)

    async def ask(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Call the driver in a task with an empty context: its connections keep the one that they last worked in."""

        async def ask() -> Any:
            with self.limit():
                return await call()

        return await apart(ask())

    async def upsert(self, collection: Any, writes: Sequence[tuple[Query, RawBSONDocument]]) -> Sequence[Put | Failure]:
        """Replace what matches each query, or else insert; give for each what was done, or why it was not."""
        try:
            with self.limit():
                if len(writes) == 1:
                    result = await collection.replace_one(*writes[0], upsert=True)
                    return [Put.REPLACED if result.upserted_id is None else Put.INSERTED]
                requests: Any = [pymongo.ReplaceOne(query, document, upsert=True) for query, document in writes]
                return outcomes_in((await collection.bulk_write(requests, ordered=False)).bulk_api_result, len(writes))
        except WriteError as error:
            return [error.details or {"code": error.code}]
        except BulkWriteError as error:
            return outcomes_in(error.details, len(writes))

    async def each(self, change: Callable[[T], Awaitable[bool]], items: Sequence[T]) -> Sequence[bool | BaseException]:
        """Make single changes, a few at a time: what the server says of a batch does not tell one from another."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(item: T) -> bool:
            async with turns:
                return await change(item)

        with self.limit():
            if len(items) == 1:
                return [await change(items[0])]
            return await asyncio.gather(*map(one, items), return_exceptions=True)
