"""`PrefixKeysWrapper`: keys of its own in collections that are shared (`?wrap=prefix_keys(prefix=app)`)."""

from __future__ import annotations

from ..names import Ref
from ..protocol import AsyncKeyValue
from ._prefix import escaped_prefix
from .base import BaseWrapper


class PrefixKeysWrapper(BaseWrapper):
    """Wrapper that puts a prefix and a `:` before every key, so that several programs share the collections of a store.

    Other keys inside are neither listed nor destroyed: `destroy_collection` and `destroy` remove key by key.

    Args:
        inner: The wrapped store.
        prefix: What stands before each key, with `:` and `%` in it escaped, so that no two prefixes meet. It takes its
            length off the longest key.

    Raises:
        ConfigurationError: The prefix is no legal name, or leaves no room for a key.
    """

    _inner_collection_is_shared = True
    _keeps_order = True

    def __init__(self, inner: AsyncKeyValue, *, prefix: str) -> None:
        self._need_store(inner)
        self._start = escaped_prefix(prefix, inner.max_key_bytes)
        self._longest = inner.max_key_bytes - len(self._start.encode())
        super().__init__(inner)

    @property
    def max_key_bytes(self) -> int:
        """The longest key, in UTF-8 bytes, behind the prefix."""
        return self._longest

    def _ref(self, collection: str, key: str) -> Ref:
        return collection, self._start + key

    def _key_from_inner(self, collection: str, key: str) -> str | None:
        return key[len(self._start) :] or None if key.startswith(self._start) else None

    def _prefix(self, collection: str, prefix: str) -> str | None:
        return self._start + prefix
