"""Caching and tags over stores of every kind."""

import pytest

from satchel import DiskStore, DynamoDBStore, MemoryStore, PostgreSQLStore, RedisStore
from satchel.testing import CachingConformance
from tests.servers import server_url


class TestMemory(CachingConformance):
    def make_store(self, clock, place):
        return MemoryStore()


class TestDisk(CachingConformance):
    persistent = True

    def make_store(self, clock, place):
        return DiskStore(place)


@pytest.mark.server("redis")
class TestRedis(CachingConformance):
    persistent = True

    def make_store(self, clock, place):
        return RedisStore(server_url("redis"), prefix=place.name)


@pytest.mark.night
@pytest.mark.server("postgresql")
class TestPostgreSQL(CachingConformance):
    persistent = True

    def make_store(self, clock, place):
        return PostgreSQLStore(url=server_url("postgresql"), table_name=place.name.replace("-", "_"))


@pytest.mark.night
@pytest.mark.server("dynamodb")
class TestDynamoDB(CachingConformance):
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
