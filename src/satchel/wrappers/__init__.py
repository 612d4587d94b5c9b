"""Wrappers: stores around a store, each changing one thing about it.

Where several are used, this is the order that works, from the innermost, which is the first in a URL, outwards:

1. `SanitizationWrapper`: next to the store whose names it is about, so that all names reach it, also changed ones.
2. `SingleCollectionWrapper`, `PrefixCollectionsWrapper` and `PrefixKeysWrapper`: next to the store too, so that all
   further out is said and counted in the callers' own names. Where they are sanitized, the prefixes are with them.
3. `LimitSizeWrapper`: outside of what makes values smaller to measure what callers give, inside of it to measure what
   the store gets.
4. `TTLWrapper`: outside of what changes names only, so that no entry gets in without a bounded time to live.
5. `ReadOnlyWrapper`: outside of all that writes, a sliding `TTLWrapper` among it, so that only callers are refused.
6. `StatisticsWrapper`: nearly outermost, so that it counts what callers ask for, by their own names, as they see it.
   Put one further in as well, to see what the layers between answer themselves.
7. `DefaultValueWrapper`: outermost, so that no other takes its value for one that is stored, and misses count as such.

`RoutingStore` stands on several stores, each with wrappers of its own; more can go around it.
"""

from .base import BaseWrapper
from .call import MISSING, Call
from .composite import CompositeStore
from .default_value import DefaultValueWrapper
from .limit_size import LimitSizeWrapper
from .prefix_collections import PrefixCollectionsWrapper
from .prefix_keys import PrefixKeysWrapper
from .read_only import ReadOnlyWrapper
from .routing import RoutingStore
from .sanitization import SanitizationWrapper
from .single_collection import SingleCollectionWrapper
from .statistics import StatisticsWrapper
from .ttl import TTLWrapper

__all__ = [
    "MISSING",
    "BaseWrapper",
    "Call",
    "CompositeStore",
    "DefaultValueWrapper",
    "LimitSizeWrapper",
    "PrefixCollectionsWrapper",
    "PrefixKeysWrapper",
    "ReadOnlyWrapper",
    "RoutingStore",
    "SanitizationWrapper",
    "SingleCollectionWrapper",
    "StatisticsWrapper",
    "TTLWrapper",
]
