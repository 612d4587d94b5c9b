from pathlib import Path
from urllib.parse import urlsplit

import pytest

from satchel import Clock
from satchel.stores.memcached import MemcachedStore
from satchel.testing import StoreConformance
from tests.servers import server_url

pytestmark = pytest.mark.server("memcached")


class TestMemcachedStore(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> MemcachedStore:
        return MemcachedStore(port=urlsplit(server_url("memcached")).port, prefix=place.name, clock=clock)
