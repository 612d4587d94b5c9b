import asyncio
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import satchel
from satchel import ConfigurationError, InvalidKeyError, MemoryStore, StoreUnavailableError
from satchel.errors import BatchError
from satchel.integrations.opentelemetry import OpenTelemetryWrapper
from satchel.testing import FlakyStore
from satchel.wrappers import RoutingStore, StatisticsWrapper


class Observed:
    """Has a wrapper, and what the SDK recorded of it."""

    def __init__(self, inner, **options):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self.reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.store = OpenTelemetryWrapper(inner, tracer_provider=self.tracers, meter_provider=self.meters, **options)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    @property
    def points(self):
        """Give the measurements by their attributes."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert (metric.name, metric.unit) == ("db.client.operation.duration", "s")
        return {tuple(sorted(point.attributes.items())): point for point in metric.data.data_points}


@pytest.fixture
def observed():
    return Observed(MemoryStore())


def attributes_of(span):
    return dict(span.attributes)


async def test_a_call_is_a_client_span_by_the_conventions(observed):
    await observed.store.put("users", "ada", {"age": 36})
    (span,) = observed.spans
    assert span.name == "put users"
    assert span.kind is trace.SpanKind.CLIENT
    assert span.status.status_code is trace.StatusCode.UNSET
    assert attributes_of(span) == {
        "db.system.name": "memory",
        "db.operation.name": "put",
        "db.collection.name": "users",
    }
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("satchel", satchel.__version__)
    assert span.instrumentation_scope.schema_url.startswith("https://opentelemetry.io/schemas/1.")


async def test_durations_are_measured_in_the_recommended_buckets(observed):
    for _ in range(3):
        await observed.store.get("users", "ada")
    ((attributes, point),) = observed.points.items()
    assert dict(attributes) == {
        "db.system.name": "memory",
        "db.operation.name": "get",
        "db.collection.name": "users",
    }
    assert point.count == 3
    assert point.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    lasted = sum(span.end_time - span.start_time for span in observed.spans) / 1e9
    assert 0 < point.sum <= lasted


async def test_a_batch_of_two_or_more_has_its_size(observed):
    await observed.store.put_many("c", {"a": 1, "b": 2})
    await observed.store.get_many("c", ["a", "b", "a", "d"])
    await observed.store.get_entries("c", ["a"])
    await observed.store.delete_many("c", [])
    found = [(span.name, span.attributes.get("db.operation.batch.size")) for span in observed.spans]
    assert found == [("put_many c", 2), ("get_many c", 3), ("get_entries c", None), ("delete_many c", None)]
    assert not any("batch.size" in name for attributes in observed.points for name, _ in attributes)


async def test_calls_about_no_collection_are_named_by_the_operation(observed):
    await observed.store.ping()
    await observed.store.cull()
    await observed.store.destroy()
    assert [span.name for span in observed.spans] == ["ping", "cull", "destroy"]
    assert attributes_of(observed.spans[0]) == {"db.system.name": "memory", "db.operation.name": "ping"}


async def test_an_error_is_recorded_by_its_class_alone():
    observed = Observed(FlakyStore())
    await observed.store.inner.ping()
    observed.store.inner.fail_next(2)
    with pytest.raises(StoreUnavailableError):
        await observed.store.get("c", "ada@example.org")
    with pytest.raises(BatchError):
        await observed.store.put_many("c", {"ada@example.org": 1, "bob@example.org": 2})
    for span in observed.spans:
        assert span.attributes["error.type"] == "StoreUnavailableError"
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.status.description is None
        assert span.events == ()
        assert "example.org" not in span.to_json()
    failed = [dict(attributes)["error.type"] for attributes in observed.points]
    assert failed == ["StoreUnavailableError"] * 2


async def test_neither_key_nor_value_is_anywhere(observed):
    await observed.store.put("c", "ada@example.org", "secret value")
    await observed.store.get("c", "ada@example.org", "secret value")
    await observed.store.delete_many("c", ["ada@example.org", "x"])
    recorded = "".join(span.to_json() for span in observed.spans) + str(observed.points)
    assert "example.org" not in recorded
    assert "secret" not in recorded


async def test_names_of_spans_and_measurements_are_bounded():
    observed = Observed(MemoryStore(), max_collections=2)
    for name in ("a", "b", "c", "a", "d"):
        await observed.store.get(name, "k")
        await observed.store.put(name, "k", 1)
    assert [span.name for span in observed.spans] == [
        "get a", "put a", "get b", "put b", "get", "put", "get a", "put a", "get", "put",
    ]  # fmt: skip
    assert [span.attributes["db.collection.name"] for span in observed.spans[::2]] == ["a", "b", "c", "a", "d"]
    assert {dict(attributes).get("db.collection.name") for attributes in observed.points} == {"a", "b", None}
    assert len(observed.points) == 6
    assert len(observed.store._calls) == 4


async def test_names_that_are_not_legal_are_not_recorded():
    observed = Observed(MemoryStore(), max_collections=1)
    for wrong in ("", "x" * 5000, "\ud800", 5, ["c"], None):
        with pytest.raises(InvalidKeyError):
            await observed.store.get(wrong, "k")
    assert {span.name for span in observed.spans} == {"get"}
    assert not any("db.collection.name" in span.attributes for span in observed.spans)
    await observed.store.get("c", "k")
    assert observed.spans[-1].name == "get c"


async def test_spans_are_children_of_the_callers_and_parents_of_the_drivers():
    observed = Observed(MemoryStore())
    tracer = observed.tracers.get_tracer("test")

    class Driven(MemoryStore):
        async def get(self, collection, key, default=None):
            with tracer.start_as_current_span("driver"):
                await asyncio.sleep(0)

    observed.store = OpenTelemetryWrapper(Driven(), tracer_provider=observed.tracers)
    with tracer.start_as_current_span("request"):
        await asyncio.gather(observed.store.get("a", "k"), observed.store.get("b", "k"))
        await observed.store.get("a", "k")
        assert trace.get_current_span().name == "request"
    spans = {span.context.span_id: span for span in observed.spans}
    parents = {
        (span.name, spans[span.parent.span_id].name) for span in spans.values() if span.parent is not None
    }  # fmt: skip
    assert parents == {("driver", "get a"), ("driver", "get b"), ("get a", "request"), ("get b", "request")}


async def test_what_is_not_sampled_is_still_measured():
    reader = InMemoryMetricReader()
    exporter, tracers = InMemorySpanExporter(), TracerProvider(sampler=ALWAYS_OFF)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    store = OpenTelemetryWrapper(MemoryStore(), tracer_provider=tracers, meter_provider=MeterProvider([reader]))
    await store.put("c", "k", 1)
    assert exporter.get_finished_spans() == ()
    (point,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert point.count == 1


async def test_a_cancelled_call_ends_its_span():
    class Slow(MemoryStore):
        async def get(self, collection, key, default=None):
            await asyncio.Event().wait()

    observed = Observed(Slow())
    waiting = asyncio.ensure_future(observed.store.get("c", "k"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert observed.spans[0].attributes["error.type"] == "CancelledError"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (MemoryStore, "memory"),
        (satchel.DiskStore, "sqlite"),
        (lambda: StatisticsWrapper(satchel.DiskStore()), "sqlite"),
        (lambda: satchel.FileTreeStore("x"), "file"),
        (lambda: satchel.open_store("redis://localhost"), "redis"),
        (lambda: satchel.open_store("valkey://localhost"), "valkey"),
        (lambda: satchel.open_store("memcached://localhost"), "memcached"),
        (lambda: satchel.open_store("mongodb://localhost"), "mongodb"),
        (lambda: satchel.open_store("elasticsearch://localhost"), "elasticsearch"),
        (lambda: satchel.open_store("postgresql://localhost/x"), "postgresql"),
        (lambda: satchel.open_store("dynamodb://table?region=eu-west-1"), "aws.dynamodb"),
        (lambda: RoutingStore(MemoryStore(), collections={"a": MemoryStore()}), "RoutingStore"),
    ],
)
def test_the_system_is_that_of_the_innermost_store(make, name):
    assert OpenTelemetryWrapper(make())._system == name


GLOBAL = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from satchel import open_store

async def main():
    store = open_store("memory://?wrap=opentelemetry")
    await store.put("c", "before", 1)
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracers)
    await store.get("c", "after")
    print([span.name for span in exporter.get_finished_spans()])

asyncio.run(main())
"""


def test_without_an_sdk_it_does_nothing_and_one_set_later_is_used():
    done = subprocess.run([sys.executable, "-W", "error", "-c", GLOBAL], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['get c']\n", "")


@pytest.mark.parametrize("bound", [-1, 1.5, True, "5"])
def test_a_bad_bound_is_refused(bound):
    with pytest.raises(ConfigurationError, match="max_collections must be an int of at least 0"):
        OpenTelemetryWrapper(MemoryStore(), max_collections=bound)


MISSING = """
import sys
sys.modules["opentelemetry.context"] = None
from satchel import MissingExtraError, open_store
try:
    open_store("memory://?wrap=opentelemetry")
except MissingExtraError as error:
    print(error)
"""


def test_without_the_api_it_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True)
    assert done.stdout == (
        'OpenTelemetryWrapper needs opentelemetry-api, which is not installed: pip install "satchel[opentelemetry]"\n'
    )
