"""Store over a table of any SQL database that SQLAlchemy reaches with an async driver."""

from .store import SQLStore

__all__ = ["SQLStore"]
