"""A NATS cluster of three that loses the leader of its stream."""

from contextlib import suppress

import pytest

from satchel import StoreError
from satchel.stores.nats import NATSStore
from tests.clusters import loop
from tests.clusters.nats_cluster import NATSCluster

TIMEOUT = 3.0
LIMIT = 4 * TIMEOUT
"""A call waits for its turn among those of its key."""
SOCKETS = 1

pytestmark = [pytest.mark.server("nats"), pytest.mark.night, pytest.mark.timeout(loop.SECONDS + 180)]


async def make_bucket(url: str) -> None:
    """Make the bucket; requests are lost while a new cluster chooses its leaders."""
    for _ in range(20):
        with suppress(StoreError):
            async with NATSStore(url, bucket="fleet", replicas=3, timeout=TIMEOUT) as store:
                await store.put("warm", "up", 1)
                return
    raise AssertionError("the new cluster takes no bucket")


async def test_nothing_is_lost_with_three_replicas():
    with NATSCluster("fleet") as cluster:
        await make_bucket(cluster.url)
        report = await loop.run(
            cluster,
            lambda: NATSStore(cluster.url, bucket="fleet", replicas=3, timeout=TIMEOUT),
            loop.SECONDS,
            limit=LIMIT,
            sockets=SOCKETS,
            stale_reads=True,  # of a former leader
        )
    print(f"{report}\nstuck servers that were started anew: {cluster.started_anew}")  # noqa: T201  # for those who watch
    assert not report.strangers
    assert not report.wrong
    assert not any(sum(lost) for lost in report.lost.values())
    assert report.longest < LIMIT
