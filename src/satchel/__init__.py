"""satchel: an asyncio-first key-value library.

One protocol, `AsyncKeyValue`, and stores that keep it:

```python
from satchel import MemoryStore

store = MemoryStore()
await store.put("users", "ada", {"name": "Ada Lovelace"}, ttl=3600)
await store.get("users", "ada")
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .base import BaseStore
from .capability import Capability, require
from .clock import TTL, Clock
from .codec import Codec, JsonCodec, MessagePackCodec, SignedPickleCodec
from .collection import Collection
from .entry import Entry
from .errors import (
    BatchError,
    CircuitOpenError,
    ConfigurationError,
    ConflictError,
    DecryptionError,
    IntegrityError,
    InvalidKeyError,
    InvalidTTLError,
    KeyMissingError,
    LockLostError,
    MissingExtraError,
    ModelMismatchError,
    QueueFullError,
    ReadOnlyError,
    SatchelError,
    SerializationError,
    StoreClosedError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    UnsupportedOperationError,
    ValueTooLargeError,
)
from .keyed import KeyedStore
from .protocol import (
    AsyncKeyValue,
    SupportsConditional,
    SupportsCull,
    SupportsDestroyCollection,
    SupportsDestroyStore,
    SupportsEnumerateCollections,
    SupportsEnumerateKeys,
    SupportsEverything,
)
from .stores.memory import MemoryStore
from .stores.null import NullStore
from .url import open_store

if TYPE_CHECKING:
    from .stores.disk import DiskStore
    from .stores.filetree import FileTreeStore

__version__ = "0.1.0"

__all__ = [
    "TTL",
    "AsyncKeyValue",
    "BaseStore",
    "BatchError",
    "Capability",
    "CircuitOpenError",
    "Clock",
    "Codec",
    "Collection",
    "ConfigurationError",
    "ConflictError",
    "DecryptionError",
    "DiskStore",
    "Entry",
    "FileTreeStore",
    "IntegrityError",
    "InvalidKeyError",
    "InvalidTTLError",
    "JsonCodec",
    "KeyMissingError",
    "KeyedStore",
    "LockLostError",
    "MemoryStore",
    "MessagePackCodec",
    "MissingExtraError",
    "ModelMismatchError",
    "NullStore",
    "QueueFullError",
    "ReadOnlyError",
    "SatchelError",
    "SerializationError",
    "SignedPickleCodec",
    "StoreClosedError",
    "StoreError",
    "StoreTimeoutError",
    "StoreUnavailableError",
    "SupportsConditional",
    "SupportsCull",
    "SupportsDestroyCollection",
    "SupportsDestroyStore",
    "SupportsEnumerateCollections",
    "SupportsEnumerateKeys",
    "SupportsEverything",
    "UnsupportedOperationError",
    "ValueTooLargeError",
    "open_store",
    "require",
]

_STORES_WITH_DRIVERS = {"DiskStore": ".stores.disk", "FileTreeStore": ".stores.filetree"}


def __getattr__(name: str) -> object:
    """Import a store that brings a driver along when it is first asked for."""
    if name in _STORES_WITH_DRIVERS:
        return getattr(import_module(_STORES_WITH_DRIVERS[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
