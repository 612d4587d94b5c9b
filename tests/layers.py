"""The stores over which the conformance suite of a layer runs: mixins, each for one kind of store."""

import pytest

from satchel import DiskStore, DynamoDBStore, MemoryStore, PostgreSQLStore, RedisStore
from tests.servers import server_url


class OnMemory:
    def make_store(self, clock, place):
        return MemoryStore(clock=clock)


class OnDisk:
    persistent = True

    def make_store(self, clock, place):
        return DiskStore(place, clock=clock)


@pytest.mark.server("redis")
class OnRedis:
    persistent = True

    def make_store(self, clock, place):
        return RedisStore(server_url("redis"), prefix=place.name, clock=clock)


@pytest.mark.night
@pytest.mark.server("postgresql")
class OnPostgreSQL:
    persistent = True

    def make_store(self, clock, place):
        return PostgreSQLStore(url=server_url("postgresql"), table_name=place.name.replace("-", "_"), clock=clock)


@pytest.mark.night
@pytest.mark.server("dynamodb")
class OnDynamoDB:
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
