"""TODO-DOC satchel.sync."""

from .collection import SyncCollection
from .store import SyncStore

__all__ = ["SyncCollection", "SyncStore"]
