"""`Listings`: reading the names of a dict in pages while it changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

_PAGE = 1000


class Listings:
    """Keeps the listings under way, so that a change of a dict can let them go on undisturbed.

    A listing takes constant memory as long as no name comes or goes; the first that does makes it take along the rest.
    """

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._under_way: list[_Listing] = []

    def __repr__(self) -> str:
        return f"Listings({len(self._under_way)} under way)"

    def pages(self, names: dict[str, Any]) -> Iterator[list[str]]:
        """Give the names in pages."""
        with self._lock:
            listing = _Listing(names)
            self._under_way.append(listing)
        try:
            while page := self._page(listing):
                yield page
        finally:
            self._under_way.remove(listing)

    def _page(self, listing: _Listing) -> list[str]:
        with self._lock:
            return list(itertools.islice(listing.rest, _PAGE))

    def detach(self, names: dict[str, Any]) -> None:
        """Prepare for names that come, go or change their order."""
        for listing in list(self._under_way):
            if listing.names is names:
                listing.rest = iter(list(listing.rest))
                listing.names = None


class _Listing:
    """Holds where one listing is."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names: dict[str, Any] | None = names
        self.rest = iter(names)
