"""What the tests of coordination begin with: a store in memory, on a clock that they set."""

import pytest

from satchel import MemoryStore
from satchel.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)
