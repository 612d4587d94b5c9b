"""The layers of random stacks: every wrapper has a line here, so that each is tried around each other."""

from functools import partial

from satchel.wrappers import SanitizationWrapper, StatisticsWrapper, TTLWrapper
from tests.wrappers.doubles import (
    Around,
    Framed,
    Nothing,
    OneWay,
    PrefixCollections,
    PrefixKeys,
    ReadsEntries,
    Reversed,
)

LAYERS = {
    "nothing": Nothing,
    "around": Around,
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
    "preset": partial(SanitizationWrapper, preset="filesystem-v1"),
}
"""Each makes a store around a store. Few of them hash names: above one that does, nothing can be listed any more."""
