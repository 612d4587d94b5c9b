"""`cached_many`: decorator that keeps each of the results that an async function returns together."""

# mypy: disable-error-code="overload-overlap"
# Only a class as model determines the type of the results, on purpose.

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar, overload

from .._copies import copy_of_error
from .._shielding import in_background
from ..clock import TTL
from ..entry import Entry
from ..errors import ConfigurationError
from ..tags import TAGS
from .binding import Binding, Place
from .call import CachedCall
from .decorator import check_async, check_key, look_like
from .keys import CallKeys
from .options import LateStore, Lifetime, ResultTTL, check_plain, tag_names

K = TypeVar("K")
R = TypeVar("R")


@overload
def cached_many(
    store: LateStore,
    collection: str,
    *,
    ttl: TTL | Callable[[R], TTL | None] | None = None,
    key: Callable[[Any], str] | None = None,
    when: Callable[[R], object] | None = None,
    tags: Callable[[Any], Iterable[str]] | None = None,
    tags_collection: str = TAGS,
    model: type[R],
) -> Callable[[Callable[[list[K]], Coroutine[Any, Any, Mapping[K, R]]]], CachedMany[K, R]]: ...
@overload
def cached_many(
    store: LateStore,
    collection: str,
    *,
    ttl: TTL | ResultTTL | None = None,
    key: Callable[[Any], str] | None = None,
    when: Callable[[Any], object] | None = None,
    tags: Callable[[Any], Iterable[str]] | None = None,
    tags_collection: str = TAGS,
    model: object = None,
) -> Callable[[Callable[[list[K]], Coroutine[Any, Any, Mapping[K, R]]]], CachedMany[K, R]]: ...
def cached_many(
    store: LateStore,
    collection: str,
    *,
    ttl: TTL | ResultTTL | None = None,
    key: Callable[[Any], str] | None = None,
    when: Callable[[Any], object] | None = None,
    tags: Callable[[Any], Iterable[str]] | None = None,
    tags_collection: str = TAGS,
    model: Any = None,
) -> Callable[[Callable[[list[K]], Coroutine[Any, Any, Mapping[K, Any]]]], CachedMany[K, Any]]:
    """Keep the results of an async function of many items, each on its own, and call it only for missing ones.

    The function takes a list of items and returns a dict of their results. An item that the dict does not have is
    absent: it is not kept, and not in the result. Concurrent calls make each missing result once.

    ```python
    from satchel import MemoryStore

    @cached_many(MemoryStore(), "films", ttl=3600)
    async def films(numbers: list[int]) -> dict[int, str]:
        return {number: f"Film {number}" for number in numbers}

    await films([7, 8])
    await films([7, 8, 9])          # calls the function with [9]
    ```

    Args:
        store: The store, or a plain function that returns it, which is called each time.
        collection: The collection.
        ttl: After how many seconds, or what `timedelta`, a result expires; None for never; or a plain function of the
            result that returns one of these.
        key: Function of an item that returns the key. If omitted, it consists of the function's module and qualified
            name and the item, which may be what an argument of a function decorated with `cached` may be.
        when: Plain function of a result that returns whether to keep it.
        tags: Function of an item that returns the tags of its result, for `Tags.invalidate`.
        tags_collection: The collection that holds the tags.
        model: Type of a result. If omitted, that of the values of the annotated dict is used if it is more than plain
            JSON.

    Raises:
        ConfigurationError: An option is wrong, `store` is not a store, or the annotated type cannot be kept.
        InvalidKeyError, InvalidTTLError: The collection or a time is not legal.
        UnsupportedOperationError: There are tags, and the store has no conditional writes.
    """
    lifetime = Lifetime(ttl, when)
    check_key(key)
    check_plain("tags", tags)
    given = None if tags is None else tags_collection
    Binding(store, collection, given, in_background=False).use_model(None, Any if model is None else model)

    def decorate(function: Callable[[list[K]], Coroutine[Any, Any, Mapping[K, R]]]) -> CachedMany[K, R]:
        check_async(function, "cached_many")
        kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
        if len(kinds) != 1 or kinds[0] not in _BY_POSITION:
            raise ConfigurationError("cached_many takes an async function of one argument, the list of items")
        binding = Binding(store, collection, given, in_background=False)
        binding.use_model_of_values(function, model)
        return CachedMany(
            function, binding, key or CallKeys(function, binding.max_key_bytes).key_of_item, lifetime, tags
        )

    return decorate


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class CachedMany(Generic[K, R]):
    """Async function of many items, each of whose results is kept, as made by `cached_many`."""

    def __init__(
        self,
        function: Callable[[list[K]], Coroutine[Any, Any, Mapping[K, R]]],
        binding: Binding,
        key: Callable[[K], str],
        lifetime: Lifetime,
        tags: Callable[[K], Iterable[str]] | None,
    ) -> None:
        look_like(self, function)
        self._function, self._binding, self._key = function, binding, key
        self._lifetime, self._tags = lifetime, tags
        self._signature = inspect.signature(function)

    def __repr__(self) -> str:
        return f"<cached_many {self._function!r}>"

    @overload
    async def __call__(self, items: Iterable[K], /) -> dict[K, R]: ...
    @overload
    async def __call__(self, /, **named: Iterable[K]) -> dict[K, R]: ...
    async def __call__(self, /, *items: Iterable[K], **named: Iterable[K]) -> dict[K, R]:
        """Return the results of items, in their order, calling the function for those that are missing.

        Args:
            *items: The items, in one argument.
            **named: The same, by the name that the function gives its argument.

        Raises:
            BatchError: Some results could not be read; `.failed` names their keys.
            TypeError: The function did not return a dict, or does not take these arguments.
            Exception: What the function raised.
        """
        bound = self._signature.bind(*items, **named)
        bound.apply_defaults()
        (asked,) = bound.args
        place, keys, results = self._binding.place(), self._keys(asked), _Calls(self._function)
        calls = {item: self._call_for(place, item, key, results) for item, key in keys.items()}
        since = place.flights.ended
        kept, bad = await self._kept(place, calls)
        missing = [call for item, call in calls.items() if item not in kept]
        await self._read_tags(place, missing)
        policy, name = self._lifetime.policy, place.collection.name
        making = [
            place.flights.make(name, call.key, call.make, policy, since, call.trust, bad.get(call.key))
            for call in missing
        ]
        made = {
            call.key: result
            for call, result in zip(missing, await asyncio.gather(*making, return_exceptions=True), strict=True)
            if not isinstance(result, _AbsentError)
        }
        for result in made.values():
            if isinstance(result, BaseException):
                raise result
        kept |= {item: made[call.key] for item, call in calls.items() if call.key in made}
        return {item: await call.result(kept[item]) for item, call in calls.items() if item in kept}

    def __reduce__(self) -> str:
        """Pickle by name, as functions are; a copy is itself."""
        return self._function.__qualname__

    async def peek(self, items: Iterable[K]) -> dict[K, R]:
        """Return the results that are kept, without calling the function."""
        place, results = self._binding.place(), _Calls(self._function)
        calls = {item: self._call_for(place, item, key, results) for item, key in self._keys(items).items()}
        kept, _ = await self._kept(place, calls)
        return {item: await calls[item].result(value) for item, value in kept.items()}

    def key_for(self, item: K) -> str:
        """Return the key of an item."""
        return self._key(item)

    async def invalidate(self, items: Iterable[K]) -> int:
        """Forget the results of items, even those being computed, and return how many there were."""
        place, keys = self._binding.place(), list(self._keys(items).values())
        await place.flights.forget(place.collection.name, frozenset(keys))
        return await place.store.delete_many(place.collection.name, keys)

    def _keys(self, items: Iterable[K]) -> dict[K, str]:
        return {item: self._key(item) for item in items}

    async def _kept(self, place: Place, calls: Mapping[K, CachedCall]) -> tuple[dict[K, Any], dict[str, Entry]]:
        """Return what is kept of items and good, and the entries of what is not good."""
        name, keys = place.collection.name, [call.key for call in calls.values()]
        if place.tags is None:
            found = await place.store.get_many(name, keys)
            return {item: found[call.key] for item, call in calls.items() if call.key in found}, {}
        entries = await place.store.get_entries(name, keys)
        asked = {item: call for item, call in calls.items() if call.key in entries}
        current = await place.tags.present_versions({tag for call in asked.values() for tag in call.tags})
        good = {
            item: entries[call.key].value
            for item, call in asked.items()
            if call.is_good_by(current, entries[call.key].value)
        }
        return good, {call.key: entries[call.key] for item, call in asked.items() if item not in good}

    async def _read_tags(self, place: Place, missing: list[CachedCall]) -> None:
        """Read the tags of all that is missing together, or they would come one by one, and the calls with them."""
        if place.tags is None:
            return
        versions = await place.tags.versions({tag for call in missing for tag in call.tags})
        for call in missing:
            call.versions = {tag: versions[tag] for tag in call.tags}

    def _call_for(self, place: Place, item: K, key: str, calls: _Calls) -> CachedCall:
        tags = () if self._tags is None else tag_names(self._tags, item)
        return CachedCall(place, key, tags, self._lifetime, partial(calls.result_of, item))


class _AbsentError(Exception):
    """The function returned no result for an item."""


class _Calls:
    """Calls of a function for many items: those that are asked for at the same time share one."""

    def __init__(self, function: Callable[[list[Any]], Coroutine[Any, Any, Mapping[Any, Any]]]) -> None:
        self._function = function
        self._items: list[Any] = []
        self._next: asyncio.Task[Mapping[Any, Any]] | None = None
        self._waiting: dict[asyncio.Task[Mapping[Any, Any]], int] = {}

    async def result_of(self, item: Any) -> Any:
        self._items.append(item)
        if self._next is None:
            self._next = in_background(self._call())
        task = self._next
        self._waiting[task] = self._waiting.get(task, 0) + 1
        try:
            results = await asyncio.shield(task)
        except Exception as error:
            raise copy_of_error(error) from None
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task] and not task.done():
                task.cancel()
        if item not in results:
            raise _AbsentError
        return results[item]

    async def _call(self) -> Mapping[Any, Any]:
        await asyncio.sleep(0)  # all that begin at the same time
        items, self._items, self._next = self._items, [], None
        results = await self._function(items)
        if not isinstance(results, Mapping):
            raise TypeError(f"a function decorated with cached_many must return a dict, got {type(results).__name__}")
        return results
