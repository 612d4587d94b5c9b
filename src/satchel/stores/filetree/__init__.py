"""Store over a tree of readable files."""

from .store import FileTreeStore

__all__ = ["FileTreeStore"]
