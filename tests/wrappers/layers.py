"""The layers of random stacks: every wrapper has a line here, so that each is tried around each other."""

from functools import partial

from opentelemetry.sdk.trace import TracerProvider

from satchel import MemoryStore
from satchel.integrations.opentelemetry import OpenTelemetryWrapper
from satchel.wrappers import (
    CircuitBreakerWrapper,
    CompressionWrapper,
    EncryptionWrapper,
    Event,
    EventsWrapper,
    FallbackWrapper,
    LimitSizeWrapper,
    LoggingWrapper,
    OnErrorWrapper,
    PrefixCollectionsWrapper,
    PrefixKeysWrapper,
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
from tests.wrappers.doubles import (
    Around,
    DefaultUndone,
    Framed,
    Inspects,
    Nothing,
    OneWay,
    PrefixCollections,
    PrefixKeys,
    ReadsEntries,
    Reversed,
    Unreliable,
    WritesBeneath,
)


def by_collection(inner):
    a, b = (PrefixCollectionsWrapper(inner, prefix=prefix) for prefix in "ab")
    return RoutingStore(a, collections={"A": b}, prefixes={"a::": a, "a": b})


def by_key(inner):
    a, b = (PrefixCollectionsWrapper(inner, prefix=prefix) for prefix in "ab")
    return RoutingStore(a, others=[b], route=lambda collection, key: b if (len(collection) + ord(key[0])) % 2 else None)


def followed(inner):
    store = EventsWrapper(inner)
    store.subscribe(Event, lambda event: None)
    return store


def retried(inner):
    return RetryWrapper(Unreliable(inner), first_pause=1e-9, max_pause=1e-9, seed=1)


def read_elsewhere(inner):
    reads = {"get", "get_entry", "get_many", "get_entries", "exists", "keys", "collections"}
    return FallbackWrapper(Unreliable(inner, operations=reads), inner)


def tiered(inner, *, write="through"):
    clock = clock_of(inner)
    return TieredStore(MemoryStore(clock=clock, max_entries_per_collection=3), inner, write=write, clock=clock)


async def flush(store):
    """Let every queue in a stack send what waits: when that arrives is the time at which it was put."""
    if isinstance(store, TieredStore):
        await store.flush()
    inners = store.inners if hasattr(store, "inners") else [store.inner] if hasattr(store, "inner") else []
    for inner in inners:
        await flush(inner)


def clock_of(store):
    """Return the clock of a stack: two tiers need the same one."""
    while not hasattr(store, "clock"):
        store = store.inners[-1] if hasattr(store, "inners") else store.inner
    return store.clock


LAYERS = {
    "nothing": Nothing,
    "around": Around,
    "inspects": Inspects,
    "prefix keys": PrefixKeys,
    "other prefix of keys": partial(PrefixKeys, prefix="a_"),
    "prefix collections": PrefixCollections,
    "reversed": Reversed,
    "one way": OneWay,
    "framed": Framed,
    "ttl": TTLWrapper,
    "sliding reads": partial(ReadsEntries, default=0.000_001, sliding=True),
    "statistics": partial(StatisticsWrapper, max_collections=1),
    "escape": partial(SanitizationWrapper, key_strategy="escape", collection_strategy="escape"),
    "hash": partial(SanitizationWrapper, key_strategy="hash", collection_strategy="hash"),
    "short": partial(SanitizationWrapper, key_strategy="hash-excess-length", max_bytes=80),
    "read_only": WritesBeneath,
    "limit_size": partial(LimitSizeWrapper, max_bytes=10_000_000),
    "limit_size skip": partial(LimitSizeWrapper, max_bytes=10_000_000, policy="skip"),
    "default_value": DefaultUndone,
    "prefix_keys": partial(PrefixKeysWrapper, prefix="a"),
    "prefix_collections": partial(PrefixCollectionsWrapper, prefix="a"),
    "single_collection": partial(SingleCollectionWrapper, collection="a"),
    "single_flight": SingleFlightWrapper,
    "by collection": by_collection,
    "by key": by_key,
    "zstd": CompressionWrapper,
    "gzip": partial(CompressionWrapper, algorithm="gzip", level=1, threshold=1),
    "encryption": partial(EncryptionWrapper, key="00" * 32),
    "serializing": SerializingWrapper,
    "serializing all": partial(SerializingWrapper, per_key=False),
    "signing": partial(SigningWrapper, key="01" * 32),
    "events": followed,
    "logging": partial(LoggingWrapper, level="CRITICAL", keys=True),
    "opentelemetry": partial(OpenTelemetryWrapper, tracer_provider=TracerProvider(shutdown_on_exit=False)),
    "timeout": partial(TimeoutWrapper, seconds=60),
    "circuit_breaker": CircuitBreakerWrapper,
    "retry": retried,
    "fallback": read_elsewhere,
    "fallback write_both": lambda inner: FallbackWrapper(inner, MemoryStore(), write_both=True),
    "on_error lenient": partial(OnErrorWrapper, policy="lenient"),
    "on_error lazy": partial(OnErrorWrapper, policy="lazy"),
    "tiered": tiered,
    "tiered around": partial(tiered, write="around"),
    "tiered back": partial(tiered, write="back"),
    "preset": partial(SanitizationWrapper, preset="filesystem-v1"),
}
"""Each makes a store around a store. Few of them hash names: above one that does, nothing can be listed any more."""
