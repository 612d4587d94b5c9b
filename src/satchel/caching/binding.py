"""Where a cached function keeps its results: in a store that is known at once, or found at each call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from .._annotations import result_model
from .._single_flight import SingleFlight
from ..capability import Capability
from ..collection import Collection, flights_for
from ..errors import ConfigurationError
from ..names import check_name
from ..protocol import AsyncKeyValue, check_store, is_store, require
from ..tags import Tags
from .options import LateStore


class Place(NamedTuple):
    """Store of a cached function, and what belongs to it.

    Attributes:
        store: The store.
        flights: The calls under way.
        collection: The collection, with the model of the results.
        tags: The tags of the results, None for a function without.
    """

    store: AsyncKeyValue
    flights: SingleFlight
    collection: Collection[Any]
    tags: Tags | None


class Binding:
    """Store of a function, which may be found at each call.

    Args:
        given: The store, or a function that returns it.
        collection: The name of the collection.
        tags_collection: The collection of the tags, None for a function without.
        in_background: Whether work goes on in the background, which the store has to end.

    Raises:
        ConfigurationError: It is neither a store nor a plain function, or cannot end work in the background.
    """

    def __init__(self, given: LateStore, collection: str, tags_collection: str | None, *, in_background: bool) -> None:
        self._name, self._tags_collection = check_name(collection, "collection"), tags_collection
        self._place: Place | None = None
        self._find: Callable[[], AsyncKeyValue] | None = None
        self._store: AsyncKeyValue = cast("AsyncKeyValue", _NoStore())
        if is_store(given) or isinstance(given, type) or not callable(given):
            check_store(given, "cached")
            self._store = cast("AsyncKeyValue", given)
            if in_background and not hasattr(given, "get_or_put"):
                raise ConfigurationError(
                    f"stale, early and timeout let work go on in the background, which {given!r} would not stop when "
                    "it closes; give cached a SingleFlightWrapper around it"
                )
            if tags_collection is not None:
                require(self._store, Capability.CONDITIONAL)
        elif inspect.iscoroutinefunction(given):
            raise ConfigurationError("cached takes a store or a plain function that returns it, got an async function")
        else:
            self._find = given
        if tags_collection is not None:
            check_name(tags_collection, "tags_collection")
        self._collection: Collection[Any] = Collection(self._store, self._name)

    def use_model(self, function: Any, model: Any) -> None:
        """Keep results of a model, or of what the function says that it returns.

        Raises:
            ConfigurationError: The type cannot be kept.
        """
        kind = result_model(function) if model is None else model
        self._collection = Collection(self._store, self._name, model=kind)

    def use_model_of_values(self, function: Any, model: Any) -> None:
        """Keep values of a model, or of those of the dict that the function says that it returns."""
        kind = result_model(function, of_values=True) if model is None else model
        self._collection = Collection(self._store, self._name, model=kind)

    def place(self) -> Place:
        """Return the store in effect now, and what belongs to it.

        Raises:
            ConfigurationError: The function that finds the store returned none.
        """
        store, find = self._store, self._find
        if find is None:
            if self._place is not None:
                return self._place
        else:
            store = find()
            if inspect.iscoroutine(store):
                store.close()
            check_store(store, "cached, from the function given to it,")
        if self._place is None or self._place.store is not store:
            tags = None if self._tags_collection is None else Tags(store, collection=self._tags_collection)
            self._place = Place(store, single_flight_of(store), self._collection._over(store), tags)
        return self._place

    def max_key_bytes(self) -> int:
        """Return the longest key in the store in effect."""
        return self.place().store.max_key_bytes


def single_flight_of(store: AsyncKeyValue) -> SingleFlight:
    """Return the calls under way that all users of a store object share."""
    for flights in (getattr(store, "flights", None), flights_for(store, None, None)):
        if isinstance(flights, SingleFlight):
            return flights
    return SingleFlight(store)


class _NoStore:
    """Stand-in for a store that is found later."""

    capabilities = Capability.NONE

    async def aclose(self) -> None:
        """Do nothing."""
