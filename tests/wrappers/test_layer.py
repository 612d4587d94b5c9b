"""A wrapper is found in a stack, and the largest value is known through it."""

import pytest

from satchel import ConfigurationError, DiskStore, MemoryStore, NullStore
from satchel.sync import SyncStore
from satchel.wrappers import FallbackWrapper, LimitSizeWrapper, StatisticsWrapper, TieredStore, TTLWrapper, layer


def test_a_wrapper_is_found_at_any_depth():
    disk = DiskStore()
    inside = StatisticsWrapper(disk)
    outside = StatisticsWrapper(TTLWrapper(inside, default=5))
    assert layer(outside, StatisticsWrapper) is outside
    assert layer(layer(outside, TTLWrapper), StatisticsWrapper) is inside
    assert layer(outside, DiskStore) is disk
    tiered = TieredStore(MemoryStore(), FallbackWrapper(inside, NullStore()))
    assert layer(tiered, StatisticsWrapper) is inside
    assert layer(tiered, NullStore).__class__ is NullStore


def test_what_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match=r"no TTLWrapper in StatisticsWrapper\(MemoryStore"):
        layer(StatisticsWrapper(MemoryStore()), TTLWrapper)
    with pytest.raises(ConfigurationError, match="takes a store"):
        layer("memory://", TTLWrapper)
    with pytest.raises(ConfigurationError, match="takes a class"):
        layer(MemoryStore(), "ttl")  # type: ignore[arg-type]  # the fault that is tested


def test_the_largest_value_is_public():
    small, large = MemoryStore(max_bytes=100), MemoryStore(max_bytes=1000)
    assert MemoryStore().max_value_bytes is None
    assert TTLWrapper(small, default=5).max_value_bytes == 100
    assert LimitSizeWrapper(large, max_bytes=50).max_value_bytes == 50
    assert LimitSizeWrapper(small, max_bytes=5000).max_value_bytes == 100
    assert FallbackWrapper(large, small).max_value_bytes == 100
    assert FallbackWrapper(MemoryStore(), NullStore()).max_value_bytes is None
    assert SyncStore(small).max_value_bytes == 100
