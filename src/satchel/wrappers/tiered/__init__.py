"""`TieredStore`: a fast store in front of a large one."""

from .store import TieredStore

__all__ = ["TieredStore"]
