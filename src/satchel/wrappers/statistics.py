"""`StatisticsWrapper`: what is asked of a store, how often it is there, and how long it takes (`?wrap=statistics`)."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from ..entry import Entry
from ..errors import ConfigurationError
from ..protocol import AsyncKeyValue
from ._observed import WRITES, size_of
from .base import BaseWrapper
from .call import BATCHES, MISSING, Call

_BUCKETS = 28
_SAMPLE = 64
_LOOKUPS = frozenset({"get_entry", "exists"})


@dataclass(frozen=True, kw_only=True)
class OperationStatistics:
    """Holds what was counted for one operation in one collection.

    Attributes:
        calls: All calls that have ended.
        hits: Entries that were read and there, each key of a batch counted. A stored None is there.
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
        self._counters: dict[str, dict[str, _Counter]] = {}

    def keys(self, collection: str, *, prefix: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Iterate over the keys of a collection, in no particular order, in constant memory."""
        self._counter(collection, "keys").latencies[0] += 1
        return self._inner.keys(collection, prefix=prefix, limit=limit)

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        self._counter("", "collections").latencies[0] += 1
        return self._inner.collections()

    async def _around(self, operation: str, call: Call) -> Any:
        collection = call.arguments[0] if call.arguments else call.collection
        try:
            counter = self._counters[collection][operation]
        except (KeyError, TypeError):
            counter = self._counter(collection, operation)
        start = perf_counter()
        try:
            outcome = await call()
        except BaseException:  # a cancelled call has ended too
            counter.errors += 1
            raise
        finally:
            elapsed = perf_counter() - start
            counter.seconds += elapsed
            bucket = int(elapsed * 1e6).bit_length()
            counter.latencies[bucket if bucket < _BUCKETS else -1] += 1
        if operation == "get":
            if outcome is MISSING:
                counter.misses += 1
            else:
                counter.hits += 1
                counter.values += 1
                if counter.values % _SAMPLE == 1:
                    await counter.measure((outcome,))
        elif operation in WRITES:
            counter.values += 1
            if counter.values % _SAMPLE == 1:
                await counter.measure((call.value,))
        elif operation in BATCHES:
            await self._count_batch(counter, operation, call.arguments[1], outcome)
        elif operation in _LOOKUPS:
            counter.hits += bool(outcome)
            counter.misses += not outcome
            if type(outcome) is Entry:
                counter.values += 1
                await counter.measure((outcome,))
        return outcome

    async def _count_batch(self, counter: _Counter, operation: str, keys: Any, outcome: Any) -> None:
        counter.batch_sizes[len(keys).bit_length()] += 1
        if operation == "delete_many":
            return
        found = keys if operation == "put_many" else outcome
        if operation != "put_many":
            counter.hits += len(found)
            counter.misses += len(keys) - len(found)
        before = counter.values
        counter.values += len(found)
        step = 1 if operation == "get_entries" else _SAMPLE
        await counter.measure(itertools.islice(found.values(), -before % step, None, step))

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

    __slots__ = (
        "batch_sizes", "errors", "estimate", "hits", "latencies", "measured", "misses", "samples", "seconds", "values",
    )  # fmt: skip

    def __init__(self) -> None:
        self.hits = self.misses = self.errors = self.values = self.samples = self.measured = self.estimate = 0
        self.seconds = 0.0
        # Bucket n counts what is below 2**n: microseconds, or keys.
        self.latencies = [0] * _BUCKETS
        self.batch_sizes = [0] * _BUCKETS

    async def measure(self, values: Iterable[Any]) -> None:
        """Take the sizes of values."""
        for value in values:
            self.measured += await size_of(value)
            self.samples += 1

    def snapshot(self) -> OperationStatistics:
        """Return what was counted until now."""
        latencies = self.latencies.copy()  # other tasks go on meanwhile where this is another thread
        if self.samples:
            self.estimate = max(self.estimate, round(self.measured * self.values / self.samples))
        return OperationStatistics(
            calls=sum(latencies),
            hits=self.hits,
            misses=self.misses,
            errors=self.errors,
            bytes=self.estimate,
            seconds=self.seconds,
            latencies={2**index / 1e6: count for index, count in enumerate(latencies) if count},
            batch_sizes={2**index: count for index, count in enumerate(self.batch_sizes) if count},
        )
