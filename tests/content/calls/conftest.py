import pytest

from satchel import MemoryStore
from satchel.content import Calls, ContentStore
from satchel.testing import FakeClock
from tests.content.calls import functions


@pytest.fixture
def clock():
    return FakeClock(1_767_225_600.0)


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def calls(store, clock):
    return Calls(ContentStore(store, clock=clock), clock=clock)


@pytest.fixture
def ran():
    functions.RAN.clear()
    return functions.RAN
