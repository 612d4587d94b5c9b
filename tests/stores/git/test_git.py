"""The git store keeps every promise."""

from pathlib import Path

import pytest

from satchel.stores.git import GitStore
from satchel.testing import FakeClock, StoreConformance


@pytest.mark.long
@pytest.mark.timeout(240)  # each write is a commit
class TestGitStore(StoreConformance):
    persistent = True

    def make_store(self, clock: FakeClock, place: Path) -> GitStore:
        return GitStore(place, clock=clock)
