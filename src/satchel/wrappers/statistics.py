"""`StatisticsWrapper`: what is asked of a store, how often it is there, and how long it takes (`?wrap=statistics`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec

from ..codec import LARGE, MAX_DEPTH, room_left
from ..entry import Entry
from ..errors import ConfigurationError
from ..protocol import AsyncKeyValue
from ..threads import in_worker
from .base import BaseWrapper
from .call import MISSING, Call

_BUCKETS = 28
_FEW = 64
_SCALARS = frozenset({str, int, float, bool, type(None)})
_NO_JSON = (TypeError, ValueError, OverflowError, RecursionError)
_encode = msgspec.json.Encoder().encode
_WRITES = frozenset({"put", "put_if_absent", "compare_and_put"})
_BATCHES = frozenset({"get_many", "get_entries", "put_many", "delete_many"})
_LOOKUPS = frozenset({"get_entry", "exists"})


@dataclass(frozen=True, kw_only=True)
class OperationStatistics:
    """Holds what was counted for one operation in one collection.

    Attributes:
        calls: All calls that have ended.
        hits: Entries that were read and there, each key of a batch counted. A stored None is there.
        misses: Entries that were read and absent.
        errors: Calls that raised.
        bytes: Of the values put or got: exact for `get_entry` and `get_entries`, else about what JSON takes.
        seconds: All calls together.
        latencies: How many calls took less than each number of seconds but not less than the one before.
        batch_sizes: How many calls had fewer than each number of keys but not fewer than the one before.
    """

    calls: int
    hits: int
    misses: int
    errors: int
    bytes: int
    seconds: float
    latencies: dict[float, int]
    batch_sizes: dict[int, int]


class StatisticsWrapper(BaseWrapper):
    """Counts calls, hits, misses, errors, bytes, latencies and batch sizes by collection and operation.

    A listing is counted when it begins, with a latency of nothing; other calls when they end.

    Args:
        inner: The store around which this is.
        max_collections: Count so many collections each on its own, the further ones together.

    Raises:
        ConfigurationError: The bound is not an int of at least 0.
    """

    def __init__(self, inner: AsyncKeyValue, *, max_collections: int = 100) -> None:
        if type(max_collections) is not int or max_collections < 0:
            raise ConfigurationError(f"max_collections must be an int of at least 0, got {max_collections!r}")
        self._max_collections = max_collections
        self.reset()
        super().__init__(inner)

    def snapshot(self) -> dict[str, dict[str, OperationStatistics]]:
        """Return what was counted: collection, then operation.

        Under the collection `""`, which no store has, are the operations that are about none, and those of further
        collections.
        """
        return {
            collection: {operation: counter.snapshot() for operation, counter in counters.items()}
            for collection, counters in self._counters.items()
        }

    def reset(self) -> None:
        """Count from zero again."""
        self._counters: dict[str, dict[str, _Counter]] = {}

    def keys(self, collection: str, *, prefix: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Iterate over the keys of a collection, in no particular order, in constant memory."""
        self._counter(collection, "keys").add(0.0)
        return self._inner.keys(collection, prefix=prefix, limit=limit)

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        self._counter("", "collections").add(0.0)
        return self._inner.collections()

    async def _around(self, operation: str, call: Call) -> Any:
        counter = self._counter(call.collection, operation)
        start = perf_counter()
        try:
            outcome = await call()
        except Exception:
            counter.errors += 1
            raise
        finally:
            counter.add(perf_counter() - start)
        if operation == "get":
            if outcome is MISSING:
                counter.misses += 1
            else:
                counter.hits += 1
                counter.bytes += _quick_size(outcome) or await _sizes([outcome])
        elif operation in _WRITES:
            counter.bytes += _quick_size(call.value) or await _sizes([call.value])
        elif operation in _BATCHES:
            keys = call.arguments[1]
            counter.batch_sizes[len(keys).bit_length()] += 1
            if operation == "put_many":
                counter.bytes += await _sizes(keys.values())
            elif operation != "delete_many":
                counter.hits += len(outcome)
                counter.misses += len(keys) - len(outcome)
                counter.bytes += await _sizes(outcome.values())
        elif operation in _LOOKUPS:
            counter.hits += bool(outcome)
            counter.misses += not outcome
            counter.bytes += outcome.size if type(outcome) is Entry else 0
        return outcome

    def _counter(self, collection: object, operation: str) -> _Counter:
        name = collection if type(collection) is str else ""
        counters = self._counters.get(name)
        if counters is None:
            if len(self._counters) - ("" in self._counters) >= self._max_collections:
                name = ""
            counters = self._counters.setdefault(name, {})
        counter = counters.get(operation)
        if counter is None:
            counter = counters[operation] = _Counter()
        return counter


class _Counter:
    """Counts what happens to one operation in one collection."""

    __slots__ = ("batch_sizes", "bytes", "errors", "hits", "latencies", "misses", "seconds")

    def __init__(self) -> None:
        self.hits = self.misses = self.errors = self.bytes = 0
        self.seconds = 0.0
        # Bucket n counts what is below 2**n: microseconds, or keys.
        self.latencies = [0] * _BUCKETS
        self.batch_sizes = [0] * _BUCKETS

    def add(self, elapsed: float) -> None:
        """Count a call."""
        self.seconds += elapsed
        try:
            self.latencies[int(elapsed * 1e6).bit_length()] += 1
        except IndexError:
            self.latencies[-1] += 1

    def snapshot(self) -> OperationStatistics:
        """Return what was counted until now."""
        return OperationStatistics(
            calls=sum(self.latencies),
            hits=self.hits,
            misses=self.misses,
            errors=self.errors,
            bytes=self.bytes,
            seconds=self.seconds,
            latencies={2**index / 1e6: count for index, count in enumerate(self.latencies) if count},
            batch_sizes={2**index: count for index, count in enumerate(self.batch_sizes) if count},
        )


def _quick_size(value: Any) -> int:
    """Return the size of a value that is quickly measured; 0 for another."""
    kind = type(value)
    if kind is bytes:
        return len(value)
    if kind is dict or kind is list:
        items = value.values() if kind is dict else value
        if len(items) > _FEW or not _SCALARS.issuperset(map(type, items)):
            return 0
    elif kind not in _SCALARS:
        return 0
    try:
        return len(_encode(value))
    except _NO_JSON:
        return 0


async def _sizes(values: Iterable[Any]) -> int:
    return sum([_quick_size(value) or await _size(value) for value in values])


async def _size(value: Any) -> int:
    if type(value) is bytes:
        return len(value)
    if type(value) is Entry:
        return value.size
    try:
        if room_left((value,), LARGE, MAX_DEPTH) < 0:
            return len(await in_worker(_encode, value))
        return len(_encode(value))
    except _NO_JSON:
        return 0  # a codec of the user's own keeps what JSON has no form for
