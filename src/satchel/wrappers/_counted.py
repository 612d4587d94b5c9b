"""What a `StatisticsWrapper` counts for one operation in one collection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ._observed import size_of

BUCKETS = 28


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


class Counter:
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
            seconds=self.nanoseconds / 1e9,
            latencies={2**index / 1e6: count for index, count in enumerate(latencies) if count},
            batch_sizes={2**index: count for index, count in enumerate(self.batch_sizes) if count},
        )
