"""What each wrapper adds to a get and to a put of a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import POST
from satchel import MemoryStore
from satchel.integrations.opentelemetry import OpenTelemetryWrapper
from satchel.wrappers import (
    BaseWrapper,
    CircuitBreakerWrapper,
    CompressionWrapper,
    DefaultValueWrapper,
    EncryptionWrapper,
    Event,
    EventsWrapper,
    FallbackWrapper,
    LimitSizeWrapper,
    LoggingWrapper,
    OnErrorWrapper,
    PrefixCollectionsWrapper,
    PrefixKeysWrapper,
    ReadOnlyWrapper,
    RetryWrapper,
    RoutingStore,
    SanitizationWrapper,
    SerializingWrapper,
    SigningWrapper,
    SingleCollectionWrapper,
    SingleFlightWrapper,
    StatisticsWrapper,
    TieredStore,
    TimeoutWrapper,
    TTLWrapper,
)

STEPS = 10_000


class ChangesNothing(BaseWrapper):
    pass


class GoesAround(BaseWrapper):
    async def _around(self, operation: str, function: Any, /, *args: Any, **named: Any) -> Any:  # noqa: ARG002  # a seam's
        return await function(*args, **named)


class ReadsOnly(ReadOnlyWrapper):
    def _bindings(self) -> dict[str, Callable[..., Any]]:
        return super()._bindings() | {"put": self.inner.put}  # so that there is something to read


def followed(inner: Any) -> EventsWrapper:
    store = EventsWrapper(inner)
    store.subscribe(Event, lambda _: None)
    return store


WRAPPERS: dict[str, tuple[Callable[[Any], Any], float | None]] = {
    "MemoryStore": (lambda inner: inner, None),
    "changes nothing": (ChangesNothing, 0.3),
    "goes around": (GoesAround, None),
    "ReadOnlyWrapper": (ReadsOnly, 0.3),
    "StatisticsWrapper": (StatisticsWrapper, 1.0),
    "LoggingWrapper, its level off": (LoggingWrapper, 1.0),
    "EventsWrapper, nobody subscribed": (EventsWrapper, None),
    "EventsWrapper, one handler of all": (followed, None),
    "OpenTelemetryWrapper, no SDK": (OpenTelemetryWrapper, None),
    "SerializingWrapper": (SerializingWrapper, 0.5),
    "TimeoutWrapper": (lambda inner: TimeoutWrapper(inner, seconds=2), 0.5),
    "CircuitBreakerWrapper": (CircuitBreakerWrapper, 0.5),
    "RetryWrapper": (RetryWrapper, 0.5),
    "FallbackWrapper": (lambda inner: FallbackWrapper(inner, MemoryStore()), 0.5),
    "FallbackWrapper, write_both": (lambda inner: FallbackWrapper(inner, MemoryStore(), write_both=True), None),
    "OnErrorWrapper, lenient": (lambda inner: OnErrorWrapper(inner, policy="lenient"), 0.5),
    "OnErrorWrapper, lazy": (lambda inner: OnErrorWrapper(inner, policy="lazy"), 0.5),
    "TTLWrapper": (lambda inner: TTLWrapper(inner, maximum=3600), None),
    "TTLWrapper, sliding": (lambda inner: TTLWrapper(inner, default=3600, sliding=True), None),
    "DefaultValueWrapper": (lambda inner: DefaultValueWrapper(inner, value=0), 0.5),
    "LimitSizeWrapper": (lambda inner: LimitSizeWrapper(inner, max_bytes=65536), None),
    "PrefixKeysWrapper": (lambda inner: PrefixKeysWrapper(inner, prefix="prefix"), 0.5),
    "PrefixCollectionsWrapper": (lambda inner: PrefixCollectionsWrapper(inner, prefix="prefix"), 0.5),
    "SingleCollectionWrapper": (lambda inner: SingleCollectionWrapper(inner, collection="all"), None),
    "SingleFlightWrapper": (SingleFlightWrapper, 0.3),
    "RoutingStore, collections": (lambda inner: RoutingStore(inner, collections={"other": MemoryStore()}), 0.5),
    "RoutingStore, function": (
        lambda inner: RoutingStore(inner, others=[MemoryStore()], route=lambda _, __: inner),
        0.5,
    ),
    "CompressionWrapper, below its threshold": (CompressionWrapper, None),
    "EncryptionWrapper": (lambda inner: EncryptionWrapper(inner, key=bytes(32)), None),
    "SigningWrapper": (lambda inner: SigningWrapper(inner, key=bytes(32)), None),
    "TieredStore": (lambda inner: TieredStore(inner, MemoryStore()), 0.5),
    "TieredStore, back": (lambda inner: TieredStore(inner, MemoryStore(), write="back"), None),
    "SanitizationWrapper": (lambda inner: SanitizationWrapper(inner, preset="redis-v1"), None),
}


def getting(wrap: Callable[[Any], Any]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = wrap(MemoryStore())
        await store.put("c", "k", POST)

        async def work(steps: range) -> None:
            get = store.get
            for _ in steps:
                await get("c", "k")

        yield work

    return contender


def putting(wrap: Callable[[Any], Any]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = wrap(MemoryStore())

        async def work(steps: range) -> None:
            put = store.put
            for _ in steps:
                await put("c", "k", POST)

        yield work

    return contender


def run(report: Report) -> None:
    for title, make in {"get a post": getting, "put a post": putting}.items():
        report.compare(title, {name: make(wrap) for name, (wrap, _) in WRAPPERS.items()}, steps=STEPS)
        rows = report.tables[-1]["rows"]
        added: dict[str, dict[str, float]] = {}
        for name, (_, goal) in list(WRAPPERS.items())[1:]:
            label = name if goal is None else f"{name}, goal {goal}"
            added[label] = {
                mode: rows[name][mode] - rows["MemoryStore"][mode] for mode in rows[name] if mode.endswith("µs")
            }
        report.table(f"{title}: beyond the inner store", added)
