"""`SingleCollectionWrapper`: all collections in one (`?wrap=single_collection(collection=app)`)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial

from ..errors import ConfigurationError
from ..names import Ref, check_name
from ..protocol import AsyncKeyValue
from ._prefix import name_option
from .base import BaseWrapper

_FRAME = re.compile(r"([1-9][0-9]{0,3}):")
_SHORTEST = 8


class SingleCollectionWrapper(BaseWrapper):
    """Wrapper that keeps all collections in one of the inner store, for backends where a collection costs something.

    An inner key is the length of the collection in characters, the collection and the key: `5:users:ada`. So no two
    names meet, whatever is in them. Listing collections reads all keys, and keeps the collections in memory.

    Args:
        inner: The wrapped store.
        collection: The inner collection; entries with keys of another form are left alone.

    Raises:
        ConfigurationError: The collection is no legal name, or the inner store's keys are too short.
    """

    _inner_collection_is_shared = True
    _keeps_order = True

    def __init__(self, inner: AsyncKeyValue, *, collection: str) -> None:
        self._need_store(inner)
        self._whole = name_option("collection", collection)
        self._room = inner.max_key_bytes // 4
        self._longest = inner.max_key_bytes - self._room - len(f"{self._room}::")
        if inner.max_key_bytes < _SHORTEST:
            raise ConfigurationError(f"{inner!r} takes keys of {inner.max_key_bytes} bytes, at least 8 are needed")
        self._sure = self._room // 4  # so many characters fit, whichever they are
        super().__init__(inner)

    @property
    def max_key_bytes(self) -> int:
        """The longest key, in UTF-8 bytes: a quarter of the inner store's is kept for the collection."""
        return self._longest

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        self._need("collections")
        return self._found_collections()

    async def destroy(self) -> bool:
        """Remove everything that this store wrote and nothing else, and return whether there was any entry."""
        self._need("destroy")
        return await self._deleted(self._framed(), partial(self._inner.delete_many, self._whole))

    def _ref(self, collection: str, key: str) -> Ref:
        return self._whole, self._frame(collection) + key

    def _key_from_inner(self, collection: str, key: str) -> str | None:
        frame = self._frame(collection)
        return key[len(frame) :] or None if key.startswith(frame) else None

    def _collection(self, collection: str) -> str:
        self._frame(collection)  # refuses one that is too long, also for an empty batch
        return self._whole

    def _prefix(self, collection: str, prefix: str) -> str | None:
        return self._frame(collection) + prefix

    def _frame(self, collection: str) -> str:
        if len(collection) > self._sure:
            check_name(collection, "collection", self._room)
        return f"{len(collection)}:{collection}:"

    async def _found_collections(self) -> AsyncIterator[str]:
        seen = set[str]()
        async for key in self._framed():
            collection = self._split(key)
            if collection not in seen:
                seen.add(collection)
                yield collection

    async def _framed(self) -> AsyncIterator[str]:
        async for key in self._inner.keys(self._whole):
            if self._split(key):
                yield key

    def _split(self, key: str) -> str:
        """Return the collection in an inner key; an empty one where the key is not one that `_ref` makes."""
        frame = _FRAME.match(key)
        if frame is None:
            return ""
        collection = key[frame.end() : frame.end() + int(frame[1])]
        legal = collection and len(collection.encode()) <= self._room
        return collection if legal and self._key_from_inner(collection, key) else ""
