"""Recorded calls over stores of every kind."""

from satchel.testing import CallsConformance
from tests.layers import OnDisk, OnDynamoDB, OnMemory, OnPostgreSQL, OnRedis


class TestMemory(OnMemory, CallsConformance):
    pass


class TestDisk(OnDisk, CallsConformance):
    pass


class TestRedis(OnRedis, CallsConformance):
    pass


class TestPostgreSQL(OnPostgreSQL, CallsConformance):
    pass


class TestDynamoDB(OnDynamoDB, CallsConformance):
    pass
