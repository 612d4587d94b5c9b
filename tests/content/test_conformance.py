"""Content over stores of every kind."""

from satchel.testing import ContentConformance
from tests.layers import OnDisk, OnDynamoDB, OnMemory, OnPostgreSQL, OnRedis


class TestMemory(OnMemory, ContentConformance):
    pass


class TestDisk(OnDisk, ContentConformance):
    pass


class TestRedis(OnRedis, ContentConformance):
    pass


class TestPostgreSQL(OnPostgreSQL, ContentConformance):
    pass


class TestDynamoDB(OnDynamoDB, ContentConformance):
    pass
