"""`SyncCollection`: one collection of a `SyncStore`, with values of one type."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    ValuesView,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from functools import partial
from itertools import islice
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from msgspec import UNSET, UnsetType

from ..change import Change
from ..clock import TTL
from ..collection import Collection
from ..entry import Entry
from ..errors import KeyMissingError
from ..matching import KeyChoice
from ..names import check_items, check_names

T = TypeVar("T")
D = TypeVar("D")
M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R")

_PAGE = 100
"""Number of values read together when iterating."""


class BlockingStore(Protocol):
    """Interface by which a `SyncCollection` uses the `SyncStore` that made it."""

    def _call(self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a method of the async store or collection, and return its result."""
        ...

    def _able(self, operation: str, /) -> object:
        """Raise `UnsupportedOperationError` if the store lacks an operation."""
        ...

    def _watched(
        self, manager: AbstractAsyncContextManager[AsyncIterator[R]], /
    ) -> AbstractContextManager[Iterator[R]]:
        """Enter a watch of the store or collection."""
        ...

    def _listed(self, operation: str, items: AsyncIterator[R], /) -> Iterator[R]:
        """Iterate over an async iterator of the store or collection."""
        ...


class CollectionMapping(MutableMapping[str, T]):
    """View of a collection as a `MutableMapping`, which uses the store for every operation.

    * `m[key]`, `m.get(key)`, `key in m`, `m[key] = value` and `del m[key]` take one call of the store; `m.update(...)`
      takes one for all items.
    * Iteration, `keys()` and `len(m)` need `ENUMERATE_KEYS`, and take one call for 500 keys; `bool(m)` takes one for
      one key. `items()`, `values()` and `==` take one more for 100 values.
    * `m.pop(key)` and `m.setdefault(key, value)` need `CONDITIONAL`, and take two calls, or more if others write the
      key meanwhile.
    * `m.popitem()` needs both, and takes three or more.
    * `m.clear()` needs `DESTROY_COLLECTION`, and takes one.

    `pop` and `popitem` return each value to only one caller; `setdefault` never overwrites a value. Others may write
    during iteration: an entry that is present throughout comes exactly once. Values get the collection's ttl. Keys come
    in no particular order.

    Raises:
        KeyMissingError: A key is absent. This is a `KeyError`.
        InvalidKeyError: A key is not a legal name, in any operation.
        UnsupportedOperationError: The store does not have the capability. Raised before the operation does anything.
    """

    def __init__(self, collection: SyncCollection[T]) -> None:
        self._collection = collection

    def __repr__(self) -> str:
        return f"{self._collection!r}.as_mapping()"

    def __getitem__(self, key: str, /) -> T:
        return self._collection.require(key)

    def __setitem__(self, key: str, value: T, /) -> None:
        self._collection.put(key, value)

    def __delitem__(self, key: str, /) -> None:
        if not self._collection.delete(key):
            raise self._missing(key)

    def __contains__(self, key: object, /) -> bool:
        return self._collection.exists(key)  # type: ignore[arg-type]  # it checks the key itself

    def __iter__(self) -> Iterator[str]:
        return self._collection.keys()

    def __len__(self) -> int:
        """Count the keys."""
        return self._collection.count()

    def __bool__(self) -> bool:
        """Return whether there is a key, by listing one."""
        return any(True for _ in self._collection.keys(limit=1))

    def items(self) -> ItemsView[str, T]:
        """Return a view of the items, which iteration reads in pages."""
        return _Items(self)

    def values(self) -> ValuesView[T]:
        """Return a view of the values, which iteration reads in pages."""
        return _Values(self)

    def update(  # type: ignore[override]  # objects that only have keys() and [] are not accepted
        self, other: Mapping[str, T] | Iterable[tuple[str, T]] = (), /, **more: T
    ) -> None:
        """Put many values; this is not one atomic step."""
        self._collection.put_many(dict(other, **more))

    @overload
    def pop(self, key: str, /) -> T: ...
    @overload
    def pop(self, key: str, /, default: T) -> T: ...
    @overload
    def pop(self, key: str, /, default: D) -> T | D: ...
    def pop(self, key: str, /, default: Any = UNSET) -> Any:
        """Remove a value and return it, to only one caller; an absent key gives the default or `KeyMissingError`."""
        self._collection._store._able("compare_and_delete")
        while (entry := self._collection.get_entry(key)) is not None:
            if self._collection.compare_and_delete(key, version=entry.version):
                return entry.value
        if default is UNSET:
            raise self._missing(key)
        return default

    def popitem(self) -> tuple[str, T]:
        """Remove some entry and return its key and value, to only one caller."""
        for key in self:
            with suppress(KeyMissingError):  # it has been removed since it was listed
                return key, self.pop(key)
        raise KeyMissingError(f"collection {self._collection.name!r} is empty")

    @overload
    def setdefault(self: CollectionMapping[T | None], key: str, default: None = None, /) -> T | None: ...
    @overload
    def setdefault(self, key: str, default: T, /) -> T: ...
    def setdefault(self, key: str, default: Any = None, /) -> Any:
        """Return the value under a key; if it is absent, put and return the default."""
        self._collection._store._able("put_if_absent")
        while True:
            value = self._collection.get(key, UNSET)
            if value is not UNSET:
                return value
            if self._collection.put_if_absent(key, default) is not None:
                return default

    def clear(self) -> None:
        """Remove every entry of the collection."""
        self._collection.destroy()

    def _missing(self, key: str) -> KeyMissingError:
        return self._collection._inner._missing(key)

    def _pairs(self) -> Iterator[tuple[str, T]]:
        keys = iter(self)
        while page := list(islice(keys, _PAGE)):
            yield from self._collection.get_many(page).items()  # some may have been removed since they were listed


