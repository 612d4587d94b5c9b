"""Classes by the schemes and wrapper names of URLs.

Other packages add theirs through the entry-point groups `satchel.stores` and `satchel.wrappers`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ConfigurationError, missing_extra, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

K = TypeVar("K")

STORES = {
    "memory": "satchel.stores.memory:MemoryStore",
    "null": "satchel.stores.null:NullStore",
    "disk": "satchel.stores.disk:DiskStore",
    "file": "satchel.stores.filetree:FileTreeStore",
    "zip": "satchel.stores.zip:ZipStore",
    "git": "satchel.stores.git:GitStore",
    "redis": "satchel.stores.redis:RedisStore",
    "rediss": "satchel.stores.redis:RedisStore",
    "unix": "satchel.stores.redis:RedisStore",
    "redis+cluster": "satchel.stores.redis:RedisStore",
    "redis+sentinel": "satchel.stores.redis:RedisStore",
    "valkey": "satchel.stores.valkey:ValkeyStore",
    "valkeys": "satchel.stores.valkey:ValkeyStore",
    "valkey+cluster": "satchel.stores.valkey:ValkeyStore",
    "valkeys+cluster": "satchel.stores.valkey:ValkeyStore",
    "memcached": "satchel.stores.memcached:MemcachedStore",
    "dynamodb": "satchel.stores.dynamodb:DynamoDBStore",
    "mongodb": "satchel.stores.mongodb:MongoDBStore",
    "mongodb+srv": "satchel.stores.mongodb:MongoDBStore",
    "elasticsearch": "satchel.stores.elasticsearch:ElasticsearchStore",
    "elasticsearch+https": "satchel.stores.elasticsearch:ElasticsearchStore",
    "postgresql": "satchel.stores.postgresql:PostgreSQLStore",
    "postgres": "satchel.stores.postgresql:PostgreSQLStore",
    "mysql": "satchel.stores.sql:SQLStore",
    "mysql+asyncmy": "satchel.stores.sql:SQLStore",
    "mariadb": "satchel.stores.sql:SQLStore",
    "mariadb+asyncmy": "satchel.stores.sql:SQLStore",
    "sqlite+aiosqlite": "satchel.stores.sql:SQLStore",
    "postgresql+asyncpg": "satchel.stores.sql:SQLStore",
    "nats": "satchel.stores.nats:NATSStore",
    "nats+tls": "satchel.stores.nats:NATSStore",
    "http": "satchel.stores.http:HTTPStore",
    "https": "satchel.stores.http:HTTPStore",
    "s3": "satchel.stores.objectstore:ObjectStore",
    "gs": "satchel.stores.objectstore:ObjectStore",
    "az": "satchel.stores.objectstore:ObjectStore",
}
BLOBS = {
    "file": "satchel.blobs.plain_files:FileBlobs",
    "s3": "satchel.blobs.objects:ObjectBlobs",
    "gs": "satchel.blobs.objects:ObjectBlobs",
    "az": "satchel.blobs.objects:ObjectBlobs",
}
"""Schemes whose blobs are not kept in a store."""
STORE_BLOBS = "satchel.blobs.store:StoreBlobs"
WRAPPERS = {
    "circuit_breaker": "satchel.wrappers.circuit_breaker:CircuitBreakerWrapper",
    "compression": "satchel.wrappers.compression:CompressionWrapper",
    "default_value": "satchel.wrappers.default_value:DefaultValueWrapper",
    "encryption": "satchel.wrappers.encryption:EncryptionWrapper",
    "events": "satchel.wrappers.events:EventsWrapper",
    "limit_size": "satchel.wrappers.limit_size:LimitSizeWrapper",
    "on_error": "satchel.wrappers.on_error:OnErrorWrapper",
    "logging": "satchel.wrappers.logging:LoggingWrapper",
    "near": "satchel.wrappers.tiered:NearCacheWrapper",
    "opentelemetry": "satchel.integrations.opentelemetry:OpenTelemetryWrapper",
    "prefix_collections": "satchel.wrappers.prefix_collections:PrefixCollectionsWrapper",
    "prefix_keys": "satchel.wrappers.prefix_keys:PrefixKeysWrapper",
    "read_only": "satchel.wrappers.read_only:ReadOnlyWrapper",
    "retry": "satchel.wrappers.retry:RetryWrapper",
    "sanitization": "satchel.wrappers.sanitization:SanitizationWrapper",
    "serializing": "satchel.wrappers.serializing:SerializingWrapper",
    "signing": "satchel.wrappers.signing:SigningWrapper",
    "single_collection": "satchel.wrappers.single_collection:SingleCollectionWrapper",
    "single_flight": "satchel.wrappers.single_flight:SingleFlightWrapper",
    "statistics": "satchel.wrappers.statistics:StatisticsWrapper",
    "timeout": "satchel.wrappers.timeout:TimeoutWrapper",
    "ttl": "satchel.wrappers.ttl:TTLWrapper",
}

_MEANT = {
    **dict.fromkeys(("sqlite", "sqlite3", "diskcache"), "disk"),
    **dict.fromkeys(("dir", "directory", "filesystem", "folder", "fs", "local"), "file"),
    **dict.fromkeys(("mem", "inmemory", "in-memory", "ram"), "memory"),
    **dict.fromkeys(("dummy", "noop"), "null"),
    **dict.fromkeys(("memcache", "memcaches"), "memcached"),
    **dict.fromkeys(("redis+ssl", "redis+tls"), "rediss"),
    **dict.fromkeys(("redis+socket", "redis+unix"), "unix"),
    **dict.fromkeys(("valkey+ssl", "valkey+tls"), "valkeys"),
    **dict.fromkeys(("dynamo", "dynamo-db"), "dynamodb"),
    **dict.fromkeys(("mongo", "mongodb+motor"), "mongodb"),
    **dict.fromkeys(("elastic", "es"), "elasticsearch"),
    **dict.fromkeys(("pg", "pgsql", "psql", "postgresql+psycopg", "postgresql+psycopg2"), "postgresql"),
    **dict.fromkeys(("mysql+aiomysql", "mysql+mysqldb", "mysql+pymysql"), "mysql"),
    **dict.fromkeys(("mariadb+aiomysql", "mariadb+mariadbconnector", "mariadb+pymysql"), "mariadb"),
    **dict.fromkeys(("sqlite+pysqlite",), "sqlite+aiosqlite"),
    **dict.fromkeys(("tls", "jetstream", "nats+ssl"), "nats+tls"),
    **dict.fromkeys(("s3a", "s3n"), "s3"),
    **dict.fromkeys(("gcs", "gcp"), "gs"),
    **dict.fromkeys(("abfs", "abfss", "adl", "azure", "wasb", "wasbs"), "az"),
}
"""Schemes of other libraries, with satchel's equivalents."""

