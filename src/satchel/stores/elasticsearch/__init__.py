"""Store over an Elasticsearch index."""

from .store import ElasticsearchStore

__all__ = ["ElasticsearchStore"]
