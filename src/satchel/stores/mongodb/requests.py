"""Requests to MongoDB: their time limits, and the results of single writes in their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, WriteError

from ...backend.network import in_empty_context
from ...clock import Clock
from .document import OURS, Query, document_id, names_in, range_behind, range_of
from .errors import Failure, Put, outcomes_in

T = TypeVar("T")

_AT_ONCE = 16


class Requests:
    """Requests that the driver and the server give up a little before the base does, so that they can say why.

    Args:
        timeout: Seconds that the base gives a request; None for no limit.
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

        return await in_empty_context(ask())

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


_PAGE = 500

Call = Callable[[], Awaitable[Any]]


class Scanner:
    """Requests in a row, each bounded in time.

    Args:
        collection: The driver's.
        clock: Function that returns the time: a listing may take long.
        ask: Calls the driver once.
        in_time: Bounds one call of several.
    """

    def __init__(
        self,
        collection: Any,
        clock: Clock,
        ask: Callable[[Call], Awaitable[Any]],
        in_time: Callable[[Awaitable[Any]], Awaitable[Any]],
    ) -> None:
        self._collection = collection
        self._clock = clock
        self._ask = ask
        self._with_timeout = in_time

    async def count(self, collection: str, prefix: str) -> int:
        """Return how many live entries have keys with a prefix."""
        query = {"_id": range_of(collection, prefix), **OURS, "deadline": {"$gt": self._clock()}}
        count: int = await self._ask(lambda: self._collection.count_documents(query))
        return count

    async def keys(self, collection: str, prefix: str, after: str = "") -> AsyncIterator[Sequence[str]]:
        """Yield the keys of living entries in pages, those after a key, in order."""
        where = range_of(collection, prefix)
        if after and after >= prefix:
            where = {"$gt": document_id((collection, after)), "$lt": where["$lt"]}
        while True:
            names = await self._living(where)
            yield [names_in(name)[1] for name in names]
            if len(names) < _PAGE:
                return
            where = {"$gt": names[-1], "$lt": where["$lt"]}

    async def collections(self) -> AsyncIterator[Sequence[str]]:
        """Yield the collections with living entries, each once, in pages."""
        where = {"$gte": ""}
        while True:
            names = await self._living(where)
            page = list(dict.fromkeys([names_in(name)[0] for name in names]))
            yield page
            if len(names) < _PAGE:
                return
            where = range_behind(page[-1])  # past the rest of a collection that has more entries

    async def empty(self, query: Query, now: float) -> bool:
        """Remove matching entries, and return whether any was live."""
        lived = await self.remove({**query, "deadline": {"$gt": now}})
        await self.remove(query)
        return lived > 0

    async def remove(self, query: Query) -> int:
        """Remove matching entries, and return how many."""
        removed = 0
        while names := await self._with_timeout(self._names(query)):
            matching = {"$and": [{"_id": {"$in": names}}, query]}
            done = await self._with_timeout(self._ask(partial(self._collection.delete_many, matching)))
            removed += done.deleted_count
        return removed

    async def _living(self, where: Query) -> list[Any]:
        return await self._names({"_id": where, **OURS, "deadline": {"$gt": self._clock()}})

    async def _names(self, query: Query) -> list[Any]:
        order = {"sort": [("_id", 1)], "limit": _PAGE, "batch_size": _PAGE}
        documents = await self._ask(lambda: self._collection.find(query, {"_id": 1}, **order).to_list(None))
        return [document["_id"] for document in documents]
