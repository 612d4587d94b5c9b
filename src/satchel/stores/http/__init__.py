"""Store over the REST interface of another process."""

from .store import HTTPStore

__all__ = ["HTTPStore"]
