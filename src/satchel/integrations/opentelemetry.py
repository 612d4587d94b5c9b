"""`OpenTelemetryWrapper`: spans and durations by OpenTelemetry's conventions (`?wrap=opentelemetry`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from .. import __version__
from .._checks import check_int
from ..errors import ConfigurationError, missing_extra, with_article
from ..protocol import AsyncKeyValue
from ..url.description import name_of
from ..verbs import BATCHES
from ..wrappers._observed import kind_of, legal
from ..wrappers.base import BaseWrapper
from ..wrappers.composite import CompositeStore

try:
    from opentelemetry import context, metrics, trace
except ImportError as error:  # its namespace may be there without it
    missing = ModuleNotFoundError(str(error), name="opentelemetry-api")
    raise missing_extra("OpenTelemetryWrapper", "opentelemetry", missing) from error

__all__ = ["OpenTelemetryWrapper"]

_Attributes = dict[str, str | int]

_SCHEMA = "https://opentelemetry.io/schemas/1.34.0"
_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
_SYSTEMS = {"disk": "sqlite", "dynamodb": "aws.dynamodb"}
"""The conventions' names of backends, where they differ from the URL scheme."""


class OpenTelemetryWrapper(BaseWrapper):
    """Wrapper that records a client span and `db.client.operation.duration` for each call except listings.

    The span is called `{operation} {collection}`. It has `db.system.name`, `db.operation.name`, `db.collection.name`,
    for a batch of two or more keys `db.operation.batch.size`, and if the call raised, the class of the error as
    `error.type`. Keys, values and error messages are never recorded. Without an SDK nothing is recorded.

    Args:
        inner: The wrapped store.
        max_collections: Number of collections, the first ones used, to name in span names and measurements; further
            ones appear only in the attributes of spans.
        tracer_provider: Makes the tracer; if omitted, the global one does, even if it is set later.
        meter_provider: Makes the meter; if omitted, the global one does, even if it is set later.

    Raises:
        ConfigurationError: The bound is not an int of at least 0, or a provider is none.
    """

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        max_collections: int = 100,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        check_int("max_collections", max_collections, 0)
        for option, given, kind in (
            ("tracer_provider", tracer_provider, trace.TracerProvider),
            ("meter_provider", meter_provider, metrics.MeterProvider),
        ):
            if given is not None and not isinstance(given, kind):
                raise ConfigurationError(f"{option} must be {with_article(kind)}, got {type(given).__name__}")
        self._max_collections = max_collections
        self._calls: dict[tuple[str, Any], tuple[str, _Attributes]] = {}
        self._named: set[str] = set()
        self._system = _system(inner)
        self._tracer = trace.get_tracer("satchel", __version__, tracer_provider, _SCHEMA)
        self._durations = metrics.get_meter("satchel", __version__, meter_provider, _SCHEMA).create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_BOUNDS,
        )
        super().__init__(inner)

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        collection = args[0] if args else named.get("collection")
        try:
            name, measured = self._calls[operation, collection]
            attributes = measured
        except (KeyError, TypeError):
            name, measured, attributes = self._first_call(operation, legal(collection))
        if operation in BATCHES and len(args[1]) > 1:
            attributes = {**attributes, "db.operation.batch.size": len(args[1])}
        span = self._tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)
        token = None if span is trace.INVALID_SPAN else context.attach(trace.set_span_in_context(span))
        start = perf_counter()
        try:
            return await function(*args, **named)
        except BaseException as error:
            kind = kind_of(error)
            measured = {**measured, "error.type": kind}
            span.set_attribute("error.type", kind)
            span.set_status(trace.StatusCode.ERROR)
            raise
        finally:
            self._durations.record(perf_counter() - start, measured)
            if token is not None:
                context.detach(token)
                span.end()

    def _first_call(self, operation: str, collection: str | None) -> tuple[str, _Attributes, _Attributes]:
        """Return the name of a span, and the attributes of the measurement and of the span."""
        attributes: _Attributes = {"db.system.name": self._system, "db.operation.name": operation}
        if collection is None:
            return operation, attributes, attributes
        named = {**attributes, "db.collection.name": collection}
        if collection not in self._named and len(self._named) >= self._max_collections:
            return operation, attributes, named
        self._named.add(collection)
        name = f"{operation} {collection}"
        self._calls[operation, collection] = name, named
        return name, named, named


def _system(store: AsyncKeyValue) -> str:
    """Return the conventions' name for the innermost store."""
    while isinstance(store, BaseWrapper) and not isinstance(store, CompositeStore):
        store = store.inner
    name = name_of(type(store))
    return _SYSTEMS.get(name, name)
