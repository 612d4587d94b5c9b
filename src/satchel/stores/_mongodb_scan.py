"""Going through a MongoDB collection in pieces: listing, and removing what is found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from ..clock import Clock
from ._mongodb_document import OURS, Query, names_in, range_behind, range_of

_PAGE = 500

Call = Callable[[], Awaitable[Any]]


class Scanner:
    """Makes requests in a row, each of which takes a bounded time.

    Args:
        collection: The driver's.
        clock: Gives the present: a listing may take long.
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
        self._in_time = in_time

    async def keys(self, collection: str, prefix: str) -> AsyncIterator[Sequence[str]]:
        """Give the keys of living entries in pages."""
        where = range_of(collection, prefix)
        while True:
            names = await self._living(where)
            yield [names_in(name)[1] for name in names]
            if len(names) < _PAGE:
                return
            where = {"$gt": names[-1], "$lt": where["$lt"]}

    async def collections(self) -> AsyncIterator[Sequence[str]]:
        """Give the collections with living entries, each once, in pages."""
        where = {"$gte": ""}
        while True:
            names = await self._living(where)
            page = list(dict.fromkeys([names_in(name)[0] for name in names]))
            yield page
            if len(names) < _PAGE:
                return
            where = range_behind(page[-1])  # past the rest of a collection that has more entries

    async def empty(self, query: Query, now: float) -> bool:
        """Remove what matches, and say whether any of it lived."""
        lived = await self.remove({**query, "deadline": {"$gt": now}})
        await self.remove(query)
        return lived > 0

    async def remove(self, query: Query) -> int:
        """Remove what matches, and return how much it was."""
        removed = 0
        while names := await self._in_time(self._names(query)):
            matching = {"$and": [{"_id": {"$in": names}}, query]}
            done = await self._in_time(self._ask(partial(self._collection.delete_many, matching)))
            removed += done.deleted_count
        return removed

    async def _living(self, where: Query) -> list[Any]:
        return await self._names({"_id": where, **OURS, "deadline": {"$gt": self._clock()}})

    async def _names(self, query: Query) -> list[Any]:
        order = {"sort": [("_id", 1)], "limit": _PAGE, "batch_size": _PAGE}
        documents = await self._ask(lambda: self._collection.find(query, {"_id": 1}, **order).to_list(None))
        return [document["_id"] for document in documents]
