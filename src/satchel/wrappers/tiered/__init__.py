"""`TieredStore`: a fast store in front of a large one, and `NearCacheWrapper`: memory in front of any."""

from .near import NearCacheWrapper
from .store import TieredStore

__all__ = ["NearCacheWrapper", "TieredStore"]
