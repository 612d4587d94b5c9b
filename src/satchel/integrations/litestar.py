"""Litestar's sessions, response cache and rate limits on any satchel store."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from types import TracebackType
from typing import Self
from urllib.parse import quote

from ..capability import Capability
from ..errors import InvalidKeyError, missing_extra
from ..names import check_name
from ..protocol import AsyncKeyValue, require

try:
    from litestar.stores.base import NamespacedStore
except ModuleNotFoundError as error:
    raise missing_extra("LitestarStore", "litestar", error) from error

_HASHED = "sha256 "


class LitestarStore(NamespacedStore):
    """Store of Litestar's over a satchel store.

    A namespace is a collection, and one inside of it is `namespace/inner`. A key that the store does not take, such as
    an address of more than 4096 bytes in the response cache, is kept by its SHA-256.

    Args:
        store: A store with conditional writes that can destroy collections and list their names: `delete_all` reaches
            inner namespaces too. Litestar opens it with the application, and closes it.
        namespace: The name of the collection.

    Raises:
        ConfigurationError: `store` is no store.
        InvalidKeyError: `namespace` is no name of a collection.
        UnsupportedOperationError: The store lacks a capability.
    """

    __slots__ = ("_limit", "_store", "namespace")

    def __init__(self, store: AsyncKeyValue, namespace: str = "litestar") -> None:
        self._store = require(
            store, Capability.CONDITIONAL | Capability.DESTROY_COLLECTION | Capability.ENUMERATE_COLLECTIONS
        )
        self.namespace = check_name(namespace, "collection")
        self._limit = store.max_key_bytes

    def with_namespace(self, namespace: str) -> Self:
        """Return a store of a namespace inside of this one, over the same satchel store."""
        return type(self)(self._store, f"{self.namespace}/{quote(namespace, safe='')}")

    async def set(self, key: str, value: str | bytes, expires_in: int | timedelta | None = None) -> None:
        """Set a value, for as many seconds as given; a time that has passed removes it."""
        content = value.encode() if isinstance(value, str) else value
        seconds = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
        if seconds is not None and seconds <= 0:
            await self.delete(key)
        else:
            await self._store.put(self.namespace, self._name(key), content, ttl=seconds)

    async def get(self, key: str, renew_for: int | timedelta | None = None) -> bytes | None:
        """Return a value, None where there is none; one that expires lives on for `renew_for` seconds, if given."""
        name = self._name(key)
        if not renew_for:
            return await self._store.get(self.namespace, name)
        entry = await self._store.get_entry(self.namespace, name)
        if entry is None:
            return None
        if entry.expires_at is not None:
            await self._store.touch(self.namespace, name, ttl=renew_for)
        value: bytes = entry.value
        return value

    async def delete(self, key: str) -> None:
        """Delete a value, if it is there."""
        await self._store.delete(self.namespace, self._name(key))

    async def delete_all(self) -> None:
        """Delete all values of this namespace and of those inside of it."""
        inner = [name async for name in self._store.collections() if name.startswith(f"{self.namespace}/")]
        await asyncio.gather(*map(self._store.destroy_collection, [self.namespace, *inner]))

    async def exists(self, key: str) -> bool:
        """Tell whether there is a value."""
        return await self._store.exists(self.namespace, self._name(key))

    async def expires_in(self, key: str) -> int | None:
        """Return the seconds until a value expires, rounded; None where there is none or it does not expire."""
        entry = await self._store.get_entry(self.namespace, self._name(key))
        return None if entry is None or entry.ttl is None else round(entry.ttl)

    async def __aenter__(self) -> None:
        await self._store.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self._store.__aexit__(exc_type, exc_val, exc_tb)

    def _name(self, key: str) -> str:
        try:
            name = check_name(key, "key", self._limit)
        except InvalidKeyError:
            name = _HASHED  # as one that could be taken for a hash is
        return (
            _HASHED + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
            if name.startswith(_HASHED)
            else name
        )
