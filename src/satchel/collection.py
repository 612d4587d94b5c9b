"""`Collection`: one collection of a store, with values of one type."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, Protocol, Self, TypeVar, cast, overload

from msgspec import UNSET, UnsetType

from ._batches import checked_items, slices
from ._models import dump_checked, is_large, is_large_object, model_for, name_of
from ._threads import Yielder, offload, tally
from ._update import check_plain, optimistic_update, plain_result, remaining
from .capability import Capability
from .clock import TTL, seconds
from .entry import Entry
from .errors import InvalidTTLError, KeyMissingError, ModelMismatchError, SatchelError, batch_error
from .names import check_name
from .protocol import AsyncKeyValue, check_store, require

T = TypeVar("T")
D = TypeVar("D")


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

    Raises:
        InvalidKeyError, InvalidTTLError: The name or the ttl is not legal.
        ConfigurationError: The store is not one, or the model is not a type that can be validated.
        MissingExtraError: The model needs pydantic, which is not installed.
    """

    @overload
    def __init__(self: Collection[Any], store: AsyncKeyValue, name: str, *, ttl: TTL | None = None) -> None: ...
    @overload
    def __init__(self, store: AsyncKeyValue, name: str, *, model: type[T], ttl: TTL | None = None) -> None: ...
    @overload
    def __init__(
        self: Collection[Any], store: AsyncKeyValue, name: str, *, model: object, ttl: TTL | None = None
    ) -> None: ...
    def __init__(self, store: AsyncKeyValue, name: str, *, model: Any = None, ttl: TTL | None = None) -> None:
        self._name = check_name(name, "collection")
        check_store(store, "Collection")
        self._bind(store)
        self._kind = model
        self._model = model_for(model)
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
    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent.

        Raises:
            ModelMismatchError: The stored value does not fit the model.
        """
        before = tally.calls
        value = await self._store.get(self._name, key, UNSET)
        if value is UNSET:
            return default
        model = self._model
        if model is None:
            return value
        if (tally.calls != before or self._is_foreign) and is_large(value):
            return await offload(self._load, key, value)
        try:
            return model.load(value)  # `_load`, spelled out: this is the hottest line
        except Exception as error:
            problem = model.explain(error)
        raise self._misfit(key, problem)

    async def require(self, key: str) -> T:
        """Return the value under a key.

        Raises:
            KeyMissingError: The key is absent.
            ModelMismatchError: The stored value does not fit the model.
        """
        value = await self.get(key, UNSET)
        if value is UNSET:
            raise self._missing(key)
        return value

    async def get_entry(self, key: str) -> Entry[T] | None:
        """Return the entry under a key: the value with version, times and size."""
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
            ttl: When it expires; the collection's ttl when it is not given. None means never, even where the collection
                has one.

        Raises:
            ModelMismatchError: The value does not fit the model.
            SerializationError: It would not come back equal.
        """
        await self._store.put(self._name, key, await self._dumped(key, value), ttl=self._ttl_for(ttl))

    async def delete(self, key: str) -> bool:
        """Remove the entry under a key, and return whether it existed."""
        return await self._store.delete(self._name, key)

    async def get_many(self, keys: Iterable[str]) -> dict[str, T]:
        """Return the values of the keys that exist, in the order requested.

        Raises:
            BatchError: Some could not be read, or do not fit the model; `.failed` names them.
        """
        return await self._all_loaded("get_many", await self._store.get_many(self._name, keys))

    async def get_entries(self, keys: Iterable[str]) -> dict[str, Entry[T]]:
        """Return the entries of the keys that exist, in the order requested."""
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
        """Remove many entries, and return how many of them were there."""
        return await self._store.delete_many(self._name, keys)

    def keys(self, *, prefix: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Iterate over the keys, in no particular order, in constant memory."""
        return require(self._store, Capability.ENUMERATE_KEYS).keys(self._name, prefix=prefix, limit=limit)

    async def destroy(self) -> bool:
        """Remove every entry of the collection, and return whether there was one."""
        return await require(self._store, Capability.DESTROY_COLLECTION).destroy_collection(self._name)

    async def put_if_absent(self, key: str, value: T, *, ttl: TTL | UnsetType | None = UNSET) -> str | None:
        """Store a value if the key is absent, and return its version; None when something was there.

        The ttl is as for `put`: None means never, even where the collection has one.
        """
        store = require(self._store, Capability.CONDITIONAL)
        plain = await self._dumped(key, value)
        return await store.put_if_absent(self._name, key, plain, ttl=self._ttl_for(ttl))

    async def compare_and_put(
        self, key: str, value: T, *, version: str, ttl: TTL | UnsetType | None = UNSET
    ) -> str | None:
        """Replace the entry if it still has the version, and return the new version; None when it has not.

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
            ttl: When the entry expires, None for never; the collection's ttl when it is not given.

        Raises:
            InvalidTTLError: No ttl is given, and the collection has none.
        """
        store, lifetime = require(self._store, Capability.CONDITIONAL), self._ttl_for(ttl)
        if ttl is UNSET and lifetime is None:
            raise InvalidTTLError(
                f"touch of {self._place(key)} needs ttl=, for the collection has none; None removes the deadline"
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
        """It need not decode large values in a worker thread, so `tally` says nothing about it."""

    def _ttl_for(self, ttl: TTL | UnsetType | None) -> TTL | None:
        return self._ttl if ttl is UNSET else ttl

    def _load(self, key: str, value: Any) -> T:
        model = self._model
        if model is None:
            return cast("T", value)
        try:
            return cast("T", model.load(value))
        except Exception as error:
            problem = model.explain(error)
        raise self._misfit(key, problem)

    def _misfit(self, key: str, problem: str) -> ModelMismatchError:
        return ModelMismatchError(f"the value of {self._place(key)} does not fit {name_of(self._kind)} at {problem}")

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
            except ModelMismatchError as error:
                failed[key] = error
        if failed:
            raise batch_error(self._store, operation, self._name, failed, len(values))
        return loaded

    async def _dumped(self, key: str, value: T) -> Any:
        if self._model is None:
            return value
        try:
            if is_large_object(value):
                return await offload(dump_checked, self._kind, self._model, value)
            return dump_checked(self._kind, self._model, value)
        except SatchelError as error:
            error.args = (f"the value for {self._place(key)} {error}",)
            raise

    def _missing(self, key: str) -> KeyMissingError:
        return KeyMissingError(f"{self._place(key)} is absent")

    def _place(self, key: str) -> str:
        return f"key {key!r} of collection {self._name!r}"


class HasCollections(Protocol):
    """Mixin that adds the method `collection`."""

    @overload
    def collection(self: AsyncKeyValue, name: str, *, ttl: TTL | None = None) -> Collection[Any]: ...
    @overload
    def collection(self: AsyncKeyValue, name: str, *, model: type[T], ttl: TTL | None = None) -> Collection[T]: ...
    @overload
    def collection(self: AsyncKeyValue, name: str, *, model: object, ttl: TTL | None = None) -> Collection[Any]: ...
    def collection(self: AsyncKeyValue, name: str, *, model: Any = None, ttl: TTL | None = None) -> Collection[Any]:
        """Return one collection of this store, with values of one type.

        Args:
            name: The name of the collection.
            model: The type of the values, such as a pydantic model, a dataclass or `list[int]`; any value if omitted.
            ttl: Default time to live of values put there, in seconds or as a `timedelta`.

        Raises:
            InvalidKeyError, InvalidTTLError: The name or the ttl is not legal.
            ConfigurationError: The model is not a type that can be validated.
        """
        return Collection(self, name, model=model, ttl=ttl)
