"""TODO-DOC satchel.stores.postgresql."""

from .store import PostgreSQLStore

__all__ = ["PostgreSQLStore"]
