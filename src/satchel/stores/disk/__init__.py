"""TODO-DOC satchel.stores.disk."""

from .store import DiskStore

__all__ = ["DiskStore"]
