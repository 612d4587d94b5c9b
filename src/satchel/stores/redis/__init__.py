"""TODO-DOC satchel.stores.redis."""

from .store import RedisStore

__all__ = ["RedisStore"]
