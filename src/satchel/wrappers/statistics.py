"""`StatisticsWrapper`: what is asked of a store, how often it is there, and how long it takes (`?wrap=statistics`)."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from .._checks import check_int
from ..entry import Entry
from ..protocol import AsyncKeyValue
from ..verbs import BATCHES, PUTS_OF_ONE, READS
from ._observed import size_of
from .base import BaseWrapper
from .call import MISSING

BUCKETS = 28


@dataclass(frozen=True, kw_only=True)
class OperationStatistics:
    """Statistics of one operation in one collection.

    Attributes:
        calls: All calls that have ended.
        hits: Reads that found an entry, counting each key of a batch. A stored None counts as found.
        misses: Entries that were read and absent.
        errors: Calls that raised, or were cancelled.
        bytes: Of the values put or got: what `get_entry` and `get_entries` say; for other operations an estimate, from
            what the first and each 64th value after it take as JSON. A later snapshot never says less.
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


class OperationCounter:
    """Counts what happens to one operation in one collection."""

    __slots__ = (
        "batch_sizes",
        "errors",
        "estimate",
        "hits",
        "latencies",
        "measured",
        "misses",
        "nanoseconds",
        "samples",
        "written",
    )

    def __init__(self) -> None:
        self.hits = self.misses = self.written = self.errors = self.nanoseconds = 0
        self.samples = self.measured = self.estimate = 0
        # Bucket n counts what is below 2**n: microseconds, or keys.
        self.latencies = [0] * BUCKETS
        self.batch_sizes = [0] * BUCKETS

    @property
    def values(self) -> int:
        """Return how many were put or read: of one operation, either is none."""
        return self.hits + self.written

    async def measure(self, values: Iterable[Any]) -> None:
        """Take the sizes of values."""
        for value in values:
            self.measured += await size_of(value)
            self.samples += 1

    def snapshot(self) -> OperationStatistics:
        """Return the counts so far."""
        latencies = self.latencies.copy()  # other tasks go on meanwhile where this is another thread
        if self.samples:
            self.estimate = max(self.estimate, round(self.measured * self.values / self.samples))
        return OperationStatistics(
            calls=sum(latencies),
            hits=self.hits,
            misses=self.misses,
            errors=self.errors,
            bytes=self.estimate,
            seconds=self.nanoseconds / 1e9,
            latencies={2**index / 1e6: count for index, count in enumerate(latencies) if count},
            batch_sizes={2**index: count for index, count in enumerate(self.batch_sizes) if count},
        )


__all__ = ["OperationStatistics", "StatisticsWrapper"]

_SAMPLE = 64
_LOOKUPS = READS - BATCHES - {"get"}


class StatisticsWrapper(BaseWrapper):
    """Counts calls, hits, misses, errors, bytes, latencies and batch sizes by collection and operation.

    A listing is counted when it begins, with a latency of nothing; other calls when they end.

    Args:
        inner: The wrapped store.
        max_collections: Number of collections counted separately; further ones are counted together.

    Raises:
        ConfigurationError: The bound is not an int of at least 0.
    """

    def __init__(self, inner: AsyncKeyValue, *, max_collections: int = 100) -> None:
        check_int("max_collections", max_collections, 0)
        self._max_collections = max_collections
        self.reset()
        super().__init__(inner)

    def snapshot(self) -> dict[str, dict[str, OperationStatistics]]:
        """Return what was counted: collection, then operation. Other threads may call it.

        Under the collection `""`, which no store has, are the operations that are about none, and those of further
        collections.
        """
        return {
            collection: {operation: counter.snapshot() for operation, counter in counters.copy().items()}
            for collection, counters in self._counters.copy().items()
        }

    def reset(self) -> None:
        """Count from zero again."""
        self._counters: dict[str, dict[str, OperationCounter]] = {}

    def keys(
        self, collection: str, *, prefix: str = "", limit: int | None = None, after: str | None = None
    ) -> AsyncIterator[str]:
        """Iterate over the keys of a collection, in no particular order unless `after` is given, in constant memory."""
        self._counter(collection, "keys").latencies[0] += 1
        order: dict[str, Any] = {} if after is None else {"after": after}  # a third-party store may not know it
        return self._inner.keys(collection, prefix=prefix, limit=limit, **order)

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        self._counter("", "collections").latencies[0] += 1
        return self._inner.collections()

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        is_get = operation == "get"
        if is_get:
            collection, key, default = _asked(*args, **named)
        else:
            collection = args[0] if args else named.get("collection")
        try:
            counter = self._counters[collection][operation]
        except (KeyError, TypeError):
            counter = self._counter(collection, operation)
        start = perf_counter_ns()
        try:
            outcome = await (function(collection, key, MISSING) if is_get else function(*args, **named))
        except BaseException:  # a cancelled call has ended too
            counter.errors += 1
            raise
        finally:
            elapsed = perf_counter_ns() - start
            counter.nanoseconds += elapsed
            bucket = (elapsed // 1000).bit_length()
            counter.latencies[bucket if bucket < BUCKETS else -1] += 1
        if is_get:
            if outcome is MISSING:
                counter.misses += 1
                return default
            counter.hits += 1
            if counter.hits % _SAMPLE == 1:
                await counter.measure((outcome,))
        elif operation in PUTS_OF_ONE:
            counter.written += 1
            if counter.written % _SAMPLE == 1:
                await counter.measure((args[2] if len(args) > 2 else named["value"],))
        elif operation in BATCHES:
            await self._count_batch(counter, operation, args[1], outcome)
        elif operation in _LOOKUPS:
            counter.hits += bool(outcome)
            counter.misses += not outcome
            if type(outcome) is Entry:
                await counter.measure((outcome,))
        return outcome

    async def _count_batch(self, counter: OperationCounter, operation: str, keys: Any, outcome: Any) -> None:
        counter.batch_sizes[len(keys).bit_length()] += 1
        if operation == "delete_many":
            return
        before = counter.values
        if operation == "put_many":
            found = keys
            counter.written += len(found)
        else:
            found = outcome
            counter.hits += len(found)
            counter.misses += len(keys) - len(found)
        step = 1 if operation == "get_entries" else _SAMPLE
        await counter.measure(itertools.islice(found.values(), -before % step, None, step))

    def _counter(self, collection: object, operation: str) -> OperationCounter:
        name = collection if type(collection) is str else ""
        counters = self._counters.get(name)
        if counters is None:
            if len(self._counters) - ("" in self._counters) >= self._max_collections:
                name = ""
            counters = self._counters.setdefault(name, {})
        counter = counters.get(operation)
        if counter is None:
            counter = counters[operation] = OperationCounter()
        return counter


def _asked(collection: Any, key: Any, default: Any = None) -> tuple[Any, Any, Any]:
    return collection, key, default
