"""Sessions over stores of every kind."""

import pytest

from satchel import DiskStore, DynamoDBStore, MemoryStore, PostgreSQLStore, RedisStore
from satchel.testing import SessionConformance
from tests.servers import server_url


class TestMemory(SessionConformance):
    def make_store(self, clock, place):
        return MemoryStore(clock=clock)


class TestDisk(SessionConformance):
    persistent = True

    def make_store(self, clock, place):
        return DiskStore(place, clock=clock)


@pytest.mark.server("redis")
class TestRedis(SessionConformance):
    persistent = True

    def make_store(self, clock, place):
        return RedisStore(server_url("redis"), prefix=place.name, clock=clock)


@pytest.mark.night
@pytest.mark.server("postgresql")
class TestPostgreSQL(SessionConformance):
    persistent = True

    def make_store(self, clock, place):
        return PostgreSQLStore(url=server_url("postgresql"), table_name=place.name.replace("-", "_"), clock=clock)


@pytest.mark.night
@pytest.mark.server("dynamodb")
class TestDynamoDB(SessionConformance):
    persistent = True

    def make_store(self, clock, place):
        return DynamoDBStore(
            place.name,
            create_table=True,
            clock=clock,
            endpoint_url=server_url("dynamodb"),
            region_name="eu-west-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
