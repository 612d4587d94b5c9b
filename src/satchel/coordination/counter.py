"""`update` and `Counter`: changes of a value that lose no other writer's change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from msgspec import UNSET, UnsetType

from .._update import LastWrite, check_plain, optimistic_update, plain_result, remaining
from ..capability import Capability
from ..clock import TTL, seconds
from ..entry import Entry
from ..errors import IntegrityError, KeyMissingError, SerializationError, with_article
from ..names import check_name
from ..protocol import AsyncKeyValue, require
from .tally import add

_BEYOND = 2**63


async def update(
    store: AsyncKeyValue,
    collection: str,
    key: str,
    function: Callable[[Any], Any],
    *,
    initial: object = UNSET,
    ttl: TTL | UnsetType | None = UNSET,
) -> Any:
    """Replace a value by the result of a function, losing no other writer's change, and return the new value.

    Updates of one key through one store object wait for each other. If another writer, such as another process, was
    faster, the function is called again with the value it wrote, after a short, random pause. An update costs two round
    trips, and two more for each time that another writer was faster.

    An update that ends in a `StoreTimeoutError` or a `StoreUnavailableError` may or may not have happened.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        collection: The collection.
        key: The key.
        function: Takes the present value and returns the new one. It must be a plain, quick function without side
            effects, because it may be called many times.
        initial: Value to pass to the function when the key is absent.
        ttl: Time to live of the new value, in seconds or as a `timedelta`, None for no expiry. If omitted, an entry
            keeps its deadline, and a new one never expires.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        InvalidKeyError, InvalidTTLError: A name or the ttl is not legal.
        TypeError: `function` is not callable, is a coroutine function, or returns an awaitable.
        KeyMissingError: The key is absent, and there is no initial value.
        ConflictError: Other writers were faster every time, about 50 times in some seconds.
        StoreError: The backend failed.
    """
    writable = require(store, Capability.CONDITIONAL)
    collection, key = check_name(collection, "collection"), check_name(key, "key", store.max_key_bytes)
    check_plain(function)
    given = ttl if ttl is UNSET or ttl is None else seconds(ttl)

    async def change(entry: Entry | None) -> tuple[object, TTL | None, Any]:
        if entry is None and initial is UNSET:
            raise KeyMissingError(f"key {key!r} of collection {collection!r} is absent; give initial= to start with")
        # A function may change its argument in place.
        value = plain_result(function(copy.deepcopy(initial) if entry is None else entry.value))
        return value, remaining(entry) if given is UNSET else given, value

    return await optimistic_update(writable, collection, key, change)


class Counter:
    """Exact count, whatever the number of concurrent increments.

    The count is the value of an entry. Concurrent increments by tasks of one process, through one store object, share a
    write, and each gets a count of its own. Processes try again when another one was faster.

    ```python
    from satchel import MemoryStore
    from satchel.coordination import Counter

    visits = Counter(MemoryStore(), "visits")
    assert await visits.increment() == 1
    assert await visits.increment(by=10) == 11
    assert await visits.value() == 11
    ```

    Args:
        store: A store with `Capability.CONDITIONAL`.
        name: The name of the counter, a key.
        collection: The collection that holds it.
        ttl: Time after which it starts again at 0, in seconds or as a `timedelta`; None for never. The time runs from
            the first increment; later ones do not extend it.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        InvalidKeyError, InvalidTTLError: A name or the ttl is not legal.
    """

    def __init__(
        self, store: AsyncKeyValue, name: str, *, collection: str = "counters", ttl: TTL | None = None
    ) -> None:
        self._store = require(store, Capability.CONDITIONAL)
        self._name = check_name(name, "name", store.max_key_bytes)
        self._collection = check_name(collection, "collection")
        self._ttl = None if ttl is None else seconds(ttl)
        self._last = LastWrite()

    def __repr__(self) -> str:
        ttl = "" if self._ttl is None else f", ttl={self._ttl:g}"
        return f"Counter({self._store!r}, {self._name!r}, collection={self._collection!r}{ttl})"

    async def increment(self, by: int = 1) -> int:
        """Add to the count, and return the new one.

        It takes two round trips when no other process is faster, and one while nobody else counts. The increments that
        other tasks make in the meantime share one write, whatever their number.

        Args:
            by: The amount to add; a negative number counts down.

        Raises:
            TypeError: `by` is not an int.
            SerializationError: The count would leave the 64-bit integers.
            IntegrityError: The entry does not hold a count.
            ConflictError: Other writers were faster every time, about 50 times in some seconds.
            StoreError: The backend failed. After a `StoreTimeoutError` or a `StoreUnavailableError` it may have
                counted: repeating the increment may count twice.
        """
        if type(by) is not int:
            raise TypeError(f"by must be an int, got {type(by).__name__}")
        return await add(self._store, self._collection, self._name, by, self._write)

    async def value(self) -> int:
        """Return the count, 0 before the first increment. It takes one round trip."""
        return self._count(await self._store.get(self._collection, self._name, 0))

    async def reset(self) -> None:
        """Start again at 0. It takes one round trip."""
        await self._store.delete(self._collection, self._name)

    async def _write(self, amounts: list[int]) -> list[int | Exception]:
        async def change(entry: Entry | None) -> tuple[int, TTL | None, list[int | Exception]]:
            count, outcomes = 0 if entry is None else self._count(entry.value), list[int | Exception]()
            for amount in amounts:
                fits = -_BEYOND <= count + amount < _BEYOND
                count += amount if fits else 0
                outcomes.append(count if fits else self._overflow())
            if all(isinstance(outcome, Exception) for outcome in outcomes):
                raise self._overflow()
            return count, self._ttl if entry is None else remaining(entry), outcomes

        return await optimistic_update(self._store, self._collection, self._name, change, self._last)

    def _overflow(self) -> SerializationError:
        return SerializationError(f"the count of {self._place} would leave the 64-bit integers; reset it")

    @property
    def _place(self) -> str:
        return f"key {self._name!r} of collection {self._collection!r}"

    def _count(self, value: object) -> int:
        if type(value) is not int:
            raise IntegrityError(f"{self._place} holds {with_article(type(value))}, which is not a count")
        return value
