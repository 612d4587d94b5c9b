"""`PrefixCollectionsWrapper`: collections of its own in a shared store (`?wrap=prefix_collections(prefix=app)`)."""

from __future__ import annotations

from ..names import MAX_NAME_BYTES, check_name
from ..protocol import AsyncKeyValue
from ._prefix import escaped_prefix
from .base import BaseWrapper


class PrefixCollectionsWrapper(BaseWrapper):
    """Wrapper that puts a prefix and a `:` before every collection, so that several programs share a store.

    Other collections inside are neither listed nor destroyed: `destroy` removes collection by collection.

    Args:
        inner: The wrapped store.
        prefix: What stands before each collection, with `:` and `%` in it escaped, so that no two prefixes meet. A
            collection that it makes longer than 4,096 bytes raises `InvalidKeyError`.

    Raises:
        ConfigurationError: The prefix is no legal name, or leaves no room for a collection.
    """

    _shares_store = True

    def __init__(self, inner: AsyncKeyValue, *, prefix: str) -> None:
        self._start = escaped_prefix(prefix)
        self._room = MAX_NAME_BYTES - len(self._start.encode())
        self._sure = self._room // 4  # so many characters fit, whichever they are
        super().__init__(inner)

    def _collection(self, collection: str) -> str:
        if len(collection) > self._sure:
            check_name(collection, "collection", self._room)
        return self._start + collection

    def _collection_from_inner(self, collection: str) -> str | None:
        return collection[len(self._start) :] or None if collection.startswith(self._start) else None
