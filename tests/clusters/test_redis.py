"""Redis clusters of six nodes that lose their masters."""

from collections.abc import Sequence

import pytest

from satchel.stores.redis import RedisStore
from scripts.test_servers.kinds import redis82_command
from tests.clusters import loop
from tests.clusters.nodes import Fault
from tests.clusters.redis_cluster import RedisCluster

TIMEOUT = 2.0
LIMIT = 3 * TIMEOUT + 1
"""A call waits for one request before its own, and for its turn."""
SOCKETS = 6 * 4

pytestmark = pytest.mark.server("redis-cluster")


async def lose_masters(
    seconds: float, *options: str, faults: Sequence[Fault] | None = None, serves: float = 0.0
) -> loop.Report:
    with RedisCluster("redis", redis82_command(), *options) as cluster:
        if faults and not cluster.can_cut:
            return loop.Report()
        report = await loop.run(
            cluster,
            lambda: RedisStore(cluster.url, timeout=TIMEOUT),
            seconds,
            limit=LIMIT,
            sockets=SOCKETS,
            faults=faults,
            serves=serves,
        )
    print(*options, report)  # noqa: T201  # for those who watch
    assert not report.strangers
    assert not report.wrong
    assert report.longest < LIMIT
    return report


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_cluster_goes_on_without_a_master():
    await lose_masters(20)


@pytest.mark.night
@pytest.mark.timeout(loop.SECONDS + 180)
async def test_a_cluster_that_loses_one_master_after_the_other():
    await lose_masters(loop.SECONDS)


@pytest.mark.night
@pytest.mark.timeout(loop.SECONDS + 180)
@pytest.mark.parametrize("options", [(), ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")])
async def test_a_master_that_is_alone_with_its_clients(options: Sequence[str]):
    # What it acknowledges until it notices is lost: the engine promises no more, and the report says how much it was.
    await lose_masters(
        loop.SECONDS, "--cluster-node-timeout", "5000", *options, faults=["alone with its clients"], serves=4.9
    )
