from pathlib import Path

import pytest

from satchel import Clock, open_store
from satchel.testing import StoreConformance
from tests.servers import server_url

pytestmark = pytest.mark.server("s3")


class TestObjectStore(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path):
        return open_store(server_url("s3"), prefix=place.name, clock=clock)
