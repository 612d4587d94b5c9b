"""Stores from URLs, and descriptions of stores as URLs."""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports

if TYPE_CHECKING:
    from .blobs import OpenedBlobs, open_blobs
    from .open import OpenedStore, open_store

__all__ = ["OpenedBlobs", "OpenedStore", "open_blobs", "open_store"]

# Every store imports this package to describe itself, and few programs open one by its URL.
__getattr__, __dir__ = lazy_exports(
    __name__, {"OpenedBlobs": "blobs", "OpenedStore": "open", "open_blobs": "blobs", "open_store": "open"}
)
