"""Sessions over stores of every kind."""

from satchel.testing import SessionConformance
from tests.layers import OnDisk, OnDynamoDB, OnMemory, OnPostgreSQL, OnRedis


class TestMemory(OnMemory, SessionConformance):
    pass


class TestDisk(OnDisk, SessionConformance):
    pass


class TestRedis(OnRedis, SessionConformance):
    pass


class TestPostgreSQL(OnPostgreSQL, SessionConformance):
    pass


class TestDynamoDB(OnDynamoDB, SessionConformance):
    pass
