"""Wrappers: stores around a store, each changing one thing about it.

Where several are used, this is the order that works, from the innermost, which is the first in a URL, outwards:

1. `SanitizationWrapper`: next to the store whose names it is about, so that all names reach it, also changed ones.
2. `TTLWrapper`: outside of what changes names only, so that no entry gets in without a bounded time to live.
3. `StatisticsWrapper`: outermost, so that it counts what callers ask for, by their own names, as they see it. Put one
   further in as well, to see what the layers between answer themselves.
"""

from .base import BaseWrapper
from .call import MISSING, Call
from .composite import CompositeStore
from .sanitization import SanitizationWrapper
from .statistics import StatisticsWrapper
from .ttl import TTLWrapper

__all__ = [
    "MISSING",
    "BaseWrapper",
    "Call",
    "CompositeStore",
    "SanitizationWrapper",
    "StatisticsWrapper",
    "TTLWrapper",
]
