"""Wrappers: stores around a store, each changing one thing about it.

Where several are used, this is the order that works, from the innermost, which is the first in a URL, outwards:

1. `TimeoutWrapper`: right around the store, as are the next three, which leave names and values alone too: what they
   send again has been encrypted and compressed once. It bounds a single attempt.
2. `CircuitBreakerWrapper`: outside of it, since a call that is cut off from further out says nothing of the store.
3. `RetryWrapper`: outside of both, so that each attempt has its time and is counted, and a circuit that opens ends the
   attempts. Its deadline bounds them all.
4. `OnErrorWrapper`: outside of these, which need to see failures; inside of what refuses values or changes times to
   live, so that what waits has been through it, and once.
5. `EncryptionWrapper` or `SigningWrapper`: next to the store, so that the names bound in are those of the store: an
   entry that somebody moves from one prefix to another is refused, and `rotate` reaches all, also where names are
   hashed. What is encrypted need not be signed.
6. `CompressionWrapper`: right around it. What is put goes from the outermost inwards, so values are compressed first:
   what is encrypted can no longer be. And nothing is unpacked that was not verified. (A size tells something of what
   was compressed: where secrets are stored next to text that others choose, do not compress them.)
7. `SanitizationWrapper`: next to the store whose names it is about, so that all names reach it, also changed ones;
   around those above, which leave names alone.
8. `SingleCollectionWrapper`, `PrefixCollectionsWrapper` and `PrefixKeysWrapper`: next to the store too, so that all
   further out is said and counted in the callers' own names. Where they are sanitized, the prefixes are with them.
9. `LimitSizeWrapper`: outside of what makes values smaller to measure what callers give, inside of it to measure what
   the store gets.
10. `TTLWrapper`: outside of what changes names only, so that no entry gets in without a bounded time to live.
    `EventsWrapper` goes right inside of it: its events have the callers' names, and it learns how long entries live.
11. `ReadOnlyWrapper`: outside of all that writes, a sliding `TTLWrapper` among it, so that only callers are refused.
12. `StatisticsWrapper`, `LoggingWrapper` and `OpenTelemetryWrapper`: nearly outermost, so that they say what callers
    ask for, by their own names, as they see it. Put one further in as well, to see what the layers between answer
    themselves.
13. `DefaultValueWrapper`: outermost, so that no other takes its value for one that is stored, and misses count as such.
14. `SingleFlightWrapper`: around all others: `get_or_put` is its own, and what goes around it does not have that.
     What is further in, statistics and limits on size among it, also sees what factories give.

`FallbackWrapper` goes around two stores, each with 1 to 3 of its own, and in the place of 4.
`RoutingStore` and `TieredStore` stand on several stores, each with wrappers of its own; more can go around them. What
changes names or values goes around a `TieredStore` where hot and cold are to hold the same, and around cold alone where
hot is fast and trusted: a value is then decompressed and decrypted once, and read as it is from hot.
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
from .signing import SigningWrapper
from .single_collection import SingleCollectionWrapper
from .single_flight import SingleFlightWrapper
from .statistics import StatisticsWrapper
from .tiered import TieredStore
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
    "OnErrorWrapper",
    "PrefixCollectionsWrapper",
    "PrefixKeysWrapper",
    "ReadOnlyWrapper",
    "Retrieved",
    "RetryWrapper",
    "Rotation",
    "RoutingStore",
    "SanitizationWrapper",
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
