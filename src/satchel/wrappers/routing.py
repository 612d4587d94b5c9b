"""`RoutingStore`: several stores as one, each collection or key in the one it belongs to."""

from __future__ import annotations

import functools
import heapq
import operator
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast, overload

from .._batches import checked_items, checked_names, chosen, slices
from .._threads import Yielder
from ..capability import Capability
from ..change import Change
from ..clock import TTL
from ..entry import Entry
from ..errors import ConfigurationError
from ..names import check_name, check_ref
from ..protocol import AsyncKeyValue, SupportsEverything
from ..verbs import BATCHES, OF_ENTRIES
from ._prefix import name_option
from .base import BaseWrapper
from .call import NOT_GIVEN
from .composite import CompositeStore, gather_batch

D = TypeVar("D")
Route = Callable[[str, str], AsyncKeyValue | None]


class RoutingStore(CompositeStore):
    """Store that keeps each entry in one of several stores, chosen by its collection or by a function.

    An entry is only in the store to which its names are routed: entries under the same names in another store are not
    found, listed or destroyed. So changing a route leaves earlier entries behind.

    Args:
        default: The store for everything that is not routed elsewhere.
        collections: The stores of single collections.
        prefixes: The stores of collections by prefix; the longest matching prefix decides.
        route: Instead of both, a function of collection and key that returns one of the stores, or None for the
            default. It must always return the same store for the same names.
        others: The other stores that the function returns.

    Raises:
        ConfigurationError: One is not a store, or the options contradict each other.
    """

    def __init__(
        self,
        default: AsyncKeyValue,
        *,
        collections: Mapping[str, AsyncKeyValue] | None = None,
        prefixes: Mapping[str, AsyncKeyValue] | None = None,
        route: Route | None = None,
        others: Sequence[AsyncKeyValue] = (),
    ) -> None:
        if (route is None) == (collections is None and prefixes is None):
            raise ConfigurationError("RoutingStore takes either collections and prefixes, or route")
        if route is None and others:
            raise ConfigurationError("RoutingStore takes further stores with route alone; name their collections")
        if not isinstance(others, Sequence):
            raise ConfigurationError(f"others must be a list of stores, got {type(others).__name__}")
        if route is not None and not callable(route):
            raise ConfigurationError(f"route must be a function of collection and key, got {type(route).__name__}")
        self._by_name = _places("collections", collections)
        self._by_prefix = sorted(_places("prefixes", prefixes).items(), key=lambda item: len(item[0]), reverse=True)
        self._default, self._route = default, route
        super().__init__(default, *others, *self._by_name.values(), *(to for _, to in self._by_prefix))
        view = _SomeCollections if route is None else _SomeKeys
        self._views = {id(inner): view(inner, self._leads_to) for inner in self.inners}

    @property
    def capabilities(self) -> Capability:
        """What this store can do beyond the core: what can be done with a part of each inner store.

        With `route` a collection may be in several stores, and cannot be watched.
        """
        of_all = functools.reduce(operator.and_, [view.capabilities for view in self._views.values()])
        return of_all if self._route is None else of_all & ~Capability.WATCH

    # `get` and `put` are written out, as the other verbs about one entry need not be: they are called most.

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = NOT_GIVEN) -> Any:
        """Return the value under a key, or the default when it is absent."""
        inner = self._of(collection, key)
        return await (inner.get(collection, key) if default is NOT_GIVEN else inner.get(collection, key, default))

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing any existing entry and its deadline."""
        await self._of(collection, key).put(collection, key, value, ttl=ttl)

    async def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of the keys that exist, in the order requested."""
        return await self._find("get_many", collection, await checked_names(keys, self._limit))

    async def get_entries(self, collection: str, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of the keys that exist, in the order requested."""
        return await self._find("get_entries", collection, await checked_names(keys, self._limit))

    async def put_many(self, collection: str, items: Mapping[str, object], *, ttl: TTL | None = None) -> None:
        """Store many values, each store's part at once: what one refuses, the others may have written."""
        values = await checked_items(items, self._limit)

        async def put(inner: SupportsEverything, keys: list[str]) -> None:
            part = values if len(keys) == len(values) else await chosen(values, keys)
            await inner.put_many(collection, part, ttl=ttl)

        await self._split("put_many", collection, list(values), put)

    async def delete_many(self, collection: str, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many of them were there."""
        names = await checked_names(keys, self._limit)
        parts = await self._split(
            "delete_many", collection, names, lambda inner, keys: inner.delete_many(collection, keys)
        )
        return sum(parts)

    def keys(
        self, collection: str, *, prefix: str = "", limit: int | None = None, after: str | None = None
    ) -> AsyncIterator[str]:
        """Iterate over the keys of a collection, in no particular order unless `after` is given, in constant memory."""
        listings = [
            view.keys(collection, prefix=prefix, limit=limit, after=after) for view in self._views_of(collection)
        ]
        if len(listings) == 1:
            return listings[0]
        return _chained(listings, limit) if after is None else _merged(listings, limit)

    async def count(self, collection: str, *, prefix: str = "") -> int:
        """Return how many entries a collection has, or how many of its keys start with a prefix."""
        return sum([await view.count(collection, prefix=prefix) for view in self._views_of(collection)])

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        return self._found_collections()

    async def destroy_collection(self, collection: str) -> bool:
        """Remove every entry of a collection, and return whether there was one."""
        return any([await view.destroy_collection(collection) for view in self._views_of(collection)])

    async def destroy(self) -> bool:
        """Remove everything that leads to its store, and nothing else there, and return whether there was any entry."""
        return any([await view.destroy() for view in self._views.values()])

    async def cull(self) -> int:
        """Reclaim the space of expired entries now, and return how many there were."""
        return sum([await view.cull() for view in self._views.values()])

    def watch(self, collection: str, *, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Watch the entries of a collection."""
        self._need("watch")
        return self._leads_to(check_name(collection, "collection"), "").watch(collection, prefix=prefix)

    def _of(self, collection: str, key: str) -> SupportsEverything:
        return self._leads_to(*check_ref(collection, key, self._limit))

    def _leads_to(self, collection: str, key: str) -> SupportsEverything:
        """Return the store of an entry; without a function any key will do."""
        if self._route is not None:
            chosen = self._route(collection, key)
            if chosen is not None and id(chosen) not in self._views:
                raise ConfigurationError(f"route gave {chosen!r}, which is none of the stores of this RoutingStore")
        else:
            chosen = self._by_name.get(collection)
            if chosen is None and self._by_prefix:
                chosen = next((to for start, to in self._by_prefix if collection.startswith(start)), None)
        return cast("SupportsEverything", self._default if chosen is None else chosen)

    def _views_of(self, collection: str) -> list[BaseWrapper]:
        if self._route is not None:
            return list(self._views.values())
        return [self._views[id(self._leads_to(check_name(collection, "collection"), ""))]]

    async def _find(self, operation: str, collection: str, keys: list[str]) -> dict[str, Any]:
        parts = await self._split(
            operation, collection, keys, lambda inner, some: getattr(inner, operation)(collection, some)
        )
        found = functools.reduce(operator.or_, parts)
        return found if len(parts) == 1 else await chosen(found, keys)

    async def _split(
        self,
        operation: str,
        collection: str,
        keys: list[str],
        call: Callable[[SupportsEverything, list[str]], Awaitable[Any]],
    ) -> list[Any]:
        name = check_name(collection, "collection")
        stores: dict[int, tuple[SupportsEverything, list[str]]] = {}
        turns = Yielder()
        for part in slices(len(keys)):
            for key in keys[part]:
                inner = self._leads_to(name, key)
                stores.setdefault(id(inner), (inner, []))[1].append(key)
            await turns.after_item()
        if not stores:  # an empty batch is refused, too, where it is not legal or the store is closed
            stores[0] = (cast("SupportsEverything", self._default), [])
        return await gather_batch(self, operation, name, [(some, call(inner, some)) for inner, some in stores.values()])

    async def _found_collections(self) -> AsyncIterator[str]:
        views = list(self._views.values())
        for number, view in enumerate(views):
            async for name in view.collections():
                # By a function a collection can be in several stores: the first that has some of it gives its name.
                earlier = views[:number] if self._route is not None else []
                if not any([await _holds(one, name) for one in earlier]):
                    yield name


class _SomeCollections(BaseWrapper):
    """The collections of one store that are routed to it."""

    _shares_store = True

    def __init__(self, inner: AsyncKeyValue, leads_to: Callable[[str, str], AsyncKeyValue]) -> None:
        self._leads_to = leads_to
        super().__init__(inner)

    def _collection_from_inner(self, collection: str) -> str | None:
        return collection if self._leads_to(collection, "") is self.inner else None


class _SomeKeys(BaseWrapper):
    """The keys of one store that are routed to it."""

    _inner_collection_is_shared = True

    def __init__(self, inner: AsyncKeyValue, leads_to: Callable[[str, str], AsyncKeyValue]) -> None:
        self._leads_to = leads_to
        super().__init__(inner)

    def _key_from_inner(self, collection: str, key: str) -> str | None:
        return key if self._leads_to(collection, key) is self.inner else None


def _forwarded(operation: str) -> Callable[..., Any]:
    """Return the verb about one entry that asks the store where this belongs."""

    @functools.wraps(getattr(BaseWrapper, operation))
    async def verb(self: RoutingStore, collection: str, key: str, *arguments: Any, **named: Any) -> Any:
        return await getattr(self._of(collection, key), operation)(collection, key, *arguments, **named)

    return verb


for _operation in OF_ENTRIES - BATCHES - {"get", "put"}:
    setattr(RoutingStore, _operation, _forwarded(_operation))


def _places(option: str, places: Mapping[str, AsyncKeyValue] | None) -> dict[str, AsyncKeyValue]:
    if not isinstance(places, Mapping | None):
        raise ConfigurationError(f"{option} must be a mapping of names to stores, got {type(places).__name__}")
    return {name_option(option, name): to for name, to in (places or {}).items()}


async def _holds(view: BaseWrapper, collection: str) -> bool:
    async for _ in view.keys(collection, limit=1):
        return True
    return False


async def _merged(listings: list[AsyncIterator[str]], limit: int | None) -> AsyncIterator[str]:
    """Iterate over names that are in order in each of several listings, in the order of all."""
    heads = [(name, number) for number, names in enumerate(listings) if (name := await anext(names, None)) is not None]
    heapq.heapify(heads)
    left = limit
    while heads and left != 0:
        name, number = heads[0]
        yield name
        left = None if left is None else left - 1
        following = await anext(listings[number], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following, number))


async def _chained(listings: list[AsyncIterator[str]], limit: int | None) -> AsyncIterator[str]:
    left = limit
    for listing in listings:
        async for key in listing:
            yield key
            left = None if left is None else left - 1
            if left == 0:
                return
