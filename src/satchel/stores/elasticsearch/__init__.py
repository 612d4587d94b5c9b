"""TODO-DOC satchel.stores.elasticsearch."""

from .store import ElasticsearchStore

__all__ = ["ElasticsearchStore"]
