from collections.abc import Iterator
from pathlib import Path

import pytest
from key_value.aio.stores.disk import DiskStore
from key_value.aio.stores.memory import MemoryStore

from satchel import Clock
from satchel.integrations.py_key_value import PyKeyValueStore, from_py_key_value
from satchel.testing import StoreConformance
from tests.off_the_loop import away_from_the_loop


@pytest.mark.long
class TestTheirMemoryStore(StoreConformance):
    def make_store(self, clock: Clock, place: Path) -> PyKeyValueStore:
        return from_py_key_value(MemoryStore(), clock=clock)


@pytest.mark.night
class TestTheirDiskStore(StoreConformance):
    persistent = True

    @pytest.fixture(autouse=True)
    def closing(self) -> Iterator[None]:
        self.opened: list[DiskStore] = []
        yield
        for theirs in self.opened:
            theirs._cache.close()  # the connection of this thread, which made it

    def make_store(self, clock: Clock, place: Path) -> PyKeyValueStore:
        with away_from_the_loop():  # their constructor opens its database, as a program does before its loop starts
            theirs = DiskStore(directory=place / "data")
        self.opened.append(theirs)
        return from_py_key_value(theirs, clock=clock)
