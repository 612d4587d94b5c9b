"""Store over buckets of objects: S3, Google Cloud Storage, Azure."""

from .store import ObjectStore

__all__ = ["ObjectStore"]
