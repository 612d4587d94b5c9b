"""TODO-DOC satchel.stores.objectstore."""

from .store import ObjectStore

__all__ = ["ObjectStore"]
