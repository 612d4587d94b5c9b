"""`Observations`: how long entries have been unchanged, by this process's own monotonic clock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

_CAPACITY = 100_000


class Observations:
    """Record of the moments at which versions of entries were first seen.

    They show whether a lease has lapsed: a lease that has been unchanged for its whole length, since this process first
    saw it, was not renewed. The clocks of hosts are never compared. A restarted process starts observing again. At most
    100,000 entries are remembered; observation of a dropped entry starts again.
    """

    def __init__(self) -> None:
        self._first_seen: dict[str, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._first_seen)

    def __iter__(self) -> Iterator[str]:
        return iter([*self._first_seen])

    def elapsed(self, key: str, version: str) -> float:
        """Return the seconds since a version was first seen. Call it after the read, never before.

        Args:
            key: Name of the observed item, such as the key of an entry.
            version: Version, which changes with each renewal.
        """
        now = asyncio.get_running_loop().time()
        known = self._first_seen.get(key)
        if known is not None and known[0] == version:
            return now - known[1]
        self._first_seen[key] = (version, now)
        if len(self._first_seen) > _CAPACITY:
            del self._first_seen[next(iter(self._first_seen))]
        return 0.0

    def forget(self, key: str) -> None:
        """Stop observing an entry."""
        self._first_seen.pop(key, None)
