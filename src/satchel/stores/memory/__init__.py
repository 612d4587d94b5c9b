"""TODO-DOC satchel.stores.memory."""

from .store import MemoryStore

__all__ = ["MemoryStore"]
