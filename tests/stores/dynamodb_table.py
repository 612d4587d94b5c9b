"""Stores over the local DynamoDB of the test run. Its tables are in memory, and go with it."""

from typing import Any

from satchel.stores.dynamodb import DynamoDBStore
from tests.servers import server_url

ANY_CREDENTIALS = {"region_name": "eu-west-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}


def local_store(table_name: str, **options: Any) -> DynamoDBStore:
    return DynamoDBStore(table_name, **{"endpoint_url": server_url("dynamodb"), **ANY_CREDENTIALS, **options})
