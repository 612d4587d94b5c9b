"""Every promise of a store, asked of each wrapper and of a wrapper for each seam.

The quick profile asks those that between them change values, names, times and stores: a hundred and seventy tests each.
"""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from satchel import MemoryStore
from satchel.integrations.opentelemetry import OpenTelemetryWrapper
from satchel.testing import WrapperConformance
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
    TimeoutWrapper,
    TTLWrapper,
)
from tests.wrappers.doubles import (
    DefaultUndone,
    Framed,
    Nothing,
    OneWay,
    PrefixCollections,
    ReadsEntries,
    WritesBeneath,
)

TRACERS, METERS = TracerProvider(shutdown_on_exit=False), MeterProvider(shutdown_on_exit=False)
LONG_COLLECTIONS = (
    "test_collections_of_4096_bytes_are_listed_as_they_were_put",
    "test_collections_of_4096_bytes_are_collections_of_their_own",
    "test_a_long_key_in_a_long_collection_works",
)
EXPANDING = (
    *LONG_COLLECTIONS,
    "test_every_legal_name_is_accepted",
    "test_keys_of_the_greatest_length_are_listed_as_they_were_put",
    "test_keys_of_the_greatest_length_are_entries_of_their_own",
)


@pytest.mark.long
class TestNothing(WrapperConformance):
    def wrap(self, inner, clock):
        return Nothing(inner)


@pytest.mark.long
class TestOneWay(WrapperConformance):
    def wrap(self, inner, clock):
        return OneWay(inner)


class TestPrefixCollections(WrapperConformance):
    changes = dict.fromkeys(LONG_COLLECTIONS, "a collection that leaves no room for the prefix is refused")

    def wrap(self, inner, clock):
        return PrefixCollections(inner)


@pytest.mark.long
class TestFramed(WrapperConformance):
    def wrap(self, inner, clock):
        return Framed(inner)


class TestTTL(WrapperConformance):
    def wrap(self, inner, clock):
        return TTLWrapper(inner)


@pytest.mark.long
class TestReadsOfSlidingTTL(WrapperConformance):
    changes = dict.fromkeys(
        ["test_capabilities_that_the_inner_store_lacks_are_lacking"], "sliding needs CONDITIONAL, and says so when made"
    )

    def wrap(self, inner, clock):
        return ReadsEntries(inner, default=0.000_001, sliding=True)


@pytest.mark.long
class TestEscape(WrapperConformance):
    changes = dict.fromkeys(EXPANDING, "a name that is too long once escaped is refused")

    def wrap(self, inner, clock):
        return SanitizationWrapper(inner, key_strategy="escape", collection_strategy="escape")


@pytest.mark.long
class TestMemcachedPreset(WrapperConformance):
    def wrap(self, inner, clock):
        return SanitizationWrapper(inner, preset="memcached-v1")


@pytest.mark.long
class TestStatistics(WrapperConformance):
    def wrap(self, inner, clock):
        return StatisticsWrapper(inner)


@pytest.mark.long
class TestReadOnly(WrapperConformance):
    def wrap(self, inner, clock):
        return WritesBeneath(inner)


@pytest.mark.long
class TestLimitSize(WrapperConformance):
    def wrap(self, inner, clock):
        return LimitSizeWrapper(inner, max_bytes=100_000_000)


@pytest.mark.long
class TestTimeout(WrapperConformance):
    def wrap(self, inner, clock):
        return TimeoutWrapper(inner, seconds=60)


@pytest.mark.long
class TestSerializing(WrapperConformance):
    def wrap(self, inner, clock):
        return SerializingWrapper(inner)


@pytest.mark.night
class TestSerializingAll(WrapperConformance):
    def wrap(self, inner, clock):
        return SerializingWrapper(inner, per_key=False)


@pytest.mark.long
class TestCircuitBreaker(WrapperConformance):
    def wrap(self, inner, clock):
        return CircuitBreakerWrapper(inner)


@pytest.mark.long
class TestRetry(WrapperConformance):
    def wrap(self, inner, clock):
        return RetryWrapper(inner)


@pytest.mark.long
class TestFallback(WrapperConformance):
    def wrap(self, inner, clock):
        return FallbackWrapper(inner, MemoryStore(clock=clock), write_both=True)


@pytest.mark.long
class TestStrictOnError(WrapperConformance):
    def wrap(self, inner, clock):
        return OnErrorWrapper(inner, policy="strict")


@pytest.mark.long
class TestLenientOnError(WrapperConformance):
    def wrap(self, inner, clock):
        return OnErrorWrapper(inner, policy="lenient")


@pytest.mark.long
class TestLazyOnError(WrapperConformance):
    def wrap(self, inner, clock):
        return OnErrorWrapper(inner, policy="lazy", clock=clock)


@pytest.mark.long
class TestDefaultValue(WrapperConformance):
    def wrap(self, inner, clock):
        return DefaultUndone(inner)


@pytest.mark.long
class TestPrefixKeys(WrapperConformance):
    def wrap(self, inner, clock):
        return PrefixKeysWrapper(inner, prefix="a::")


@pytest.mark.long
class TestPrefixCollectionsOfItsOwn(WrapperConformance):
    changes = dict.fromkeys(LONG_COLLECTIONS, "a collection that leaves no room for the prefix is refused")

    def wrap(self, inner, clock):
        return PrefixCollectionsWrapper(inner, prefix="a::")


@pytest.mark.long
class TestSingleCollection(WrapperConformance):
    changes = dict.fromkeys(LONG_COLLECTIONS, "a collection beyond a quarter of the longest key is refused")

    def wrap(self, inner, clock):
        return SingleCollectionWrapper(inner, collection="all")


@pytest.mark.long
class TestRoutingByCollection(WrapperConformance):
    def wrap(self, inner, clock):
        a, b = MemoryStore(clock=clock), MemoryStore(clock=clock)
        return RoutingStore(inner, collections={"a": a, "A": b}, prefixes={"a::": b, "../": a})


@pytest.mark.long
class TestRoutingByKey(WrapperConformance):
    def wrap(self, inner, clock):
        other = MemoryStore(clock=clock)
        return RoutingStore(inner, others=[other], route=lambda collection, key: inner if ord(key[0]) % 2 else other)


class TestCompression(WrapperConformance):
    def wrap(self, inner, clock):
        return CompressionWrapper(inner)


@pytest.mark.long
class TestCompressionOfSmallValues(WrapperConformance):
    def wrap(self, inner, clock):
        return CompressionWrapper(inner, algorithm="lz4", threshold=1)


@pytest.mark.long
class TestEncryption(WrapperConformance):
    def wrap(self, inner, clock):
        return EncryptionWrapper(inner, key=b"k" * 32)


@pytest.mark.long
class TestSigning(WrapperConformance):
    def wrap(self, inner, clock):
        return SigningWrapper(inner, key=b"k" * 32)


@pytest.mark.long
class TestSingleFlight(WrapperConformance):
    def wrap(self, inner, clock):
        return SingleFlightWrapper(inner)


@pytest.mark.long
class TestLogging(WrapperConformance):
    def wrap(self, inner, clock):
        return LoggingWrapper(inner, level="CRITICAL", keys=True)


@pytest.mark.long
class TestEvents(WrapperConformance):
    def wrap(self, inner, clock):
        store = EventsWrapper(inner, strict=True, clock=clock)
        store.subscribe(Event, lambda event: None)
        return store


@pytest.mark.long
class TestOpenTelemetry(WrapperConformance):
    def wrap(self, inner, clock):
        return OpenTelemetryWrapper(inner, tracer_provider=TRACERS, meter_provider=METERS)
