"""Wrappers: stores around a store, each changing one thing about it.

If you use several, this is the recommended order, from the innermost, which is the first in a URL, outwards:

1. `TimeoutWrapper`: next to the store, as are the next three, which do not change names or values, so that repeated
   requests are encrypted and compressed only once. It limits a single attempt. `SerializingWrapper` goes inside it,
   around a store that cannot take calls beside each other, so that the wait for a turn is limited too.
2. `CircuitBreakerWrapper`: around it, because a call cut off by an outer wrapper says nothing about the store.
3. `RetryWrapper`: around both, so that each attempt has its own limit and is counted, and an open circuit ends the
   attempts. Its deadline bounds them all.
4. `OnErrorWrapper`: around these, which need to see failures; inside wrappers that refuse values or change times to
   live, so that queued writes have passed them exactly once.
5. `EncryptionWrapper` or `SigningWrapper`: next to the store, so that values are bound to the store's names: an entry
   moved from one prefix to another is refused, and `rotate` reaches all entries even if names are hashed. Encrypted
   values need no signature.
6. `CompressionWrapper`: around it. Values that are put pass from the outermost wrapper inwards, so they are compressed
   first, because encrypted data cannot be compressed; and data is verified before it is decompressed. (Sizes reveal
   something about compressed content: do not compress secrets together with text that others choose.)
7. `SanitizationWrapper`: next to the store whose names it adapts, so that it sees all names, including those changed by
   other wrappers; around those above, which leave names alone.
8. `SingleCollectionWrapper`, `PrefixCollectionsWrapper` and `PrefixKeysWrapper`: next to the store too, so that all
   outer wrappers see and count the callers' own names. With a `SanitizationWrapper`, prefixes are sanitized as well.
9. `LimitSizeWrapper`: outside compression to measure the callers' values, inside it to measure the stored ones.
10. `TTLWrapper`: outside wrappers that only change names, so that no entry gets in without a bounded time to live.
    `EventsWrapper` goes directly inside it: its events have the callers' names, and it learns how long entries live.
11. `ReadOnlyWrapper`: outside all wrappers that write, including a sliding `TTLWrapper`, so that only callers are
    refused.
12. `StatisticsWrapper`, `LoggingWrapper` and `OpenTelemetryWrapper`: nearly outermost, so that they report calls as
    callers make and see them. Add another one further in to see which calls the layers between answer themselves.
13. `DefaultValueWrapper`: outermost, so that no other wrapper mistakes its value for a stored one, and misses count as
    misses.
14. `SingleFlightWrapper`: around all others, because a wrapper around it does not have `get_or_put`. Inner wrappers,
    including statistics and size limits, also see the results of factories.

`FallbackWrapper` goes around two stores, each with wrappers 1 to 3, and in the place of 4. `RoutingStore` and
`TieredStore` combine several stores, each with its own wrappers; more can go around them. Put wrappers that change
names or values around a `TieredStore` if hot and cold are to hold the same, and around cold alone if hot is fast and
trusted: a value is then decompressed and decrypted once, and read from hot as it is. `NearCacheWrapper` is such a
store in the place of 9, around all that change names and values, and inside of limits, times to live and statistics.
"""

from ._layer import layer
from ._rotation import Rotation
from .base import BaseWrapper
from .call import MISSING, Call
from .circuit_breaker import CircuitBreakerWrapper
from .composite import CompositeStore
from .compression import CompressionWrapper
from .default_value import DefaultValueWrapper
from .encryption import EncryptionWrapper
from .events import Cleared, Deleted, Event, EventsWrapper, Expired, Retrieved, Stored
from .fallback import FallbackWrapper
from .limit_size import LimitSizeWrapper
from .logging import LoggingWrapper
from .on_error import OnErrorWrapper
from .prefix_collections import PrefixCollectionsWrapper
from .prefix_keys import PrefixKeysWrapper
from .read_only import ReadOnlyWrapper
from .retry import RetryWrapper
from .routing import RoutingStore
from .sanitization import SanitizationWrapper
from .serializing import SerializingWrapper
from .signing import SigningWrapper
from .single_collection import SingleCollectionWrapper
from .single_flight import SingleFlightWrapper
from .statistics import StatisticsWrapper
from .tiered import NearCacheWrapper, TieredStore
from .tiered.statistics import TieredStatistics, TierStatistics
from .timeout import TimeoutWrapper
from .ttl import TTLWrapper

__all__ = [
    "MISSING",
    "BaseWrapper",
    "Call",
    "CircuitBreakerWrapper",
    "Cleared",
    "CompositeStore",
    "CompressionWrapper",
    "DefaultValueWrapper",
    "Deleted",
    "EncryptionWrapper",
    "Event",
    "EventsWrapper",
    "Expired",
    "FallbackWrapper",
    "LimitSizeWrapper",
    "LoggingWrapper",
    "NearCacheWrapper",
    "OnErrorWrapper",
    "PrefixCollectionsWrapper",
    "PrefixKeysWrapper",
    "ReadOnlyWrapper",
    "Retrieved",
    "RetryWrapper",
    "Rotation",
    "RoutingStore",
    "SanitizationWrapper",
    "SerializingWrapper",
    "SigningWrapper",
    "SingleCollectionWrapper",
    "SingleFlightWrapper",
    "StatisticsWrapper",
    "Stored",
    "TTLWrapper",
    "TierStatistics",
    "TieredStatistics",
    "TieredStore",
    "TimeoutWrapper",
    "layer",
]
