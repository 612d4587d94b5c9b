"""`BaseWrapper`: a store around an inner store, changed at a few seams."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from .._batches import checked_items, checked_names, slices
from .._threads import Turns
from ..backend.lifecycle import finish_and_close, leave
from ..capability import Capability
from ..clock import TTL
from ..collection import HasCollections
from ..entry import Entry
from ..errors import SatchelError
from ..names import MAX_NAME_BYTES, check_limit, check_name, check_prefix, utf8_size
from ..protocol import AsyncKeyValue, SupportsEverything
from ..url.description import Described, Description
from .bound import SHARED, Bound
from .call import MISSING, NOT_GIVEN
from .renaming import renamed

D = TypeVar("D")

_PAGE = 500


class BaseWrapper(HasCollections, Bound, Described):
    """Is a store around an inner store, and the base of all wrappers.

    A subclass overrides the seams that it is about (`Seams` says what each does); every verb goes through them. They
    are overridden in the class. A verb that none of its overridden seams is about is the inner store's own method, and
    costs nothing.

    * Names: `_ref`, or `_collection` where only that changes, and their ways back, without which listing is dropped.
      The caller's names are checked before they are changed, and errors name those.
    * Values: `_encode` and `_decode`. Times to live: `_ttl`.
    * `_around`: every call as a whole, as its caller made it, but for the listings `keys` and `collections`; with
      `_around_steps` set also each step of those. `_carry_out` is for the same, where times and failures are all.
    * `_finish`: what is the wrapper's own, before it closes.

    A wrapper owns its inner store: closing it closes that one, which then refuses a second `aclose` and every later
    call. Of several wrappers around one store the first that is closed closes it for all.

    Args:
        inner: The store around which this is.
        drops: Capabilities of the inner store that this one does not have.

    Raises:
        ConfigurationError: The inner store is none.
    """

    def __init__(self, inner: AsyncKeyValue, *, drops: Capability = Capability.NONE) -> None:
        self._need_store(inner)
        self.inner = inner
        self._inner = cast("SupportsEverything", inner)
        self._limit = self.max_key_bytes
        self._encodes, self._decodes = self._overrides("_encode"), self._overrides("_decode")
        self._bind(BaseWrapper, drops)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    @property
    def max_key_bytes(self) -> int:
        """The longest key, in UTF-8 bytes."""
        return self.inner.max_key_bytes

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = NOT_GIVEN) -> Any:
        """Return the value under a key, or the default when it is absent."""
        collection, key = self._checked(collection, key)
        inner_collection, inner_key = self._ref(collection, key)
        try:
            if default is NOT_GIVEN and not self._decodes:
                return await self._inner.get(inner_collection, inner_key)
            value = await self._inner.get(inner_collection, inner_key, MISSING if self._decodes else default)
        except SatchelError as error:
            names = {(inner_collection, inner_key): (collection, key)}
            raise renamed(error, names, collection) from error.__cause__ or error
        if not self._decodes:
            return value
        if value is MISSING:
            return None if default is NOT_GIVEN else default
        return await self._decoded("get", (collection, key), value)

    async def get_entry(self, collection: str, key: str) -> Entry | None:
        """Return the entry under a key: the value with version, times and size."""
        ref = self._checked(collection, key)
        entry = await self._call(self._inner.get_entry, ref)
        return await self._decoded_entry("get_entry", ref, entry) if self._decodes and entry is not None else entry

    async def exists(self, collection: str, key: str) -> bool:
        """Say whether there is an entry under a key."""
        return await self._call(self._inner.exists, self._checked(collection, key))

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing what was there, its deadline included."""
        collection, key = self._checked(collection, key)
        inner_collection, inner_key = self._ref(collection, key)
        if self._encodes:
            value = await self._encoded("put", (collection, key), value)
        try:
            await self._inner.put(inner_collection, inner_key, value, ttl=self._ttl(ttl))
        except SatchelError as error:
            names = {(inner_collection, inner_key): (collection, key)}
            raise renamed(error, names, collection) from error.__cause__ or error

    async def delete(self, collection: str, key: str) -> bool:
        """Remove the entry under a key, and say whether it was there."""
        return await self._call(self._inner.delete, self._checked(collection, key))

    async def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that are there, in the order asked."""
        return await self._read_many("get_many", collection, keys, self._decoded)

    async def get_entries(self, collection: str, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of those keys that are there, in the order asked."""
        return await self._read_many("get_entries", collection, keys, self._decoded_entry)

    async def put_many(self, collection: str, items: Mapping[str, object], *, ttl: TTL | None = None) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step."""
        collection, ttl = check_name(collection, "collection"), self._ttl(ttl)
        keys: dict[str, str] = {}
        encoded: dict[str, object] = {}
        turns = Turns()
        for key, value in (await checked_items(items, self._limit)).items():
            await turns.after_item()
            ref = (collection, key)
            inner = self._ref(*ref)[1]
            keys[inner] = key
            encoded[inner] = await self._encoded("put_many", ref, value) if self._encodes else value
        await self._call_many(self._inner.put_many, collection, keys, encoded, ttl=ttl)

    async def delete_many(self, collection: str, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many of them were there."""
        collection = check_name(collection, "collection")
        names = await self._inner_keys(collection, keys)
        return await self._call_many(self._inner.delete_many, collection, names, names)

    async def ping(self) -> None:
        """Return when the backend answers."""
        await self.inner.ping()

    async def put_if_absent(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> str | None:
        """Store a value if the key is absent, and return its version; None when something was there."""
        ref = self._checked(collection, key)
        if self._encodes:
            value = await self._encoded("put_if_absent", ref, value)
        return await self._call(self._inner.put_if_absent, ref, value, ttl=self._ttl(ttl))

    async def compare_and_put(
        self, collection: str, key: str, value: object, *, version: str, ttl: TTL | None = None
    ) -> str | None:
        """Replace the entry if it still has the version, and return the new version; None when it has not."""
        ref = self._checked(collection, key)
        if self._encodes:
            value = await self._encoded("compare_and_put", ref, value)
        return await self._call(self._inner.compare_and_put, ref, value, version=version, ttl=self._ttl(ttl))

    async def compare_and_delete(self, collection: str, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and say whether it was removed."""
        ref = self._checked(collection, key)
        return await self._call(self._inner.compare_and_delete, ref, version=version)

    async def touch(self, collection: str, key: str, *, ttl: TTL | None) -> bool:
        """Give the entry a new deadline, None for no deadline, and say whether it was there."""
        return await self._call(self._inner.touch, self._checked(collection, key), ttl=self._ttl(ttl))

    def keys(self, collection: str, *, prefix: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Iterate over the keys of a collection, in no particular order, in constant memory."""
        self._need("keys")
        name, start, most = check_name(collection, "collection"), check_prefix(prefix), check_limit(limit)
        mapped = self._prefix(name, start) or ""
        if utf8_size(mapped, "prefix") > MAX_NAME_BYTES:
            mapped = ""
        found = self._inner.keys(self._collection(name), prefix=mapped)
        return self._listing(found, lambda key: self._unref(name, key), start, most)

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        self._need("collections")
        found = self._listing(self._inner.collections(), self._uncollection, "", None)
        return self._with_own_keys(found) if self._shares_collections else found

    async def destroy_collection(self, collection: str) -> bool:
        """Remove every entry of a collection, and say whether there was any."""
        self._need("destroy_collection")
        name = check_name(collection, "collection")
        if not self._shares_collections:
            return await self._inner.destroy_collection(self._collection(name))
        return await self._deleted(BaseWrapper.keys(self, name), functools.partial(BaseWrapper.delete_many, self, name))

    async def destroy(self) -> bool:
        """Remove everything that this store wrote and nothing else, and say whether there was any entry."""
        self._need("destroy")
        if not self._overrides(*SHARED):
            return await self._inner.destroy()
        names = [name async for name in BaseWrapper.collections(self)]
        return any([await BaseWrapper.destroy_collection(self, name) for name in names])

    async def cull(self) -> int:
        """Reclaim the space of expired entries now, and return how many there were."""
        return await self._inner.cull()

    def describe(self) -> Description:
        """Return what the stack is made of, as data."""
        described: Description = self.inner.describe()  # type: ignore[attr-defined]  # every store of ours has it
        return Description(described.store, (*described.wrappers, self._layer()))

    async def aclose(self) -> None:
        """Finish what is the wrapper's own, and close the inner store.

        Raises:
            StoreClosedError: It has been closed before. Leaving `async with` after that raises nothing.
        """
        await finish_and_close(self._finish, self.inner.aclose)

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await leave(self.aclose)

    async def _deleted(self, keys: AsyncIterator[str], delete_many: Callable[[list[str]], Awaitable[int]]) -> bool:
        """Delete keys in pages, and say whether any was there."""
        removed, page = 0, list[str]()
        async for key in keys:
            page.append(key)
            if len(page) == _PAGE:
                removed += await delete_many(page)
                page = []
        return removed + await delete_many(page) > 0

    async def _read_many(
        self, operation: str, collection: str, keys: Iterable[str], decode: Callable[..., Awaitable[Any]]
    ) -> dict[str, Any]:
        collection = check_name(collection, "collection")
        names = await self._inner_keys(collection, keys)
        found = await self._call_many(getattr(self._inner, operation), collection, names, names)
        own: dict[str, Any] = {}
        inner_keys, turns = list(found), Turns()
        for part in slices(len(inner_keys)):
            own |= {names[key]: found[key] for key in inner_keys[part]}
            await turns.after_item()
        return await self._decoded_many(operation, collection, own, decode) if self._decodes else own

    async def _inner_keys(self, collection: str, keys: Iterable[str]) -> dict[str, str]:
        checked = await checked_names(keys, self._limit)
        inner: dict[str, str] = {}
        turns = Turns()
        for part in slices(len(checked)):
            inner |= {self._ref(collection, key)[1]: key for key in checked[part]}
            await turns.after_item()
        return inner

    async def _with_own_keys(self, names: AsyncIterator[str]) -> AsyncIterator[str]:
        async for name in names:
            async for _ in BaseWrapper.keys(self, name, limit=1):
                yield name
