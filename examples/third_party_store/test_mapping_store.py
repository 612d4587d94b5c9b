from pathlib import Path
from typing import ClassVar

from mapping_store import MappingStore

from satchel.testing import FakeClock, StoreConformance


class TestMappingStore(StoreConformance):
    persistent = True
    places: ClassVar[dict[Path, dict[bytes, bytes]]] = {}

    def make_store(self, clock: FakeClock, place: Path) -> MappingStore:
        return MappingStore(self.places.setdefault(place, {}), clock=clock)
