"""Valkey clusters of six nodes that lose their masters."""

import pytest

from satchel.stores.valkey import ValkeyStore
from scripts.test_servers.kinds import valkey_command
from tests.clusters import loop
from tests.clusters.redis_cluster import RedisCluster

TIMEOUT = 2.0
LIMIT = 4 * TIMEOUT
"""A call waits for one request before its own, and for its turn."""
SOCKETS = 6 * 4

pytestmark = [pytest.mark.server("valkey-cluster"), pytest.mark.night, pytest.mark.timeout(loop.SECONDS + 180)]


async def test_a_cluster_that_loses_one_master_after_the_other():
    with RedisCluster("valkey", valkey_command()) as cluster:
        report = await loop.run(
            cluster,
            lambda: ValkeyStore(cluster.url, timeout=TIMEOUT),
            loop.SECONDS,
            limit=LIMIT,
            sockets=SOCKETS,
        )
    print(report)  # noqa: T201  # for those who watch
    assert not report.strangers
    assert not report.wrong
    assert report.longest < LIMIT