class _Items(ItemsView[str, T]):
    _mapping: CollectionMapping[T]

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return self._mapping._pairs()


class _Values(ValuesView[T]):
    _mapping: CollectionMapping[T]

    def __iter__(self) -> Iterator[T]:
        return (value for _, value in self._mapping._pairs())

    def __contains__(self, value: object) -> bool:
        return any(found is value or found == value for found in self)


class SyncCollection(Generic[T]):
    """`Collection` for code without an event loop: the same verbs, which block until they are done.

    `SyncStore(...).collection("users", model=User)` makes one. `as_mapping` presents it as a `MutableMapping`.

    Args:
        store: The store.
        inner: The collection in the async store.
    """

    def __init__(self, store: BlockingStore, inner: Collection[T]) -> None:
        self._store = store
        self._inner = inner
        self._call = store._call

    def __repr__(self) -> str:
        return f"Sync{self._inner!r}"

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self._inner.name

    def as_mapping(self) -> CollectionMapping[T]:
        """Return a view of the collection that behaves like a dict: `users["ada"]`, `in`, `len`, `del`, iteration.

        Every operation uses the store. The view is a `Mapping` and so, unlike the collection, falsy while it is empty.
        """
        return CollectionMapping(self)

    @overload
    def get(self, key: str, default: None = None) -> T | None: ...
    @overload
    def get(self, key: str, default: D) -> T | D: ...
    @overload
    def get(self, key: str, default: None = None, *, model: type[M]) -> M | None: ...
    @overload
    def get(self, key: str, default: D, *, model: type[M]) -> M | D: ...
    def get(self, key: str, default: Any = None, *, model: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent."""
        return self._call(self._inner.get, key, default, model=model)

    @overload
    def require(self, key: str) -> T: ...
    @overload
    def require(self, key: str, *, model: type[M]) -> M: ...
    def require(self, key: str, *, model: Any = None) -> Any:
        """Return the value under a key, or raise `KeyMissingError`."""
        return self._call(self._inner.require, key, model=model)

    @overload
    def get_entry(self, key: str) -> Entry[T] | None: ...
    @overload
    def get_entry(self, key: str, *, model: type[M]) -> Entry[M] | None: ...
    def get_entry(self, key: str, *, model: Any = None) -> Any:
        """Return the entry under a key: the value with version, times and size."""
        return self._call(self._inner.get_entry, key, model=model)

    def exists(self, key: str) -> bool:
        """Return whether there is an entry under a key, without validating its value."""
        return self._call(self._inner.exists, key)

    def put(self, key: str, value: T, *, ttl: TTL | UnsetType | None = UNSET) -> None:
        """Store a value under a key, replacing any existing entry.

        By default the ttl is the collection's. None means never, even if the collection has one.
        """
        self._call(self._inner.put, key, value, ttl=ttl)

    def delete(self, key: str) -> bool:
        """Remove the entry under a key, and return whether it existed."""
        return self._call(self._inner.delete, key)

    @overload
    def get_many(self, keys: Iterable[str]) -> dict[str, T]: ...
    @overload
    def get_many(self, keys: Iterable[str], *, model: type[M]) -> dict[str, M]: ...
    def get_many(self, keys: Iterable[str], *, model: Any = None) -> Any:
        """Return the values of the keys that exist, in the order requested."""
        return self._call(self._inner.get_many, check_names(keys), model=model)

    @overload
    def get_entries(self, keys: Iterable[str]) -> dict[str, Entry[T]]: ...
    @overload
    def get_entries(self, keys: Iterable[str], *, model: type[M]) -> dict[str, Entry[M]]: ...
    def get_entries(self, keys: Iterable[str], *, model: Any = None) -> Any:
        """Return the entries of the keys that exist, in the order requested."""
        return self._call(self._inner.get_entries, check_names(keys), model=model)

    def put_many(self, items: Mapping[str, T], *, ttl: TTL | UnsetType | None = UNSET) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step."""
        taken: Mapping[str, Any] = dict(
            check_items(items)
        )  # in the caller's thread, because the items may be read from this very store
        self._call(self._inner.put_many, taken, ttl=ttl)

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many existed."""
        return self._call(self._inner.delete_many, check_names(keys))

    def keys(
        self,
        *,
        prefix: str = "",
        exclude_prefix: str | None = None,
        glob: str | None = None,
        depth: int | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Iterator[str]:
        """Iterate over the keys; arguments and errors are those of `Collection.keys`."""
        self._store._able("keys")
        choice: dict[str, Any] = {"prefix": prefix, "exclude_prefix": exclude_prefix, "glob": glob, "depth": depth}
        return self._store._listed("keys", self._inner.keys(**choice, limit=limit, after=after))

    @overload
    def values(self, **choice: Unpack[KeyChoice]) -> Iterator[T]: ...
    @overload
    def values(self, *, model: type[M], **choice: Unpack[KeyChoice]) -> Iterator[M]: ...
    def values(self, *, model: Any = None, **choice: Unpack[KeyChoice]) -> Iterator[Any]:
        """Iterate over the values of keys, which are read 100 at a time."""
        self._store._able("keys")
        return self._store._listed("values", self._inner.values(**choice, model=model))

    @overload
    def items(self, **choice: Unpack[KeyChoice]) -> Iterator[tuple[str, T]]: ...
    @overload
    def items(self, *, model: type[M], **choice: Unpack[KeyChoice]) -> Iterator[tuple[str, M]]: ...
    def items(self, *, model: Any = None, **choice: Unpack[KeyChoice]) -> Iterator[tuple[str, Any]]:
        """Iterate over keys and values, which are read 100 at a time."""
        self._store._able("keys")
        return self._store._listed("items", self._inner.items(**choice, model=model))

    def count(self, *, prefix: str = "") -> int:
        """Return how many entries there are, or how many of their keys start with a prefix."""
        self._store._able("count")
        return self._call(self._inner.count, prefix=prefix)

    def prefixes(self, delimiter: str = "/", prefix: str = "") -> Iterator[str]:
        """Iterate over "folders": the parts of keys up to a delimiter, each once, in no particular order."""
        self._store._able("keys")
        return self._store._listed("prefixes", self._inner.prefixes(delimiter, prefix))

    def watch(self, *, prefix: str = "") -> AbstractContextManager[Iterator[Change]]:
        """Watch the entries for changes by any client: `for change in changes` waits for the next one."""
        self._store._able("watch")
        return self._store._watched(self._inner.watch(prefix=prefix))

    def delete_prefix(self, prefix: str) -> int:
        """Remove every entry whose key starts with a prefix, and return how many there were."""
        self._store._able("keys")
        return self._call(self._inner.delete_prefix, prefix)

    @overload
    def pop(self, key: str, default: None = None) -> T | None: ...
    @overload
    def pop(self, key: str, default: D) -> T | D: ...
    def pop(self, key: str, default: Any = None) -> Any:
        """Remove the entry under a key and return its value, to only one caller; the default when it is absent."""
        self._store._able("compare_and_delete")
        return self._call(self._inner.pop, key, default)

    def get_or_put(
        self,
        key: str,
        factory: Callable[[], T],
        *,
        ttl: TTL | UnsetType | None = UNSET,
        stale: TTL | None = None,
        early: float | None = None,
    ) -> T:
        """Return the value under a key; if it is absent, put and return the result of a plain function.

        The function runs in a worker thread, and may use the store. See `Collection.get_or_put` for details.
        """
        if not callable(factory) or inspect.iscoroutinefunction(factory):
            raise TypeError(f"factory must be a plain function without arguments, got {type(factory).__name__}")
        make = partial(asyncio.to_thread, factory)
        return self._call(self._inner.get_or_put, key, make, ttl=ttl, stale=stale, early=early)

    def copy(self, source: str, target: str) -> None:
        """Copy a value to another key, with its remaining time to live."""
        self._call(self._inner.copy, source, target)

    def move(self, source: str, target: str) -> None:
        """Move an entry to another key, with its remaining time to live."""
        self._store._able("compare_and_delete")
        self._call(self._inner.move, source, target)

    def destroy(self) -> bool:
        """Remove every entry of the collection, and return whether there was one."""
        self._store._able("destroy_collection")
        return self._call(self._inner.destroy)

    def put_if_absent(self, key: str, value: T, *, ttl: TTL | UnsetType | None = UNSET) -> str | None:
        """Store a value if the key is absent, and return its version; None when the key exists."""
        return self._call(self._inner.put_if_absent, key, value, ttl=ttl)

    def compare_and_put(self, key: str, value: T, *, version: str, ttl: TTL | UnsetType | None = UNSET) -> str | None:
        """Replace the entry if it still has the version, and return the new version; otherwise None."""
        return self._call(self._inner.compare_and_put, key, value, version=version, ttl=ttl)

    def compare_and_delete(self, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and return whether it was removed."""
        return self._call(self._inner.compare_and_delete, key, version=version)

    def touch(self, key: str, *, ttl: TTL | UnsetType | None = UNSET) -> bool:
        """Give the entry a new deadline, counted from now, and return whether it existed.

        By default the ttl is the collection's; if it has none, `InvalidTTLError` is raised.
        """
        return self._call(self._inner.touch, key, ttl=ttl)

    def update(
        self,
        key: str,
        function: Callable[[T], T],
        *,
        initial: T | UnsetType = UNSET,
        ttl: TTL | UnsetType | None = UNSET,
    ) -> T:
        """Replace a value by the result of a function, losing no other writer's update, and return the new value.

        Without a ttl an entry keeps its deadline, and a new one gets the collection's ttl.

        The function runs in the thread of the store's event loop, perhaps many times. It must be quick, without side
        effects, and cannot use the store. See `Collection.update` for details.
        """
        return self._call(self._inner.update, key, function, initial=initial, ttl=ttl)


_LISTED = 500
"""Number of names passed from one thread to the other at once."""


class Listing(Generic[T]):
    """Async iterator read in pages, on the event loop to which it belongs.

    Args:
        items: The iterator.
        size: Number of items in a page.
    """

    def __init__(self, items: AsyncIterator[T], *, size: int = _LISTED) -> None:
        self._items, self._size = items, size
        self._turn = asyncio.Lock()

    async def page(self) -> list[T]:
        """Return the next page; an empty list at the end."""
        async with self._turn:
            page: list[T] = []
            async for item in self._items:
                page.append(item)
                if len(page) == self._size:
                    break
            return page

    async def close(self) -> None:
        """Close the iterator, after a page in progress has ended."""
        async with self._turn:
            if isinstance(self._items, AsyncGenerator):
                await self._items.aclose()
