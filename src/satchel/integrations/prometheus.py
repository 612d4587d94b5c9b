"""The counts of a `StatisticsWrapper` as metrics for Prometheus.

```python
from prometheus_client import CollectorRegistry, generate_latest
from satchel import MemoryStore
from satchel.integrations.prometheus import StatisticsCollector
from satchel.wrappers import StatisticsWrapper

store = StatisticsWrapper(MemoryStore())
registry = CollectorRegistry()
registry.register(StatisticsCollector({"main": store}))
generate_latest(registry)
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import ConfigurationError, missing_extra
from ..wrappers.statistics import OperationStatistics, StatisticsWrapper

try:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    raise missing_extra("StatisticsCollector", "prometheus", error) from error

__all__ = ["StatisticsCollector"]

_LABELS = ("store", "collection", "operation")
_BOUNDS = [2**exponent / 1e6 for exponent in range(6, 26, 2)]
"""From 64 microseconds to 17 seconds: each fourth of those that are counted, as each is a series of its own."""


class StatisticsCollector(Collector):
    """Prometheus collector of the counts of `StatisticsWrapper`.

    * `satchel_operations_total`: calls that have ended, by `outcome`: `ok` or `error`.
    * `satchel_operation_duration_seconds`: a histogram of their durations.
    * `satchel_hits_total`, `satchel_misses_total`: reads that found an entry, or did not.
    * `satchel_value_bytes_total`: bytes of the values put or read, an estimate.

    Each has the labels `store`, `collection` and `operation`, and none has a key. Collections that `StatisticsWrapper`
    counts together have an empty `collection`.

    Args:
        stores: The stores by name, for the label `store`. A registry accepts one collector: pass it all stores.

    Raises:
        ConfigurationError: `stores` is not a mapping of names to `StatisticsWrapper` objects.
    """

    def __init__(self, stores: Mapping[str, StatisticsWrapper]) -> None:
        if not isinstance(stores, Mapping):
            raise ConfigurationError(f"stores must be a mapping of names to stores, got {type(stores).__name__}")
        for name, store in stores.items():
            if not isinstance(name, str):
                raise ConfigurationError(f"the name of a store must be a str, got {type(name).__name__}")
            if not isinstance(store, StatisticsWrapper):
                kind = type(store).__name__
                raise ConfigurationError(f"{name!r} must be a StatisticsWrapper, which counts; got {kind}")
        self._stores = dict(stores)

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without samples, so that a registry learns their names."""
        yield from _Families().all

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        families = _Families()
        for name, store in self._stores.items():
            for collection, operations in store.snapshot().items():
                for operation, counted in operations.items():
                    families.add([_text(name), _text(collection), operation], counted)
        yield from families.all


class _Families:
    """Are the metrics, empty at first."""

    def __init__(self) -> None:
        self._calls = CounterMetricFamily("satchel_operations", "Calls that have ended.", labels=[*_LABELS, "outcome"])
        self._durations = HistogramMetricFamily(
            "satchel_operation_duration_seconds", "What calls took.", labels=_LABELS
        )
        self._hits = CounterMetricFamily("satchel_hits", "Entries that were read and there.", labels=_LABELS)
        self._misses = CounterMetricFamily("satchel_misses", "Entries that were read and absent.", labels=_LABELS)
        self._bytes = CounterMetricFamily(
            "satchel_value_bytes", "Bytes of values put or got, estimated.", labels=_LABELS
        )
        self.all: list[Metric] = [self._calls, self._durations, self._hits, self._misses, self._bytes]

    def add(self, labels: list[str], counted: OperationStatistics) -> None:
        self._calls.add_metric([*labels, "ok"], counted.calls - counted.errors)
        self._calls.add_metric([*labels, "error"], counted.errors)
        self._durations.add_metric(labels, _buckets(counted), counted.seconds)
        if counted.hits or counted.misses:
            self._hits.add_metric(labels, counted.hits)
            self._misses.add_metric(labels, counted.misses)
        if counted.bytes:
            self._bytes.add_metric(labels, counted.bytes)


def _buckets(counted: OperationStatistics) -> list[tuple[str, float]]:
    """Return for each bound how many calls took less."""
    buckets = [
        (str(bound), float(sum(count for below, count in counted.latencies.items() if below <= bound)))
        for bound in _BOUNDS
    ]
    return [*buckets, ("+Inf", float(counted.calls))]


def _text(name: str) -> str:
    """Return a collection's name as text: one that was refused may have been none."""
    return name.encode("utf-8", "backslashreplace").decode()
