"""TODO-DOC satchel.stores.mongodb."""

from .store import MongoDBStore

__all__ = ["MongoDBStore"]
