"""`DictModel`: expected contents of a store, kept in a plain dict."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..clock import Clock


@dataclass
class Held:
    """Entry as the model knows it; the version is None until the store has returned it."""

    value: Any
    deadline: float
    updated_at: float
    version: str | None = None


class DictModel:
    """Model of a store over a dict, with the semantics of every method.

    Versions are opaque to it: it learns each from the store, and then holds the store to it.

    Args:
        clock: The clock of the store.
        stores_values: False for the model of a store that holds nothing.
    """

    def __init__(self, clock: Clock, *, stores_values: bool = True) -> None:
        self._clock = clock
        self._stores_values = stores_values
        self._entries: dict[tuple[str, str], Held] = {}

    def find(self, collection: str, key: str) -> Held | None:
        """Return the living entry under a key."""
        held = self._entries.get((collection, key))
        return held if held is not None and held.deadline > self._clock() else None

    def values(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that `get_many` must return."""
        return {key: held.value for key in keys if (held := self.find(collection, key)) is not None}

    def put(self, collection: str, key: str, value: object, ttl: float | None, version: str | None = None) -> None:
        """Store a value."""
        if self._stores_values:
            now = self._clock()
            deadline = math.inf if ttl is None else now + ttl
            self._entries[collection, key] = Held(copy.deepcopy(value), deadline, now, version)

    def touch(self, collection: str, key: str, ttl: float | None) -> bool:
        """Set a new deadline, and return whether there was an entry."""
        held = self.find(collection, key)
        if held is not None:
            held.deadline = math.inf if ttl is None else self._clock() + ttl
        return held is not None

    def delete(self, collection: str, key: str) -> bool:
        """Remove an entry, and return whether it existed."""
        found = self.find(collection, key) is not None
        self._entries.pop((collection, key), None)
        return found

    def keys(self, collection: str, prefix: str = "") -> list[str]:
        """Return the keys that a listing must yield, sorted."""
        return sorted(
            key
            for place, key in self._entries
            if place == collection and key.startswith(prefix) and self.find(place, key)
        )

    def collections(self) -> list[str]:
        """Return the collections that a listing must yield, sorted."""
        return sorted({collection for collection, key in self._entries if self.find(collection, key)})

    def destroy(self, collection: str | None = None) -> bool:
        """Remove a collection, or everything, and return whether there was an entry."""
        doomed = [ref for ref in self._entries if collection is None or ref[0] == collection]
        found = [self.delete(*ref) for ref in doomed]
        return any(found)
