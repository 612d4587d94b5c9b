from satchel import MemoryStore
from satchel.testing import StoreConformance


class TestMemoryStore(StoreConformance):
    def make_store(self, clock, place):
        return MemoryStore(clock=clock)


class TestBoundedMemoryStore(StoreConformance):
    def make_store(self, clock, place):
        return MemoryStore(clock=clock, max_entries_per_collection=10_000, max_bytes=50_000_000)