found_names: dict[type, str] = {}
"""Names of classes that came from entry points."""


def find_store(scheme: str, base: type[K], *, shown: bool = True) -> type[K]:
    """Return the class of stores with a scheme.

    Args:
        scheme: The scheme.
        base: The required base class of a class from an entry point.
        shown: Whether messages may show the scheme; text that is not a URL may be a secret.

    Raises:
        ConfigurationError: There is none, or it is not derived from the base.
        MissingExtraError: Its driver is not installed.
    """
    return _find("scheme", scheme, base, STORES, "satchel.stores", shown=shown)


def find_wrapper(name: str, base: type[K]) -> type[K]:
    """Return the class of wrappers with a name; arguments and errors are those of `find_store`."""
    return _find("wrapper", name, base, WRAPPERS, "satchel.wrappers")


def is_wrapper(name: str) -> bool:
    """Return whether there is a wrapper with a name."""
    if name in WRAPPERS:
        return True
    from importlib.metadata import entry_points  # noqa: PLC0415  # it takes long to import, and few need it

    return any(point.name == name for point in entry_points(group="satchel.wrappers"))


def _find(what: str, name: str, base: type[K], table: dict[str, str], group: str, *, shown: bool = True) -> type[K]:
    if name in table:
        built_in: type[K] = load(table[name], name)
        return built_in
    from importlib.metadata import entry_points  # noqa: PLC0415  # it takes long to import, and few need it

    others = {point.name: point for point in entry_points(group=group)}
    if name not in others:
        if what == "scheme":
            raise _unknown_scheme(name, [*table, *others], shown=shown)
        raise unknown(what, name, [*table, *others])
    kind = _load(others[name], base)
    found_names[kind] = name
    return kind


def _unknown_scheme(scheme: str, known: list[str], *, shown: bool) -> ConfigurationError:
    meant = _MEANT.get(scheme)
    if meant is None:
        # Schemes are short: the similarity of redis and disk is above 0.6.
        return unknown("scheme", scheme, known, 0.7, shown=shown)
    return ConfigurationError(f"unknown scheme {scheme!r}; did you mean {meant!r}? Known: {', '.join(sorted(known))}")


def load(target: str, name: str) -> Any:
    """Return what is at `module:attribute`; if its driver is not installed, raise `MissingExtraError`."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "satchel":
            raise
        raise missing_extra(name, module.rpartition(".")[2], error) from error


def _load(point: EntryPoint, base: type[K]) -> type[K]:
    try:
        kind = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{point.name} names {point.value}, which cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ConfigurationError(f"{point.name} names {point.value}, which is not a BaseStore or BaseWrapper")
    return kind
