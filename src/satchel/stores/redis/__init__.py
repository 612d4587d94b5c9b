"""Store over Redis: one server, servers behind Sentinel, or a cluster."""

from .store import RedisStore

__all__ = ["RedisStore"]
