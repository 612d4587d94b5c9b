"""TODO-DOC satchel.wrappers.tiered."""

from .store import TieredStore

__all__ = ["TieredStore"]
