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

from typing import TYPE_CHECKING

from ._lazy import lazy_exports
from .capability import Capability
from .change import Change
from .clock import TTL, Clock
from .entry import Entry
from .errors import (
    BatchError,
    BlobChangedError,
    BlobExistsError,
    BlobMissingError,
    CircuitOpenError,
    ConfigurationError,
    ConflictError,
    DecryptionError,
    DigestError,
    IntegrityError,
    InvalidKeyError,
    InvalidSettingError,
    InvalidTTLError,
    KeyMissingError,
    LockLostError,
    MissingExtraError,
    MissingSettingError,
    ModeError,
    ModelMismatchError,
    QueueFullError,
    ReadOnlyError,
    ResultUnknownError,
    SatchelError,
    SerializationError,
    SessionGoneError,
    SessionLockedError,
    SettingCycleError,
    SettingError,
    StoreClosedError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    UnsupportedOperationError,
    UploadLostError,
    ValueTooLargeError,
)
from .protocol import (
    AsyncKeyValue,
    SupportsConditional,
    SupportsCull,
    SupportsDestroyCollection,
    SupportsDestroyStore,
    SupportsEnumerateCollections,
    SupportsEnumerateKeys,
    SupportsEverything,
    SupportsWatch,
    require,
)

if TYPE_CHECKING:
    from .backend.base import BaseStore
    from .backend.keyed import KeyedStore
    from .caching import Cached, CachedMany, cached, cached_many
    from .codec import AutoCodec, Codec, JsonCodec, MessagePackCodec, SignedPickleCodec
    from .collection import Collection
    from .copying import CopyFailure, CopyReport, StoreDifference, check_stores, copy_store
    from .stores.disk import DiskStore
    from .stores.dynamodb import DynamoDBStore as DynamoDBStore
    from .stores.elasticsearch import ElasticsearchStore as ElasticsearchStore
    from .stores.filetree import FileTreeStore
    from .stores.git import GitStore as GitStore
    from .stores.http import HTTPStore as HTTPStore
    from .stores.memcached import MemcachedStore as MemcachedStore
    from .stores.memory import MemoryStore
    from .stores.mongodb import MongoDBStore as MongoDBStore
    from .stores.nats import NATSStore as NATSStore
    from .stores.null import NullStore
    from .stores.objectstore import ObjectStore as ObjectStore
    from .stores.postgresql import PostgreSQLStore as PostgreSQLStore
    from .stores.redis import RedisStore as RedisStore
    from .stores.sql import SQLStore as SQLStore
    from .stores.valkey import ValkeyStore as ValkeyStore
    from .stores.zip import ZipStore, ZipWriter, write_zip
    from .sync import SyncCollection, SyncStore
    from .tags import Tags
    from .url import open_blobs, open_store

__version__ = "0.1.0"

__all__ = [
    "TTL",
    "AsyncKeyValue",
    "AutoCodec",
    "BaseStore",
    "BatchError",
    "BlobChangedError",
    "BlobExistsError",
    "BlobMissingError",
    "Cached",
    "CachedMany",
    "Capability",
    "Change",
    "CircuitOpenError",
    "Clock",
    "Codec",
    "Collection",
    "ConfigurationError",
    "ConflictError",
    "CopyFailure",
    "CopyReport",
    "DecryptionError",
    "DigestError",
    "DiskStore",
    "Entry",
    "FileTreeStore",
    "IntegrityError",
    "InvalidKeyError",
    "InvalidSettingError",
    "InvalidTTLError",
    "JsonCodec",
    "KeyMissingError",
    "KeyedStore",
    "LockLostError",
    "MemoryStore",
    "MessagePackCodec",
    "MissingExtraError",
    "MissingSettingError",
    "ModeError",
    "ModelMismatchError",
    "NullStore",
    "QueueFullError",
    "ReadOnlyError",
    "ResultUnknownError",
    "SatchelError",
    "SerializationError",
    "SessionGoneError",
    "SessionLockedError",
    "SettingCycleError",
    "SettingError",
    "SignedPickleCodec",
    "StoreClosedError",
    "StoreDifference",
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
    "SupportsWatch",
    "SyncCollection",
    "SyncStore",
    "Tags",
    "UnsupportedOperationError",
    "UploadLostError",
    "ValueTooLargeError",
    "ZipStore",
    "ZipWriter",
    "cached",
    "cached_many",
    "check_stores",
    "copy_store",
    "open_blobs",
    "open_store",
    "require",
    "write_zip",
]

# What is imported when it is first asked for, with its driver: a program pays for the stores that it uses. Stores with
# drivers of their own are not in __all__: a star import must not need them all.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AutoCodec": "codec",
        "BaseStore": "backend.base",
        "Cached": "caching",
        "cached": "caching",
        "CachedMany": "caching",
        "cached_many": "caching",
        "Codec": "codec",
        "check_stores": "copying",
        "Collection": "collection",
        "copy_store": "copying",
        "CopyFailure": "copying",
        "CopyReport": "copying",
        "DiskStore": "stores.disk",
        "DynamoDBStore": "stores.dynamodb",
        "ElasticsearchStore": "stores.elasticsearch",
        "FileTreeStore": "stores.filetree",
        "HTTPStore": "stores.http",
        "JsonCodec": "codec",
        "KeyedStore": "backend.keyed",
        "GitStore": "stores.git",
        "MemcachedStore": "stores.memcached",
        "MemoryStore": "stores.memory",
        "MessagePackCodec": "codec",
        "MongoDBStore": "stores.mongodb",
        "NATSStore": "stores.nats",
        "NullStore": "stores.null",
        "ObjectStore": "stores.objectstore",
        "open_blobs": "url",
        "open_store": "url",
        "PostgreSQLStore": "stores.postgresql",
        "RedisStore": "stores.redis",
        "SignedPickleCodec": "codec",
        "SQLStore": "stores.sql",
        "StoreDifference": "copying",
        "SyncCollection": "sync",
        "SyncStore": "sync",
        "Tags": "tags",
        "ValkeyStore": "stores.valkey",
        "write_zip": "stores.zip",
        "ZipStore": "stores.zip",
        "ZipWriter": "stores.zip",
    },
)
