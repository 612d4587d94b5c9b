"""TODO-DOC satchel.stores.filetree."""

from .store import FileTreeStore

__all__ = ["FileTreeStore"]
