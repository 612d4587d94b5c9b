"""The indexes of the MongoDB collection: the TTL index of a `MongoDBStore`, and what would stand in its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.errors import OperationFailure

from ..errors import ConfigurationError

NAME = "satchel_expiry"
FIELD = "expire_at"
GRACE = 3600
"""Seconds that an expired entry stays: the clock of the server may be ahead of that of the store."""

_NO_NAMESPACE = 26


async def has_index(database: Any, coll_name: str) -> bool:
    """Say whether the TTL index is there. To ask creates nothing, and meets most of what can be wrong.

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
    """Make the TTL index, unless it is there; any number of processes may do so at once."""
    await collection.create_index(FIELD, name=NAME, expireAfterSeconds=GRACE)


def check_indexes(indexes: Sequence[Any], where: str) -> bool:
    """Say whether the TTL index is among those of a MongoDB collection.

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
