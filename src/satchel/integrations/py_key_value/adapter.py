"""`as_py_key_value`: a satchel store with the interface of py-key-value."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, SupportsFloat

from key_value.aio.errors import DeserializationError, InvalidTTLError, SerializationError
from key_value.aio.protocols import AsyncKeyValue as TheirKeyValue

from ..._threads import offload
from ...capability import Capability
from ...clock import seconds
from ...codec import LARGE, MAX_DEPTH, REFUSED, room_left, rough_size
from ...errors import with_article
from ...names import check_name
from ...protocol import AsyncKeyValue, SupportsEverything, check_store
from .errors import NoTTLError, raising_theirs

_DEFAULT_COLLECTION = "default_collection"
_MOST_NAMES = 10_000
"""Maximum number of names in a listing of py-key-value, which has no pages."""


class PyKeyValueAdapter(TheirKeyValue):
    """Satchel store with the interface of py-key-value, as made by `as_py_key_value`.

    It has `keys`, `collections`, `destroy`, `destroy_collection` and `cull` only if the store can do them: that is how
    py-key-value tells.
    """

    def __init__(self, store: AsyncKeyValue, default_collection: str) -> None:
        self._store = store
        self._default = default_collection

    def __repr__(self) -> str:
        return f"as_py_key_value({self._store!r})"

    async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
        """Return the value under a key, None when it is absent."""
        name = self._collection(collection)
        with raising_theirs("get", name, key):
            return _as_dict(await self._store.get(name, _text(key, "key")))

    async def ttl(self, key: str, *, collection: str | None = None) -> tuple[dict[str, Any] | None, float | None]:
        """Return the value under a key and the seconds left; None for each that there is not."""
        name = self._collection(collection)
        with raising_theirs("ttl", name, key):
            entry = await self._store.get_entry(name, _text(key, "key"))
        return (None, None) if entry is None else (_as_dict(entry.value), entry.ttl)

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: SupportsFloat | None = None
    ) -> None:
        """Store a value under a key; tuples in it become lists, as JSON has it."""
        name, lifetime = self._collection(collection), _seconds(ttl)
        plain = await _as_json(value)
        with raising_theirs("put", name, key):
            await self._store.put(name, _text(key, "key"), plain, ttl=lifetime)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Remove the entry under a key, and return whether it existed."""
        name = self._collection(collection)
        with raising_theirs("delete", name, key):
            return await self._store.delete(name, _text(key, "key"))

    async def get_many(self, keys: Sequence[str], *, collection: str | None = None) -> list[dict[str, Any] | None]:
        """Return the value under each key, None where it is absent."""
        name, asked = self._collection(collection), _texts(keys)
        with raising_theirs("get_many", name):
            found = await self._store.get_many(name, asked)
        return [_as_dict(found[key]) if key in found else None for key in asked]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[dict[str, Any] | None, float | None]]:
        """Return the value under each key and the seconds left; None for each that there is not."""
        name, asked = self._collection(collection), _texts(keys)
        with raising_theirs("ttl_many", name):
            found = await self._store.get_entries(name, asked)
        return [(_as_dict(found[key].value), found[key].ttl) if key in found else (None, None) for key in asked]

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[Mapping[str, Any]],
        *,
        collection: str | None = None,
        ttl: SupportsFloat | None = None,
    ) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step."""
        name, lifetime, given = self._collection(collection), _seconds(ttl), _texts(keys)
        if len(given) != len(values):
            raise ValueError(f"put_many takes as many values as keys, got {len(values)} and {len(given)}")
        items = {key: await _as_json(value) for key, value in zip(given, values, strict=True)}
        with raising_theirs("put_many", name):
            await self._store.put_many(name, items, ttl=lifetime)

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        """Remove many entries, and return how many of them were there."""
        name = self._collection(collection)
        with raising_theirs("delete_many", name):
            return await self._store.delete_many(name, _texts(keys))

    def _collection(self, collection: str | None) -> str:
        return self._default if collection is None else _text(collection, "collection") or self._default


class _Capable(PyKeyValueAdapter):
    _store: SupportsEverything


class _EnumeratesKeys(_Capable):
    async def keys(self, collection: str | None = None, *, limit: int | None = None) -> list[str]:
        """Return the keys of a collection: at most 10,000, or fewer with a limit."""
        name = self._collection(collection)
        with raising_theirs("keys", name):
            return await _listed(self._store.keys(name, limit=_most(limit)), _MOST_NAMES)


class _EnumeratesCollections(_Capable):
    async def collections(self, *, limit: int | None = None) -> list[str]:
        """Return the collections that hold an entry: at most 10,000, or fewer with a limit."""
        with raising_theirs("collections"):
            return await _listed(self._store.collections(), _most(limit))


class _DestroysCollections(_Capable):
    async def destroy_collection(self, collection: str) -> bool:
        """Remove every entry of a collection, and return whether there was one."""
        with raising_theirs("destroy_collection", collection):
            return await self._store.destroy_collection(_text(collection, "collection"))


class _DestroysStores(_Capable):
    async def destroy(self) -> bool:
        """Remove everything that the store wrote, and return True: it is done."""
        with raising_theirs("destroy"):
            await self._store.destroy()
        return True


class _Culls(_Capable):
    async def cull(self) -> None:
        """Reclaim the space of expired entries now."""
        with raising_theirs("cull"):
            await self._store.cull()


_PARTS: dict[Capability, type[PyKeyValueAdapter]] = {
    Capability.ENUMERATE_KEYS: _EnumeratesKeys,
    Capability.ENUMERATE_COLLECTIONS: _EnumeratesCollections,
    Capability.DESTROY_COLLECTION: _DestroysCollections,
    Capability.DESTROY_STORE: _DestroysStores,
    Capability.CULL: _Culls,
}


def as_py_key_value(store: AsyncKeyValue, *, default_collection: str = _DEFAULT_COLLECTION) -> PyKeyValueAdapter:
    """Return a satchel store with the interface of py-key-value: methods, results and errors are that library's.

    The store stays yours: close it yourself. In addition to py-key-value's own checks, NaN and infinity, integers
    beyond 64 bits, text with lone surrogates and nesting deeper than 100 raise `SerializationError`, the empty key
    raises `InvalidKeyError`, and a ttl over 100 years raises `InvalidTTLError`. If satchel has put a value other than a
    dict under a key, reading it raises `DeserializationError`.

    Args:
        store: Any satchel store.
        default_collection: The collection for calls without one.

    Raises:
        ConfigurationError: The argument is not a store.
        InvalidKeyError: The default collection is not a legal name; this one is satchel's.
    """
    check_store(store, "as_py_key_value")
    name = check_name(default_collection, "default_collection")
    return _adapter_class(store.capabilities)(store, name)


@functools.cache
def _adapter_class(capabilities: Capability) -> type[PyKeyValueAdapter]:
    parts = tuple(part for capability, part in _PARTS.items() if capability in capabilities)
    return type("PyKeyValueAdapter", parts or (PyKeyValueAdapter,), {"__module__": __name__})


async def _as_json(value: object) -> dict[str, Any]:
    """Return a value with the types that JSON restores; the value itself if it has no others."""
    if type(value) is dict:
        room = room_left(value, LARGE, MAX_DEPTH - 1)
        if room >= 0:
            return value
        if room != REFUSED:  # it is large
            return await offload(_converted, value)
    return await offload(_converted, value) if rough_size(value) >= LARGE else _converted(value)


def _converted(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"value must be a mapping with str keys, got {type(value).__name__}")
    if not all(isinstance(key, str) for key in value):
        raise TypeError("value must be a mapping with str keys, and a key of this one is no str")
    if type(value) is dict and room_left(value, math.inf, MAX_DEPTH - 1) >= 0:
        return value
    try:
        converted: dict[str, Any] = json.loads(json.dumps(dict(value)))
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"this value has no form in JSON: {error}") from error
    return converted


def _as_dict(value: Any) -> dict[str, Any] | None:
    if value is None or type(value) is dict:
        kept: dict[str, Any] | None = value
        return kept
    raise DeserializationError(
        f"{with_article(type(value))} is stored here, put by satchel; py-key-value has only dicts"
    )


def _seconds(ttl: object) -> float | None:
    if ttl is None:
        return None
    try:
        if isinstance(ttl, SupportsFloat) and not isinstance(ttl, bool):
            return seconds(float(ttl))
    except (ValueError, OverflowError) as error:  # satchel's own is a ValueError
        raise InvalidTTLError(ttl) from error
    raise NoTTLError(ttl, {"type": type(ttl).__name__})


def _text(name: object, what: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a str, got {type(name).__name__}")
    return name


def _texts(keys: object) -> list[str]:
    if not isinstance(keys, Sequence):
        raise TypeError(f"keys must be a sequence of str, got {type(keys).__name__}")
    return [_text(key, "key") for key in keys]


def _most(limit: int | None) -> int:
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be None or an int of at least 0, got {limit!r}")
    return _MOST_NAMES if limit is None else min(limit, _MOST_NAMES)


async def _listed(names: AsyncIterator[str], most: int) -> list[str]:
    listed: list[str] = []
    try:
        while len(listed) < most and (name := await anext(names, None)) is not None:
            listed.append(name)
    finally:
        if isinstance(names, AsyncGenerator):
            await names.aclose()
    return listed
