"""Coordination over stores of every kind."""

import pytest

from satchel import DiskStore, DynamoDBStore, MemoryStore, PostgreSQLStore, RedisStore
from satchel.testing import CoordinationConformance
from tests.servers import server_url


class TestMemory(CoordinationConformance):
    def make_store(self, clock, place):
        return MemoryStore()


class TestDisk(CoordinationConformance):
    persistent = True

    def make_store(self, clock, place):
        return DiskStore(place)


@pytest.mark.server("redis")
class TestRedis(CoordinationConformance):
    persistent = True

    def make_store(self, clock, place):
        return RedisStore(server_url("redis"), prefix=place.name)


@pytest.mark.night
@pytest.mark.server("postgresql")
class TestPostgreSQL(CoordinationConformance):
    persistent = True

    def make_store(self, clock, place):
        return PostgreSQLStore(url=server_url("postgresql"), table_name=place.name.replace("-", "_"))


@pytest.mark.night
@pytest.mark.server("dynamodb")
class TestDynamoDB(CoordinationConformance):
    persistent = True

    def make_store(self, clock, place):
        return DynamoDBStore(
            place.name,
            create_table=True,
            endpoint_url=server_url("dynamodb"),
            region_name="eu-west-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
