"""Mapping of errors of MongoDB and its driver to satchel's, with advice and without the data that was sent."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from bson.errors import BSONError
from pymongo import errors

from ..._shortage import shortage_of_descriptors
from ...errors import (
    ConfigurationError,
    IntegrityError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)

_DESCRIPTORS = 2  # for a connection that asks about the server, and one for requests
_DUPLICATE_KEY = 11000
_UNAUTHORIZED = 13
_SETTINGS = {
    18: "the server refuses the user name or password; check both, and authSource, the database that knows the user",
    8000: "the server refuses the user name or password; check both",
    20: "the server takes no retryable writes; add retryWrites=false to the URL",
    85: "an index on expire_at exists that is no TTL index; drop it, or choose another coll_name",
    86: "an index named satchel_expiry exists that is not satchel's; drop it, or choose another coll_name",
    166: "it is a view, which is read-only; choose another coll_name",
}
_TOO_LARGE = frozenset({10334, 17280, 17419, 17420})
_TIMEOUTS = {
    50: "the server did not finish in time",
    64: "too few members of the replica set confirmed the write in time; it may be undone by a failover",
    100: "the replica set has too few members for the write concern; the write may be undone by a failover",
    202: "the server did not finish in time",
    262: "the server did not finish in time",
}
_UNAVAILABLE = {
    91: "the server is shutting down",
    112: "another operation was writing the same entry; try again",
    189: "the primary stepped down; try again when another has taken its place",
    10058: "the server is not the primary",
    10107: "the server is not the primary; try again when one has been elected",
    11600: "the server is shutting down",
    11602: "the primary stepped down; try again when another has taken its place",
    13435: "the server is not the primary; try again when one has been elected",
    13436: "the server is recovering; try again when it is the primary or a secondary",
}
_REFUSED = {
    121: "the MongoDB collection has a validation rule that refuses entries; remove it, or choose another coll_name",
    14031: "the server's disk is full; make room on it",
}


def translate(error: Exception, where: str, hosts: str = "") -> SatchelError | None:
    """Return the satchel error for one of the driver's; None for any other error.

    Args:
        error: The error raised.
        where: The names of the database and the MongoDB collection.
        hosts: The hosts and ports of the servers.
    """
    if isinstance(error, errors.OperationFailure):
        return refusal(error.code, error.details, where)
    if isinstance(error, errors.ServerSelectionTimeoutError):
        return shortage_of_descriptors(_DESCRIPTORS) or StoreUnavailableError(
            f"no writable MongoDB server for {where} can be reached{f' at {hosts}' if hosts else ''}; "
            "check the hosts and ports of the URL, tls, and that the replica set has a primary"
        )
    if isinstance(error, errors.NotPrimaryError):
        return StoreUnavailableError(
            f"the MongoDB server of {where} is no primary; try again when one has been elected"
        )
    if isinstance(error, (errors.NetworkTimeout, errors.ExecutionTimeout)) or getattr(error, "timeout", False):
        return StoreTimeoutError(f"MongoDB did not answer in time for {where}")
    if isinstance(error, errors.ConnectionFailure):
        return StoreUnavailableError(f"the connection to MongoDB was lost, or could not be made, for {where}")
    if isinstance(error, errors.ConfigurationError):
        return ConfigurationError(
            f"the MongoDB driver refuses its settings, or finds no servers by the mongodb+srv name, for {where}"
        )
    if isinstance(error, errors.DocumentTooLarge):
        return _too_large()
    if isinstance(error, BSONError):
        return IntegrityError("the document is damaged: it cannot be decoded")
    # A RuntimeError as such is what the driver and asyncio raise for a client of another event loop.
    if isinstance(error, errors.InvalidOperation) or type(error) is RuntimeError:
        return StoreError(
            f"the MongoDB client for {where} was closed, or belongs to another event loop; make a new one"
        )
    return None


class Put(enum.Enum):
    """How a document came to be where it is."""

    INSERTED = "inserted"
    REPLACED = "replaced"


Failure = Mapping[str, Any]
"""The server's objection to one write."""


def outcomes_in(details: Mapping[str, Any], count: int) -> Sequence[Put | Failure]:
    """Return the result of each of a batch of replacements."""
    failed = {failure["index"]: failure for failure in details.get("writeErrors", ())}
    inserted = {item["index"] for item in details.get("upserted", ())}
    # Writes that too few members confirmed were carried out, but are not what was asked for.
    unconfirmed = next(iter(details.get("writeConcernErrors", ())), None)
    return [
        failed.get(index) or unconfirmed or (Put.INSERTED if index in inserted else Put.REPLACED)
        for index in range(count)
    ]


def is_taken(outcome: Put | Failure) -> bool:
    """Return whether inserting failed because there is a document with this `_id`."""
    if isinstance(outcome, Put):
        return False
    return outcome.get("code") == _DUPLICATE_KEY and "_id" in outcome.get("keyPattern", ("_id",))


def refusal(code: int | None, details: Mapping[str, Any] | None, where: str) -> SatchelError:
    """Return the error for a refusal of the server, by its number."""
    details = details or {}
    number = -1 if code is None else code
    if number == _UNAUTHORIZED:
        return StoreError(
            f"the user may not do this with {where}, or the URL names no user: grant the role readWrite on the "
            "database, or the privileges that the page of MongoDBStore lists"
        )
    if number in _SETTINGS:
        return ConfigurationError(f"{where}: {_SETTINGS[number]}")
    if number in _TOO_LARGE:
        return _too_large()
    if number in _TIMEOUTS:
        return StoreTimeoutError(f"{where}: {_TIMEOUTS[number]}")
    if number in _UNAVAILABLE or "RetryableWriteError" in details.get("errorLabels", ()):
        return StoreUnavailableError(
            f"{where}: {_UNAVAILABLE.get(number, 'the server could not serve now; try again')}"
        )
    if number in _REFUSED:
        return StoreError(f"{where}: {_REFUSED[number]}")
    if number == _DUPLICATE_KEY:
        return StoreError(
            f"{where} has a unique index beside that of _id, which refuses the entry; drop it, or choose another one"
        )
    return StoreError(f"MongoDB refuses this for {where}: code {number}, {details.get('codeName', 'without a name')}")


def _too_large() -> ValueTooLargeError:
    return ValueTooLargeError("the entry is larger than a MongoDB document's limit of 16 MiB")
