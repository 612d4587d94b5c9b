"""A PostgreSQL primary that is lost, and its standby that takes its place."""

import pytest

from satchel.stores.postgresql import PostgreSQLStore
from tests.clusters import loop
from tests.clusters.postgresql_pair import PostgreSQLPair

TIMEOUT = 3.0
LIMIT = 3 * TIMEOUT + 3
"""A call waits for one request before its own, for its turn, and for what has to be cut off."""
SOCKETS = 5

pytestmark = [pytest.mark.server("postgresql"), pytest.mark.night, pytest.mark.timeout(loop.SECONDS + 180)]


async def lose_primaries(*, synchronous: bool) -> loop.Report:
    with PostgreSQLPair(synchronous=synchronous) as cluster:
        report = await loop.run(
            cluster,
            lambda: PostgreSQLStore(url=cluster.url, timeout=TIMEOUT),
            loop.SECONDS,
            limit=LIMIT,
            sockets=SOCKETS,
        )
    print(report)  # noqa: T201  # for those who watch
    assert not report.strangers
    assert not report.wrong
    assert report.longest < LIMIT
    return report


async def test_nothing_is_lost_with_a_synchronous_standby():
    report = await lose_primaries(synchronous=True)
    assert not any(sum(lost) for lost in report.lost.values())


async def test_an_asynchronous_standby_takes_over():
    await lose_primaries(synchronous=False)
