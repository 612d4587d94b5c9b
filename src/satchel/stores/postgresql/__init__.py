"""Store over a PostgreSQL table."""

from .store import PostgreSQLStore

__all__ = ["PostgreSQLStore"]
