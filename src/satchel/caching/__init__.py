"""`cached` and `cached_many`: decorators that keep the results of an async function in a store."""

from .decorator import Cached, cached
from .keys import canonical
from .many import CachedMany, cached_many

__all__ = ["Cached", "CachedMany", "cached", "cached_many", "canonical"]
