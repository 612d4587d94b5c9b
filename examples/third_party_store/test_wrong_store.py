"""Fails: the suite finds both mistakes."""

from pathlib import Path
from typing import ClassVar

from wrong_store import WrongStore

from satchel.testing import FakeClock, StoreConformance


class TestWrongStore(StoreConformance):
    persistent = True
    places: ClassVar[dict[Path, dict[bytes, bytes]]] = {}

    def make_store(self, clock: FakeClock, place: Path) -> WrongStore:
        return WrongStore(self.places.setdefault(place, {}), clock=clock)
