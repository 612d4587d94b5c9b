"""Store over a MongoDB collection."""

from .store import MongoDBStore

__all__ = ["MongoDBStore"]
