"""Caching and tags over stores of every kind."""

from satchel.testing import CachingConformance
from tests.layers import OnDisk, OnDynamoDB, OnMemory, OnPostgreSQL, OnRedis


class TestMemory(OnMemory, CachingConformance):
    pass


class TestDisk(OnDisk, CachingConformance):
    pass


class TestRedis(OnRedis, CachingConformance):
    pass


class TestPostgreSQL(OnPostgreSQL, CachingConformance):
    pass


class TestDynamoDB(OnDynamoDB, CachingConformance):
    pass
