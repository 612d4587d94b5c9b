"""TODO-DOC satchel.stores.memcached."""

from .store import MemcachedStore

__all__ = ["MemcachedStore"]
