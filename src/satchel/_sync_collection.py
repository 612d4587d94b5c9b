"""`SyncCollection`: one collection of a `SyncStore`, with values of one type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from msgspec import UNSET, UnsetType

from ._sync_mapping import CollectionMapping
from .clock import TTL
from .collection import Collection
from .entry import Entry
from .names import check_items, check_names

if TYPE_CHECKING:
    from .sync import SyncStore

T = TypeVar("T")
D = TypeVar("D")


class SyncCollection(Generic[T]):
    """Offers a `Collection` to code without an event loop: the same verbs, which block until they are done.

    `SyncStore(...).collection("users", model=User)` makes one. `as_mapping` shows it as a `MutableMapping`.

    Args:
        store: The store.
        inner: The collection, in the store that the `SyncStore` was made of.
    """

    def __init__(self, store: SyncStore, inner: Collection[T]) -> None:
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
        """Return a view of the collection that behaves as a dict does: `users["ada"]`, `in`, `len`, `del`, iteration.

        Every use of it goes to the store. It is a `Mapping` and so, unlike the collection, falsy while it is empty.
        """
        return CollectionMapping(self)

    @overload
    def get(self, key: str, default: None = None) -> T | None: ...
    @overload
    def get(self, key: str, default: D) -> T | D: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent."""
        return self._call(self._inner.get, key, default)

    def require(self, key: str) -> T:
        """Return the value under a key, or raise `KeyMissingError`."""
        return self._call(self._inner.require, key)

    def get_entry(self, key: str) -> Entry[T] | None:
        """Return the entry under a key: the value with version, times and size."""
        return self._call(self._inner.get_entry, key)

    def exists(self, key: str) -> bool:
        """Say whether there is an entry under a key, without validating its value."""
        return self._call(self._inner.exists, key)

    def put(self, key: str, value: T, *, ttl: TTL | UnsetType | None = UNSET) -> None:
        """Store a value under a key, replacing what was there.

        The ttl is the collection's when it is not given. None means never, even where the collection has one.
        """
        self._call(self._inner.put, key, value, ttl=ttl)

    def delete(self, key: str) -> bool:
        """Remove the entry under a key, and say whether it was there."""
        return self._call(self._inner.delete, key)

    def get_many(self, keys: Iterable[str]) -> dict[str, T]:
        """Return the values of those keys that are there, in the order asked."""
        return self._call(self._inner.get_many, check_names(keys))

    def get_entries(self, keys: Iterable[str]) -> dict[str, Entry[T]]:
        """Return the entries of those keys that are there, in the order asked."""
        return self._call(self._inner.get_entries, check_names(keys))

    def put_many(self, items: Mapping[str, T], *, ttl: TTL | UnsetType | None = UNSET) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step."""
        taken: Mapping[str, Any] = dict(check_items(items))  # here: they may be read from this very store
        self._call(self._inner.put_many, taken, ttl=ttl)

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many of them were there."""
        return self._call(self._inner.delete_many, check_names(keys))

    def keys(self, *, prefix: str = "", limit: int | None = None) -> Iterator[str]:
        """Iterate over the keys, in no particular order, in constant memory."""
        return self._store.keys(self.name, prefix=prefix, limit=limit)

    def destroy(self) -> bool:
        """Remove every entry of the collection, and say whether there was any."""
        return self._store.destroy_collection(self.name)

    def put_if_absent(self, key: str, value: T, *, ttl: TTL | UnsetType | None = UNSET) -> str | None:
        """Store a value if the key is absent, and return its version; None when something was there."""
        return self._call(self._inner.put_if_absent, key, value, ttl=ttl)

    def compare_and_put(self, key: str, value: T, *, version: str, ttl: TTL | UnsetType | None = UNSET) -> str | None:
        """Replace the entry if it still has the version, and return the new version; None when it has not."""
        return self._call(self._inner.compare_and_put, key, value, version=version, ttl=ttl)

    def compare_and_delete(self, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and say whether it was removed."""
        return self._call(self._inner.compare_and_delete, key, version=version)

    def touch(self, key: str, *, ttl: TTL | UnsetType | None = UNSET) -> bool:
        """Give the entry a new deadline, counted from now, and say whether it was there.

        Without a ttl it is the collection's; where that has none, `InvalidTTLError` is raised.
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
        """Replace a value by what a function makes of it, losing no other writer's update, and return the new value.

        Without a ttl an entry keeps its deadline, and a new one gets the collection's ttl.

        The function runs in the thread of the store's event loop, maybe many times: it is quick, has no effects of its
        own, and does not call the store, which would refuse it. `Collection.update` says the rest.
        """
        return self._call(self._inner.update, key, function, initial=initial, ttl=ttl)
