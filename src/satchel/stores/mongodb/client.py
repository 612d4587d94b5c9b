"""The client of a `MongoDBStore`: made from a URL, or the caller's own, PyMongo's or Motor's.

Whatever else the store calls is named alike and awaited alike in both.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from ..._threads import offload
from ..._url_parts import check_options, split_url
from ...backend.lifecycle import close_at_end_of_loop
from ...errors import ConfigurationError, safe_repr

Client = AsyncMongoClient[dict[str, Any]]

_SRV = "mongodb+srv://"
_DB_NAME = re.compile(r'[^/\\. "$*<>:|?\0]{1,63}')
_COLL_NAME = re.compile(r"(?!system\.)[^$.\0]+(\.[^$.\0]+)*")
_LONGEST_DB_NAME = 63
_READ_PREFERENCE = "readPreference"
_LONGEST = 235  # in bytes; MongoDB has 255 for both names and what it appends
_FORM = "mongodb://user:password@host:port/database?option=value"
_MISSPELT = f"url must have the form {_FORM}, with : / ? # [ ] @ in the user name and password percent-encoded"

DRIVER_OPTIONS = frozenset(
    {
        *("appName", "authMechanism", "authMechanismProperties", "authSource", "compressors", "connectTimeoutMS"),
        *("directConnection", "heartbeatFrequencyMS", "journal", "loadBalanced", "localThresholdMS", "maxConnecting"),
        *("maxIdleTimeMS", "maxPoolSize", "minPoolSize", "proxyHost", "proxyPassword", "proxyPort", "proxyUsername"),
        *("readConcernLevel", "replicaSet", "retryReads", "retryWrites", "serverMonitoringMode"),
        *("serverSelectionTimeoutMS", "socketTimeoutMS", "srvMaxHosts", "srvServiceName", "tls"),
        *(
            "tlsAllowInvalidCertificates",
            "tlsAllowInvalidHostnames",
            "tlsCAFile",
            "tlsCRLFile",
            "tlsCertificateKeyFile",
        ),
        *("tlsCertificateKeyFilePassword", "tlsDisableOCSPEndpointCheck", "tlsInsecure", "w", "waitQueueTimeoutMS"),
        *("wTimeoutMS", "wtimeoutMS", "zlibCompressionLevel", "ssl"),
    }
)
"""Options of a MongoDB URL that reach the driver. `readPreference` is not among them: reads go to the primary."""


def check_url(url: object) -> str | None:
    """Return the database that a URL names, if it does.

    Raises:
        ConfigurationError: It is not a URL of MongoDB's, or has an option that a store cannot work with.
    """
    if not isinstance(url, str) or not url.startswith(("mongodb://", _SRV)):
        raise ConfigurationError(f"url must be a str such as {_FORM}, or with mongodb+srv")
    parts, _ = split_url(url)
    options = _options(parts.query)
    # Without +srv, or the driver would ask for the servers now.
    found = _parsed("mongodb://" + url.removeprefix(_SRV) if url.startswith(_SRV) else url)
    if found is None:
        # One by one, rather than by what the driver says: that can repeat a password.
        wrong = [name for name, text in options if _parsed(f"mongodb://localhost/?{name}={text}") is None]
        if wrong:
            raise ConfigurationError(f"the driver refuses the value of {' and '.join(wrong)} in the url")
        raise ConfigurationError(f"{_MISSPELT}, or its options exclude each other")
    if found["options"].get("w") == 0:
        raise ConfigurationError(_UNACKNOWLEDGED)
    database: str | None = found["database"]
    return database


def _options(query: str) -> list[tuple[str, str]]:
    known = DRIVER_OPTIONS | {_READ_PREFERENCE}
    options = check_options(query, known, "a URL of MongoDB", any_case=True)
    for name, text in options:
        if name.lower() == _READ_PREFERENCE.lower():
            raise ConfigurationError("a store reads from the primary; leave readPreference out of the URL")
        if ";" in text or "=" in text:  # the driver would take it for the end of a value, or of a name
            raise ConfigurationError(f"the value of {name} in the url has a semicolon or an =; percent-encode it")
    return options


def _parsed(url: str) -> Mapping[str, Any] | None:
    """Return what the driver reads in a URL; None when it refuses it."""
    try:
        return parse_uri(url, warn=False)
    except (PyMongoError, ValueError, TypeError):
        return None  # what it says may show a secret, and so must not be the context of another error


def check_client(client: object) -> None:
    """Raise unless the client is a PyMongo `AsyncMongoClient` or a Motor client, and waits for its writes."""
    motor: Any = sys.modules.get("motor.motor_asyncio")
    if not isinstance(client, AsyncMongoClient) and not (motor and isinstance(client, motor.AsyncIOMotorClient)):
        raise ConfigurationError(
            "client must be a pymongo.AsyncMongoClient or a motor.motor_asyncio.AsyncIOMotorClient, "
            f"got {type(client).__name__}"
        )
    if not client.write_concern.acknowledged:
        raise ConfigurationError(_UNACKNOWLEDGED)


def check_names(db_name: object, coll_name: object) -> None:
    """Refuse names of a database or a MongoDB collection that MongoDB does not take."""
    if not isinstance(db_name, str) or not _DB_NAME.fullmatch(db_name) or _size(db_name) > _LONGEST_DB_NAME:
        raise ConfigurationError(
            f'db_name must be 1 to 63 bytes without / \\ . space " $ * < > : | ? and NUL, got {safe_repr(db_name)}'
        )
    if not isinstance(coll_name, str) or not _COLL_NAME.fullmatch(coll_name) or _size(db_name, coll_name) > _LONGEST:
        raise ConfigurationError(
            "coll_name must be a name without $, NUL, and dots at its ends, not of the system's, and with db_name at "
            f"most {_LONGEST} bytes long; got {safe_repr(coll_name)}"
        )


async def connect(url: str) -> tuple[Client, AsyncGenerator[None]]:
    """Make a client, and what closes it: its `aclose`, or the orderly end of the event loop."""
    client = await offload(_make, url)  # it reads certificates from files
    guard = close_at_end_of_loop(client.close)
    await anext(guard)
    return client, guard


def _make(url: str) -> Client:
    options: dict[str, Any] = {} if re.search(r"[?&]w=", url, re.IGNORECASE) else {"w": "majority"}
    return AsyncMongoClient(url, **options)


def _size(*names: str) -> int:
    return sum(len(name.encode(errors="replace")) for name in names)


_UNACKNOWLEDGED = 'w=0 lets no write be acknowledged, which a store needs; use w="majority"'


NAME = "satchel_expiry"
FIELD = "expire_at"
GRACE = 3600
"""Seconds that an expired entry stays: the clock of the server may be ahead of that of the store."""

_NO_NAMESPACE = 26


async def has_index(database: Any, coll_name: str) -> bool:
    """Return whether the TTL index exists. Checking creates nothing, and detects most faults.

    Raises:
        ConfigurationError: See `check_indexes`.
    """
    try:
        listed = await database.command({"listIndexes": coll_name, "cursor": {}})
    except OperationFailure as error:
        if error.code == _NO_NAMESPACE:
            return False
        raise
    return check_indexes(listed["cursor"]["firstBatch"], f"{database.name}.{coll_name}")


async def make_index(collection: Any) -> None:
    """Create the TTL index if it is missing; any number of processes may do so at once."""
    await collection.create_index(FIELD, name=NAME, expireAfterSeconds=GRACE)


def check_indexes(indexes: Sequence[Any], where: str) -> bool:
    """Return whether the TTL index is among those of a MongoDB collection.

    Raises:
        ConfigurationError: There is another in its place, or names are compared in a way that confuses some.
    """
    found = False
    for index in indexes:
        if index["name"] == "_id_" and "collation" in index:
            raise ConfigurationError(
                f"{where} was made with a collation, by which different names can be the same; choose another coll_name"
            )
        is_ours = dict(index["key"]) == {FIELD: 1} and "expireAfterSeconds" in index
        if not is_ours and (index["name"] == NAME or dict(index["key"]) == {FIELD: 1}):
            raise ConfigurationError(
                f"{where} has an index {index['name']!r} in place of the TTL index on {FIELD}; "
                "drop it, or choose another coll_name"
            )
        found = found or is_ours
    return found
