"""Blobs over stores of every kind."""

from satchel.testing import BlobConformance
from tests.layers import OnDisk, OnDynamoDB, OnMemory, OnPostgreSQL, OnRedis


class TestMemory(OnMemory, BlobConformance):
    pass


class TestDisk(OnDisk, BlobConformance):
    pass


class TestRedis(OnRedis, BlobConformance):
    pass


class TestPostgreSQL(OnPostgreSQL, BlobConformance):
    pass


class TestDynamoDB(OnDynamoDB, BlobConformance):
    pass
