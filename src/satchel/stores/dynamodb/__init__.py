"""TODO-DOC satchel.stores.dynamodb."""

from .store import DynamoDBStore

__all__ = ["DynamoDBStore"]
