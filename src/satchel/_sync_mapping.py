"""`CollectionMapping`: a collection that looks like a dict."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, overload

from msgspec import UNSET

from .errors import KeyMissingError

if TYPE_CHECKING:
    from ._sync_collection import SyncCollection

T = TypeVar("T")
D = TypeVar("D")

_PAGE = 100
"""So many values are read together by iterating over them."""


class CollectionMapping(MutableMapping[str, T]):
    """Shows a collection as a `MutableMapping`, which reads and writes the store at every use.

    * `m[key]`, `m.get(key)`, `key in m`, `m[key] = value` and `del m[key]` take one call of the store; `m.update(...)`
      takes one for all items.
    * Iteration, `keys()` and `len(m)` need `ENUMERATE_KEYS`, and take one call for 500 keys; `bool(m)` takes one for
      one key. `items()`, `values()` and `==` take one more for 100 values.
    * `m.pop(key)` and `m.setdefault(key, value)` need `CONDITIONAL`, and take two; more if others write the key
      meanwhile.
    * `m.popitem()` needs both, and takes three or more.
    * `m.clear()` needs `DESTROY_COLLECTION`, and takes one.

    `pop` and `popitem` give each value to one caller alone; `setdefault` overwrites nobody's value. Iterating while
    others write is allowed: an entry that is there throughout comes exactly once. Values expire as the collection's ttl
    says. Keys come in no particular order.

    Raises:
        KeyMissingError: A key is absent; it is a `KeyError`.
        InvalidKeyError: A key is no legal name, in whatever use.
        UnsupportedOperationError: The store does not have the capability; raised at the use, before anything is done.
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
        """Count the keys, by listing all of them."""
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        """Say whether there is a key, by listing one."""
        return any(True for _ in self._collection.keys(limit=1))

    def items(self) -> ItemsView[str, T]:
        """Return the pairs, which are read in pages when they are iterated over."""
        return _Items(self)

    def values(self) -> ValuesView[T]:
        """Return the values, which are read in pages when they are iterated over."""
        return _Values(self)

    def update(  # type: ignore[override]  # what only has keys() and [] is not taken
        self, other: Mapping[str, T] | Iterable[tuple[str, T]] = (), /, **more: T
    ) -> None:
        """Put many values, which is not one atomic step."""
        self._collection.put_many(dict(other, **more))

    @overload
    def pop(self, key: str, /) -> T: ...
    @overload
    def pop(self, key: str, /, default: T) -> T: ...
    @overload
    def pop(self, key: str, /, default: D) -> T | D: ...
    def pop(self, key: str, /, default: Any = UNSET) -> Any:
        """Remove a value and return it, to one caller alone; an absent one gives the default or `KeyMissingError`."""
        self._collection._store._able("compare_and_delete")
        while (entry := self._collection.get_entry(key)) is not None:
            if self._collection.compare_and_delete(key, version=entry.version):
                return entry.value
        if default is UNSET:
            raise self._missing(key)
        return default

    def popitem(self) -> tuple[str, T]:
        """Remove some entry and return its key and value, to one caller alone."""
        for key in self:
            with suppress(KeyMissingError):  # it has gone since it was listed
                return key, self.pop(key)
        raise KeyMissingError(f"collection {self._collection.name!r} is empty")

    @overload
    def setdefault(self: CollectionMapping[T | None], key: str, default: None = None, /) -> T | None: ...
    @overload
    def setdefault(self, key: str, default: T, /) -> T: ...
    def setdefault(self, key: str, default: Any = None, /) -> Any:
        """Return the value under a key, after putting this one if it is absent."""
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
            yield from self._collection.get_many(page).items()  # some may have gone since they were listed


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
