"""What the tests of sessions begin with: a store in memory that counts its calls, on a clock that they set."""

import pytest

from satchel.testing import FakeClock
from tests.scripted import BatchStore


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return BatchStore(clock=clock)
