from pathlib import Path

import pytest

from satchel import Clock
from satchel.stores.elasticsearch import ElasticsearchStore
from satchel.testing import StoreConformance
from tests.stores.elasticsearch.indices import indices_go, looking, make_store  # noqa: F401  # fixtures

pytestmark = [pytest.mark.server("elasticsearch"), pytest.mark.filterwarnings("ignore:Sending a large body")]


class TestEmulatedElasticsearchStore(StoreConformance):
    persistent = True

    def make_store(self, clock: Clock, place: Path) -> ElasticsearchStore:
        return make_store(place.name, clock=clock)
