"""The file tree store keeps every promise."""

from pathlib import Path

from satchel.stores.filetree import FileTreeStore
from satchel.testing import FakeClock, StoreConformance


class TestFileTreeStore(StoreConformance):
    persistent = True

    def make_store(self, clock: FakeClock, place: Path) -> FileTreeStore:
        return FileTreeStore(place, clock=clock)
