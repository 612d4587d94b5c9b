"""The expressions of DynamoDB requests. Names and values of the caller's are never part of their text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..backend.base import ABSENT, Condition
from ..clock import NEVER
from ._dynamodb_items import collection_of, deadline_of, number, searchable

_OURS = "attribute_exists(satchel)"
_LIVING = f"{_OURS} AND (attribute_not_exists(deadline) OR deadline > :now)"
_EXPIRED = f"{_OURS} AND deadline <= :now"
_VACANT = f"attribute_not_exists(#key) OR ({_EXPIRED})"
_SAME_VERSION = f"{_LIVING} AND version = :version"
_IN_COLLECTION = "#collection = :collection"
_TO_REMOVE = "#collection, #key, deadline"

_SHOW = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}  # is seldom anything but an item that is not satchel's

_RESERVED = re.compile(r"#(\w+)")


def if_version(version: Condition, now: float) -> dict[str, Any]:
    """Return the condition that an entry has a version, or that there is none."""
    if version is ABSENT:
        return _expressions({":now": number(now)}, ConditionExpression=_VACANT)
    # What is not ASCII is no version, and half a character would be refused.
    expected = {"S": version if version.isascii() else ""}
    return _expressions({":now": number(now), ":version": expected}, ConditionExpression=_SAME_VERSION)


def if_ours() -> dict[str, Any]:
    """Return the condition that there is an entry."""
    return {"ConditionExpression": _OURS, **_SHOW}


def if_expired(now: float) -> dict[str, Any]:
    """Return the condition that an entry has expired."""
    return _expressions({":now": number(now)}, ConditionExpression=_EXPIRED)


def new_deadline(deadline: float, now: float) -> dict[str, Any]:
    """Return a change of the deadline, with the condition that the entry lives."""
    values: dict[str, Any] = {":now": number(now)}
    change = "REMOVE deadline, #ttl"
    if deadline != NEVER:
        values[":deadline"], values[":ttl"] = deadline_of(deadline)
        change = "SET deadline = :deadline, #ttl = :ttl"
    return {**_expressions(values, ConditionExpression=_LIVING, UpdateExpression=change), **_SHOW}


def projection(attributes: Sequence[str]) -> dict[str, Any]:
    """Return the part of a request that asks for these attributes alone."""
    return _expressions({}, ProjectionExpression=", ".join(f"#{name}" for name in attributes))


def query_living(collection: str, prefix: str, now: float) -> dict[str, Any]:
    """Return a Query for the keys of a collection's living entries, and perhaps for a few with another prefix."""
    values = {":now": number(now), ":collection": collection_of(collection)}
    within = _IN_COLLECTION
    if prefix:
        values[":prefix"] = {"S": searchable(prefix)}
        within += " AND begins_with(#key, :prefix)"
    return _expressions(
        values, KeyConditionExpression=within, FilterExpression=_LIVING, ProjectionExpression="#key, key_name"
    )


def query_all(collection: str) -> dict[str, Any]:
    """Return a Query for a collection's entries, expired ones too."""
    return _expressions(
        {":collection": collection_of(collection)},
        KeyConditionExpression=_IN_COLLECTION,
        FilterExpression=_OURS,
        ProjectionExpression=_TO_REMOVE,
    )


def scan_living(now: float) -> dict[str, Any]:
    """Return a Scan for the collections of living entries."""
    return _expressions(
        {":now": number(now)}, FilterExpression=_LIVING, ProjectionExpression="#collection, collection_name"
    )


def scan_expired(now: float) -> dict[str, Any]:
    """Return a Scan for the keys of expired entries."""
    return _expressions({":now": number(now)}, FilterExpression=_EXPIRED, ProjectionExpression="#collection, #key")


def scan_all() -> dict[str, Any]:
    """Return a Scan for all entries, and for nothing that satchel did not write."""
    return _expressions({}, FilterExpression=_OURS, ProjectionExpression=_TO_REMOVE)


def _expressions(values: dict[str, Any], **texts: str) -> dict[str, Any]:
    """Return the part of a request that holds expressions.

    Args:
        values: What each `:name` in them stands for.
        **texts: Each expression by its parameter. `#name` in it is the attribute `name`, a word that DynamoDB reserves.
    """
    request: dict[str, Any] = dict(texts)
    names = {f"#{name}": name for text in texts.values() for name in _RESERVED.findall(text)}
    if names:
        request["ExpressionAttributeNames"] = names
    if values:
        request["ExpressionAttributeValues"] = values
    return request
