"""Store over a branch of a git repository."""

from .store import GitStore, Revision

__all__ = ["GitStore", "Revision"]
