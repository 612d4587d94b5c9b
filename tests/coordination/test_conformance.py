"""Coordination over stores of every kind."""

from satchel.testing import CoordinationConformance
from tests.layers import OnDisk, OnDynamoDB, OnMemory, OnPostgreSQL, OnRedis


class TestMemory(OnMemory, CoordinationConformance):
    pass


class TestDisk(OnDisk, CoordinationConformance):
    pass


class TestRedis(OnRedis, CoordinationConformance):
    pass


class TestPostgreSQL(OnPostgreSQL, CoordinationConformance):
    pass


class TestDynamoDB(OnDynamoDB, CoordinationConformance):
    pass
