"""Stores from URLs, and descriptions of stores as URLs."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .open import OpenedStore, open_store

__all__ = ["OpenedStore", "open_store"]


def __getattr__(name: str) -> object:
    # Every store imports this package to describe itself, and few programs open one by its URL.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".open", __name__), name)
