"""Store over a DynamoDB table."""

from .store import DynamoDBStore

__all__ = ["DynamoDBStore"]
