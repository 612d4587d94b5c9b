"""Store over a SQLite database in a directory."""

from .store import DiskStore

__all__ = ["DiskStore"]
