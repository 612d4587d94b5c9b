"""`Collection`: one collection of a store, with values of one type."""

from __future__ import annotations

import copy
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, Protocol, Self, TypeVar, Unpack, cast, overload

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from ._batches import checked_items, checked_names, paged, slices
from ._conversion import Conversion, conversion_for
from ._models import check_repeated_parts, is_large, is_large_object, name_of
from ._single_flight import SingleFlight
from ._threads import Yielder, offload, tally
from ._update import check_plain, optimistic_update, plain_result, remaining
from .capability import Capability
from .change import Change
from .clock import TTL, seconds
from .codec import Codec
from .entry import Entry
from .errors import (
    ConfigurationError,
    InvalidTTLError,
    KeyMissingError,
    ModelMismatchError,
    SatchelError,
    batch_error,
)
from .matching import KeyChoice, KeyFilter, check_delimiter, folders, matching_keys
from .names import check_after, check_limit, check_name
from .protocol import AsyncKeyValue, check_store, require

T = TypeVar("T")
D = TypeVar("D")
M = TypeVar("M")

_PAGE = 100
"""Number of values that an iteration reads together."""
_DELETED = 500
"""Number of entries that are removed together."""
_VIEWS = 8
"""Number of models from calls whose conversions are cached."""


class Collection(Generic[T]):
    """Collection of values of one type in a store: the store's verbs, with the collection bound.

    Values are validated when they are put, before any I/O, and when they are read. A value comes back equal to the one
    that was put, or `put` refuses it. Without a model, the collection accepts whatever the store accepts.

    `store.collection("users", model=User)` makes one; so does `Collection(store, "users", model=User)`, over anything
    that satisfies `AsyncKeyValue`. Making one does no I/O.

    Args:
        store: The store.
        name: The name of the collection.
        model: The type of the values: a pydantic model, msgspec Struct, dataclass, TypedDict, `bytes`, or any type,
            such as `list[int]`, that msgspec or pydantic can validate.
        ttl: Default time to live of values put here, in seconds or as a `timedelta`; None for no expiry.
        encode: Function used in place of a model: returns what the store is to keep for a value. It may run in a
            worker thread.
        decode: Function that returns the value from the result of `encode`. Equality is not checked.
        codec: Encodes the values of this collection in place of the store's codec, which then keeps `bytes`.

    Raises:
        InvalidKeyError, InvalidTTLError: The name or the ttl is not legal.
        ConfigurationError: `store` is not a store, the model is not a type that can be validated, `encode` comes with a
            model or without `decode`, or `codec` is not a codec.
        MissingExtraError: The model needs pydantic, which is not installed.
    """

    @overload
    def __init__(
        self: Collection[Any], store: AsyncKeyValue, name: str, *, ttl: TTL | None = None, codec: Codec | None = None
    ) -> None: ...
    @overload
    def __init__(
        self, store: AsyncKeyValue, name: str, *, model: type[T], ttl: TTL | None = None, codec: Codec | None = None
    ) -> None: ...
    @overload
    def __init__(
        self: Collection[Any],
        store: AsyncKeyValue,
        name: str,
        *,
        model: object,
        ttl: TTL | None = None,
        codec: Codec | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        store: AsyncKeyValue,
        name: str,
        *,
        encode: Callable[[T], object],
        decode: Callable[[Any], T],
        ttl: TTL | None = None,
        codec: Codec | None = None,
    ) -> None: ...
    def __init__(
        self,
        store: AsyncKeyValue,
        name: str,
        *,
        model: Any = None,
        encode: Callable[[Any], object] | None = None,
        decode: Callable[[Any], Any] | None = None,
        ttl: TTL | None = None,
        codec: Codec | None = None,
    ) -> None:
        self._name = check_name(name, "collection")
        check_store(store, "Collection")
        self._bind(store)
        self._codec = codec
        self._convert(model, conversion_for(model, encode, decode, codec))
        self._ttl = ttl if ttl is None else seconds(ttl)

    def __repr__(self) -> str:
        model = "" if self._model is None else f", model={name_of(self._kind)}"
        return f"Collection({self._store!r}, {self._name!r}{model})"

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self._name

    @overload
    async def get(self, key: str, default: None = None) -> T | None: ...
    @overload
    async def get(self, key: str, default: D) -> T | D: ...
    @overload
    async def get(self, key: str, default: None = None, *, model: type[M]) -> M | None: ...
    @overload
    async def get(self, key: str, default: D, *, model: type[M]) -> M | D: ...
    async def get(self, key: str, default: Any = None, *, model: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent.

        Args:
            key: The key.
            default: What to return for an absent key.
            model: Another model than the collection's, for this call.

        Raises:
            ModelMismatchError: The stored value does not fit the model.
        """
        if model is not None:
            return await self._read_as(model).get(key, default)
        before = tally.calls
        value = await self._store.get(self._name, key, UNSET)
        if value is UNSET:
            return default
        conversion = self._model
        if conversion is None:
            return value
        if (tally.calls != before or self._is_foreign) and is_large(value):
            return await offload(self._load, key, value)
        try:
            return conversion.load(value)  # `_load` inlined: this is the hottest line
        except Exception as error:
            refusal = self._refusal(key, error)
        raise refusal

    @overload
    async def require(self, key: str) -> T: ...
    @overload
    async def require(self, key: str, *, model: type[M]) -> M: ...
    async def require(self, key: str, *, model: Any = None) -> Any:
        """Return the value under a key.

        Raises:
            KeyMissingError: The key is absent.
            ModelMismatchError: The stored value does not fit the model.
        """
        value = await self.get(key, UNSET, model=model)
        if value is UNSET:
            raise self._missing(key)
        return value

    @overload
    async def get_entry(self, key: str) -> Entry[T] | None: ...
    @overload
    async def get_entry(self, key: str, *, model: type[M]) -> Entry[M] | None: ...
    async def get_entry(self, key: str, *, model: Any = None) -> Any:
        """Return the entry under a key: the value with version, times and size."""
        if model is not None:
            return await self._read_as(model).get_entry(key)
        entry = await self._store.get_entry(self._name, key)
        return None if entry is None else replace(entry, value=await self._loaded(key, entry.value))

    async def exists(self, key: str) -> bool:
        """Return whether there is an entry under a key, without validating its value."""
        return await self._store.exists(self._name, key)

    async def put(self, key: str, value: T, *, ttl: TTL | UnsetType | None = UNSET) -> None:
        """Store a value under a key, replacing any existing entry and its deadline.

        Args:
            key: The key.
            value: A value of the model.
            ttl: When it expires; by default the collection's ttl. None means never, even if the collection
                has one.

        Raises:
            ModelMismatchError: The value does not fit the model.
            SerializationError: It would not come back equal.
        """
        await self._store.put(self._name, key, await self._dumped(key, value), ttl=self._ttl_for(ttl))

    async def delete(self, key: str) -> bool:
        """Remove the entry under a key, and return whether it existed."""
        if self._shared_flights is not None:
            await self._forget((key,))
        return await self._store.delete(self._name, key)

    @overload
    async def pop(self, key: str, default: None = None) -> T | None: ...
    @overload
    async def pop(self, key: str, default: D) -> T | D: ...
    async def pop(self, key: str, default: Any = None) -> Any:
        """Remove the entry under a key and return its value, to only one caller; the default when it is absent.

        Raises:
            UnsupportedOperationError: The store does not have `CONDITIONAL`.
            ModelMismatchError: The stored value does not fit the model; the entry stays.
        """
        store = require(self._store, Capability.CONDITIONAL)
        await self._forget((key,))
        while (entry := await store.get_entry(self._name, key)) is not None:
            value = await self._loaded(key, entry.value)
            if await store.compare_and_delete(self._name, key, version=entry.version):
                return value
        return default

    async def get_or_put(
        self,
        key: str,
        factory: Callable[[], Awaitable[T]],
        *,
        ttl: TTL | UnsetType | None = UNSET,
        stale: TTL | None = None,
        early: float | None = None,
    ) -> T:
        """Return the value under a key; if it is absent, put and return the result of an async function.

        Callers of one store object that miss a key at the same time share one call. If `delete`, `delete_many`, `pop`
        or `destroy` of a collection of that store removes the key meanwhile, the result is not put.
        See `SingleFlightWrapper.get_or_put` for details.

        Args:
            key: The key.
            factory: An async function without arguments.
            ttl: When the value expires, None for never; by default the collection's ttl.
            stale: How much longer the value is served while it is refreshed.
            early: How eagerly the value is refreshed before its ttl ends; 1.0 is the best choice.

        Raises:
            ConfigurationError: `stale` or `early` is given, and the store is not a `SingleFlightWrapper`.
        """
        flights = flights_for(self._store, stale, early)

        async def make() -> Any:
            return await self._dumped(key, await _made(factory))

        options = {"ttl": self._ttl_for(ttl), "stale": stale, "early": early}
        given = make if callable(factory) else factory
        return await self._loaded(key, await flights.get_or_put(self._name, key, given, **options))

    async def copy(self, source: str, target: str) -> None:
        """Copy a value to another key, with its remaining time to live.

        Raises:
            KeyMissingError: The source is absent.
            ValueError: Source and target are the same.
        """
        _check_other(source, target)
        entry = await self._store.get_entry(self._name, source)
        if entry is None:
            raise self._missing(source)
        await self._store.put(self._name, target, entry.value, ttl=remaining(entry))

    async def move(self, source: str, target: str) -> None:
        """Move an entry to another key, with its remaining time to live.

        The target is written before the source is removed: if the program stops in between, both exist. If another
        caller replaces the source meanwhile, the new value is moved.

        Raises:
            KeyMissingError: The source is absent.
            UnsupportedOperationError: The store does not have `CONDITIONAL`.
            ValueError: Source and target are the same.
        """
        _check_other(source, target)
        store = require(self._store, Capability.CONDITIONAL)
        entry = await store.get_entry(self._name, source)
        if entry is None:
            raise self._missing(source)
        while entry is not None:
            await store.put(self._name, target, entry.value, ttl=remaining(entry))
            if await store.compare_and_delete(self._name, source, version=entry.version):
                return
            entry = await store.get_entry(self._name, source)

    @overload
    async def get_many(self, keys: Iterable[str]) -> dict[str, T]: ...
    @overload
    async def get_many(self, keys: Iterable[str], *, model: type[M]) -> dict[str, M]: ...
    async def get_many(self, keys: Iterable[str], *, model: Any = None) -> Any:
        """Return the values of the keys that exist, in the order requested.

        Raises:
            BatchError: Some values could not be read or do not fit the model; `.failed` names them.
        """
        if model is not None:
            return await self._read_as(model).get_many(keys)
        return await self._all_loaded("get_many", await self._store.get_many(self._name, keys))

    @overload
    async def get_entries(self, keys: Iterable[str]) -> dict[str, Entry[T]]: ...
    @overload
    async def get_entries(self, keys: Iterable[str], *, model: type[M]) -> dict[str, Entry[M]]: ...
    async def get_entries(self, keys: Iterable[str], *, model: Any = None) -> Any:
        """Return the entries of the keys that exist, in the order requested."""
        if model is not None:
            return await self._read_as(model).get_entries(keys)
        entries = await self._store.get_entries(self._name, keys)
        plain: dict[str, Any] = {}
        keys, turns = list(entries), Yielder()
        for part in slices(len(keys)):
            plain |= {key: entries[key].value for key in keys[part]}
            await turns.after_item()
        values = await self._all_loaded("get_entries", plain)
        loaded: dict[str, Entry[T]] = {}
        for part in slices(len(keys)):
            loaded |= {key: replace(entries[key], value=values[key]) for key in keys[part]}
            await turns.after_item()
        return loaded

    async def put_many(self, items: Mapping[str, T], *, ttl: TTL | UnsetType | None = UNSET) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step.

        The ttl is as for `put`: None means never, even where the collection has one.
        """
        plain, turns = {}, Yielder()
        for key, value in (await checked_items(items)).items():
            plain[key] = await self._dumped(key, cast("T", value))
            await turns.after_item()
        await self._store.put_many(self._name, plain, ttl=self._ttl_for(ttl))

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many existed."""
        if self._shared_flights is not None:
            keys = await checked_names(keys)
            await self._forget(keys)
        return await self._store.delete_many(self._name, keys)

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every entry whose key starts with a prefix, and return how many there were.

        Raises:
            ValueError: The prefix is empty.
        """
        if prefix == "":
            raise ValueError("delete_prefix needs a prefix; destroy() removes the whole collection")
        count, page = 0, list[str]()
        async for key in self.keys(prefix=prefix):
            page.append(key)
            if len(page) == _DELETED:
                count += await self.delete_many(page)
                page = []
        return count + (await self.delete_many(page) if page else 0)

    def keys(
        self,
        *,
        prefix: str = "",
        exclude_prefix: str | None = None,
        glob: str | None = None,
        depth: int | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> AsyncIterator[str]:
        """Iterate over the keys, in no particular order unless `after` is given, in constant memory.

        Arguments are checked at the call, before the first step.

        Args:
            prefix: Only keys that start with exactly this.
            exclude_prefix: No keys that start with this.
            glob: Only keys that match this pattern: `*` is any characters except `/`, `**` any characters.
            depth: Only keys with at most this many levels after the prefix, separated by `/`.
            limit: Maximum number of keys.
            after: Only keys that sort after this one, sorted; `""` begins with the first. The last key of a page is
                the `after` of the next.

        Raises:
            UnsupportedOperationError: The store does not have `ENUMERATE_KEYS`.
            InvalidKeyError: A prefix or `after` is not legal.
            ValueError: `glob`, `depth`, `limit` or an empty `exclude_prefix` is not legal.
        """
        chosen = KeyFilter(prefix=prefix, exclude_prefix=exclude_prefix, glob=glob, depth=depth)
        most = check_limit(limit)
        # A third-party store may not know `after`.
        order: dict[str, Any] = {} if (behind := check_after(after)) is None else {"after": behind}
        store = require(self._store, Capability.ENUMERATE_KEYS)
        if chosen.is_prefix:
            return store.keys(self._name, prefix=chosen.prefix, limit=most, **order)
        if chosen.matches_nothing:
            return store.keys(self._name, limit=0)
        return matching_keys(store.keys(self._name, prefix=chosen.prefix, **order), chosen, most)

    @overload
    def values(self, **choice: Unpack[KeyChoice]) -> AsyncIterator[T]: ...
    @overload
    def values(self, *, model: type[M], **choice: Unpack[KeyChoice]) -> AsyncIterator[M]: ...
    def values(self, *, model: Any = None, **choice: Unpack[KeyChoice]) -> AsyncIterator[Any]:
        """Iterate over values, 100 read at a time; arguments and errors are those of `keys` and `get_many`."""
        read = self if model is None else self._read_as(model)
        return read._found_values(self.keys(**choice))

    @overload
    def items(self, **choice: Unpack[KeyChoice]) -> AsyncIterator[tuple[str, T]]: ...
    @overload
    def items(self, *, model: type[M], **choice: Unpack[KeyChoice]) -> AsyncIterator[tuple[str, M]]: ...
    def items(self, *, model: Any = None, **choice: Unpack[KeyChoice]) -> AsyncIterator[tuple[str, Any]]:
        """Iterate over keys and values, 100 read at a time; arguments and errors are those of `keys` and `get_many`."""
        read = self if model is None else self._read_as(model)
        return read._found_items(self.keys(**choice))

    async def count(self, *, prefix: str = "") -> int:
        """Return how many entries there are, or how many of their keys start with a prefix."""
        return await require(self._store, Capability.ENUMERATE_KEYS).count(self._name, prefix=prefix)

    def prefixes(self, delimiter: str = "/", prefix: str = "") -> AsyncIterator[str]:
        """Iterate over "folders": the parts of keys up to a delimiter, each once, in no particular order.

        Each ends with the delimiter, so that `keys(prefix=...)` lists what is in it. All keys with the prefix are read,
        and the folders are kept in memory.

        Args:
            delimiter: Text that divides keys into levels.
            prefix: Look only at keys that start with this; if it ends with the delimiter, the folders of a folder.

        Raises:
            ValueError: The delimiter is empty or not a `str`.
        """
        check_delimiter(delimiter)
        return folders(self.keys(prefix=prefix), delimiter, len(prefix))

    def watch(self, *, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Watch the entries for changes by any client; `SupportsWatch.watch` says what is promised.

        Args:
            prefix: Only keys that start with exactly this.
        """
        return require(self._store, Capability.WATCH).watch(self._name, prefix=prefix)

    async def destroy(self) -> bool:
        """Remove every entry of the collection, and return whether there was one."""
        store = require(self._store, Capability.DESTROY_COLLECTION)
        await self._forget(None)
        return await store.destroy_collection(self._name)

    async def put_if_absent(self, key: str, value: T, *, ttl: TTL | UnsetType | None = UNSET) -> str | None:
        """Store a value if the key is absent, and return its version; None when the key exists.

        The ttl is as for `put`: None means never, even where the collection has one.
        """
        store = require(self._store, Capability.CONDITIONAL)
        plain = await self._dumped(key, value)
        return await store.put_if_absent(self._name, key, plain, ttl=self._ttl_for(ttl))

    async def compare_and_put(
        self, key: str, value: T, *, version: str, ttl: TTL | UnsetType | None = UNSET
    ) -> str | None:
        """Replace the entry if it still has the version, and return the new version; otherwise None.

        The ttl is as for `put`: None means never, even where the collection has one.
        """
        store = require(self._store, Capability.CONDITIONAL)
        plain = await self._dumped(key, value)
        return await store.compare_and_put(self._name, key, plain, version=version, ttl=self._ttl_for(ttl))

    async def compare_and_delete(self, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and return whether it was removed."""
        return await require(self._store, Capability.CONDITIONAL).compare_and_delete(self._name, key, version=version)

    async def touch(self, key: str, *, ttl: TTL | UnsetType | None = UNSET) -> bool:
        """Give the entry a new deadline, counted from now, and return whether it existed.

        Args:
            key: The key.
            ttl: When the entry expires, None for never; by default the collection's ttl.

        Raises:
            InvalidTTLError: No ttl is given, and the collection has none.
        """
        store, lifetime = require(self._store, Capability.CONDITIONAL), self._ttl_for(ttl)
        if ttl is UNSET and lifetime is None:
            raise InvalidTTLError(
                f"touch of {self._place(key)} needs ttl=, because the collection has none; None removes the deadline"
            )
        return await store.touch(self._name, key, ttl=lifetime)

    async def update(
        self,
        key: str,
        function: Callable[[T], T],
        *,
        initial: T | UnsetType = UNSET,
        ttl: TTL | UnsetType | None = UNSET,
    ) -> T:
        """Replace a value by the result of a function, losing no other writer's update, and return the new value.

        Updates of one key through one store object wait for each other. If another writer, such as another process, was
        faster, the function is called again with the value it wrote.

        Args:
            key: The key.
            function: Takes the present value and returns the new one. It must be a plain, quick function without side
                effects, because it may be called many times.
            initial: Value to pass to the function when the key is absent.
            ttl: Time to live of the new value, None for no expiry. If omitted, an entry keeps its deadline, and a new
                one gets the collection's ttl.

        Raises:
            TypeError: `function` is not callable, is a coroutine function, or returns an awaitable.
            KeyMissingError: The key is absent, and there is no initial value.
            ConflictError: Other writers were faster about 50 times in a row, over several seconds.
            ModelMismatchError: The present or the new value does not fit the model.
        """
        check_plain(function)
        store, lifetime = require(self._store, Capability.CONDITIONAL), self._ttl_for(ttl)

        async def change(entry: Entry | None) -> tuple[object, TTL | None, T]:
            if entry is not None:
                value = plain_result(function(await self._loaded(key, entry.value)))
            elif initial is UNSET:
                raise self._missing(key)
            else:
                value = plain_result(function(copy.deepcopy(initial)))  # a function may change its argument in place
            keeps = ttl is UNSET and entry is not None
            return await self._dumped(key, value), remaining(entry) if keeps else lifetime, value

        return await optimistic_update(store, self._name, check_name(key, "key"), change)

    def _over(self, store: AsyncKeyValue) -> Self:
        """Return this collection in another store, without preparing its model again."""
        twin = copy.copy(self)
        twin._bind(store)
        return twin

    def _bind(self, store: AsyncKeyValue) -> None:
        self._store = store
        self._is_foreign = not hasattr(store, "collection")
        """Decoding large values need not use a worker thread, so `tally` does not count for it."""

    @property
    def _shared_flights(self) -> SingleFlight | None:
        found: SingleFlight | None = getattr(self._store, "_flights_of_collections", None)
        return found

    async def _forget(self, keys: Iterable[str] | None) -> None:
        """Prevent running factories of `get_or_put` from putting keys that are about to be removed."""
        flights = self._shared_flights
        if flights is not None:
            await flights.forget(self._name, None if keys is None else frozenset(keys))

    def _convert(self, kind: Any, conversion: Conversion | None) -> None:
        self._kind, self._model = kind, conversion
        self._views: list[tuple[Any, Collection[Any]]] = []

    def _read_as(self, model: Any) -> Collection[Any]:
        """Return this collection with another model."""
        for kind, view in self._views:
            if kind is model:
                return view
        view = copy.copy(self)
        view._convert(model, conversion_for(model, None, None, self._codec))
        self._views = [*self._views[-_VIEWS + 1 :], (model, view)]
        return view

    async def _found_items(self, keys: AsyncIterator[str]) -> AsyncIterator[tuple[str, T]]:
        async for page in paged(keys, _PAGE):
            for item in (await self.get_many(page)).items():  # some may have been removed since they were listed
                yield item

    async def _found_values(self, keys: AsyncIterator[str]) -> AsyncIterator[T]:
        async for _, value in self._found_items(keys):
            yield value

    def _ttl_for(self, ttl: TTL | UnsetType | None) -> TTL | None:
        return self._ttl if ttl is UNSET else ttl

    def _load(self, key: str, value: Any) -> T:
        conversion = self._model
        if conversion is None:
            return cast("T", value)
        try:
            return cast("T", conversion.load(value))
        except Exception as error:
            refusal = self._refusal(key, error)
        raise refusal

    def _refusal(self, key: str, error: Exception) -> SatchelError:
        if self._codec is not None and isinstance(error, SatchelError):
            own = error.again()
            own.args = (f"the value of {self._place(key)} cannot be read: {error}",)
            return own
        problem = cast("Conversion", self._model).explain(error)
        kind = "decode" if self._kind is None else name_of(self._kind)
        return ModelMismatchError(f"the value of {self._place(key)} does not fit {kind} at {problem}")

    async def _loaded(self, key: str, value: Any) -> T:
        if self._model is not None and is_large(value):
            return await offload(self._load, key, value)
        return self._load(key, value)

    async def _all_loaded(self, operation: str, values: Mapping[str, Any]) -> dict[str, T]:
        loaded: dict[str, T] = {}
        failed: dict[str, SatchelError] = {}
        turns = Yielder()
        for key, value in values.items():
            await turns.after_item()
            try:
                loaded[key] = await self._loaded(key, value)
            except SatchelError as error:
                failed[key] = error
        if failed:
            raise batch_error(self._store, operation, self._name, failed, len(values))
        return loaded

    async def _dumped(self, key: str, value: T) -> Any:
        if self._model is None:
            return value
        try:
            return await offload(self._dump_large, value) if is_large_object(value) else self._model.dump(value)
        except SatchelError as error:
            error.args = (f"the value for {self._place(key)} {error}",)
            raise

    def _dump_large(self, value: T) -> Any:
        if self._kind is not None:  # functions of the user's own may keep a part once
            check_repeated_parts(value)
        return cast("Conversion", self._model).dump(value)

    def _missing(self, key: str) -> KeyMissingError:
        return KeyMissingError(f"{self._place(key)} is absent")

    def _place(self, key: str) -> str:
        return f"key {key!r} of collection {self._name!r}"


def flights_for(store: AsyncKeyValue, stale: TTL | None, early: float | None) -> Any:
    """Return the object that shares one factory call among callers: the store, or one for all its collections.

    Raises:
        ConfigurationError: `stale` or `early` is given, but only the store itself could end background refreshes.
    """
    if hasattr(store, "get_or_put"):
        return store
    if stale is not None or early is not None:
        raise ConfigurationError(
            f"stale and early refresh values in the background, which {store!r} would not stop when it closes; "
            "put a SingleFlightWrapper around it"
        )
    flights = getattr(store, "_flights_of_collections", None)
    if flights is None:
        flights = SingleFlight(store)
        with suppress(AttributeError):  # a third-party store may have slots: then its collections do not share
            store._flights_of_collections = flights  # type: ignore[attr-defined]  # kept as long as the store exists
    return flights


async def _made(factory: Callable[[], Awaitable[T]]) -> T:
    coming = factory()
    if not inspect.isawaitable(coming):
        raise TypeError(f"the factory must be an async function, but it returned {type(coming).__name__}")
    return await coming


def _check_other(source: str, target: str) -> None:
    if check_name(source) == check_name(target):
        raise ValueError(f"source and target are the same key {source!r}")


class HasCollections(Protocol):
    """Mixin that adds the method `collection`."""

    @overload
    def collection(
        self: AsyncKeyValue, name: str, *, ttl: TTL | None = None, codec: Codec | None = None
    ) -> Collection[Any]: ...
    @overload
    def collection(
        self: AsyncKeyValue, name: str, *, model: type[T], ttl: TTL | None = None, codec: Codec | None = None
    ) -> Collection[T]: ...
    @overload
    def collection(
        self: AsyncKeyValue, name: str, *, model: object, ttl: TTL | None = None, codec: Codec | None = None
    ) -> Collection[Any]: ...
    @overload
    def collection(
        self: AsyncKeyValue,
        name: str,
        *,
        encode: Callable[[T], object],
        decode: Callable[[Any], T],
        ttl: TTL | None = None,
        codec: Codec | None = None,
    ) -> Collection[T]: ...
    def collection(self: AsyncKeyValue, name: str, **options: Any) -> Collection[Any]:
        """Return a collection of this store with values of one type; arguments and errors are those of `Collection`.

        Args:
            name: The name of the collection.
            **options: `model`, the type of the values, such as a pydantic model, a dataclass or `list[int]`; `ttl`, the
                default time to live of values put there; `encode` and `decode`; `codec`.
        """
        return Collection(self, name, **options)
