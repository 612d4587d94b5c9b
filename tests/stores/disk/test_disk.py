from pathlib import Path

import pytest

from satchel import Clock
from satchel.stores.disk import DiskStore
from satchel.testing import StoreConformance


class TestDiskStore(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> DiskStore:
        return DiskStore(place / "disk", clock=clock)


@pytest.mark.long
class TestDiskStoreWithoutCache(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> DiskStore:
        return DiskStore(place / "disk", clock=clock, cache_size=0)
