"""The form of an entry in a DynamoDB table: its key, its attributes and their size.

A name that is too long for a key is kept as its beginning, `#` and its SHA-256. Such a form is always longer than every
name that is kept as it is, so that the two cannot meet; the item then has both names as further attributes.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from typing import Any

from ...backend.base import ABSENT, Condition
from ...backend.record import Record
from ...clock import NEVER
from ...codec import LARGE, JsonCodec
from ...errors import IntegrityError, ValueTooLargeError
from ...names import Ref

Item = dict[str, dict[str, Any]]
"""Attributes with their types, as the driver has them."""

FORMAT = "1"
MAX_ITEM_BYTES = 400 * 1024
MAX_COLLECTION_BYTES, MAX_KEY_BYTES = 2048, 1024
"""The longest partition key and sort key that DynamoDB takes."""

HEAD = ("collection", "key", "satchel", "version", "updated_at", "deadline", "codec", "checksum")
"""The attributes of an entry without its value and its names."""

_GRACE = 3600
"""Seconds after its deadline when DynamoDB may remove an entry, because clocks of hosts differ."""
_MARK = "#"
_HASH_BYTES = len(_MARK) + 64
_CUT = 3  # cutting between characters loses at most so many bytes
_NUMBER_BYTES = 21  # DynamoDB's own bound for a number of 38 digits


def key_of(ref: Ref) -> Item:
    """Return the primary key of an entry."""
    return {"collection": collection_of(ref[0]), "key": {"S": _kept(ref[1], MAX_KEY_BYTES)}}


def collection_of(collection: str) -> dict[str, str]:
    """Return the partition key of a collection."""
    return {"S": _kept(collection, MAX_COLLECTION_BYTES)}


def place_of(item: Item) -> tuple[str, str]:
    """Return the identity of an item within its batch."""
    return item["collection"]["S"], item["key"]["S"]


def hidden_names(ref: Ref) -> Ref | None:
    """Return the names if one of them is too long to be kept as it is."""
    fits = _fits(ref[0], MAX_COLLECTION_BYTES) and _fits(ref[1], MAX_KEY_BYTES)
    return None if fits else ref


def searchable(prefix: str) -> str:
    """Return the beginning of a prefix that every kept form of a name with this prefix begins with."""
    room = MAX_KEY_BYTES - _HASH_BYTES - _CUT
    return prefix if len(prefix.encode()) <= room else prefix.encode()[:room].decode(errors="ignore")


def name_in(item: Item, attribute: str) -> str:
    """Return a name as it was put, by the attribute of the key that stands for it."""
    name: str = (item.get(f"{attribute}_name") or item[attribute])["S"]
    return name


def item_of(ref: Ref, record: Record) -> Item:
    """Return the item of a record.

    Raises:
        ValueTooLargeError: DynamoDB would not take it.
    """
    item = key_of(ref)
    item["satchel"] = {"N": FORMAT}
    item["version"] = {"S": record.version}
    item["updated_at"] = number(record.updated_at)
    item["codec"] = number(record.codec)
    item["checksum"] = number(record.checksum or 0)
    if record.deadline != NEVER:
        item["deadline"], item["ttl"] = deadline_of(record.deadline)
    if record.names is not None:
        item["collection_name"], item["key_name"] = ({"S": name} for name in record.names)
    room = MAX_ITEM_BYTES - _size(item) - len("value")
    if len(record.payload) > room:
        raise ValueTooLargeError(
            f"the encoded value has {len(record.payload)} bytes; a DynamoDB item has at most {MAX_ITEM_BYTES} with the "
            f"names and what belongs to it, which leaves {room} here"
        )
    # JSON is text: as such it can be read in every tool for DynamoDB. The driver makes it up to three times as long on
    # its way, binary a third longer: a large one goes as that.
    text = record.codec == JsonCodec.number and len(record.payload) < LARGE
    item["value"] = {"S": record.payload.decode()} if text else {"B": record.payload}
    return item


def number(value: float) -> dict[str, str]:
    """Return a number as an attribute. DynamoDB keeps 38 decimal digits, so that every double comes back exactly."""
    return {"N": repr(value)}


def deadline_of(deadline: float) -> tuple[dict[str, str], dict[str, str]]:
    """Return a deadline and when DynamoDB may remove the item."""
    return number(deadline), number(math.ceil(deadline) + _GRACE)


def outcome_of(item: Item | None) -> Record | IntegrityError | None:
    """Return the result of `_read` for an item: an error if satchel did not write it."""
    if item is None:
        return None
    if "satchel" not in item:
        return not_ours()
    try:
        if item["satchel"]["N"] != FORMAT:
            return IntegrityError(
                f"an item has format {item['satchel']['N']!r}, this release reads format {FORMAT}; "
                "if a newer release wrote it, upgrade this one"
            )
        value = item["value"]
        return Record(
            payload=value["S"].encode() if "S" in value else value["B"],
            codec=int(item["codec"]["N"]),
            version=item["version"]["S"],
            updated_at=float(item["updated_at"]["N"]),
            deadline=float(item["deadline"]["N"]) if "deadline" in item else NEVER,
            names=(item["collection_name"]["S"], item["key_name"]["S"]) if "key_name" in item else None,
            checksum=int(item["checksum"]["N"]),
        )
    except (KeyError, ValueError):
        return IntegrityError("an item is damaged: an attribute is missing, or has a wrong type; put or delete it")


def head_of(item: Item | None) -> Record | IntegrityError | None:
    """Return the same for an item that was read without its value."""
    return outcome_of(None if item is None else item | {"value": {"B": b""}})


def not_ours() -> IntegrityError:
    """Return the error for an item that another program put where an entry belongs."""
    return IntegrityError(
        "the item with this key is not an entry of satchel's; give the store a table of its own, or remove the item"
    )


def lives(item: Item, now: float) -> bool:
    """Return whether an existing item has not expired."""
    try:
        return float(item["deadline"]["N"]) > now
    except (KeyError, ValueError):
        return True  # it has no deadline, or a damaged one


def _fits(name: str, limit: int) -> bool:
    return len(name if name.isascii() else name.encode()) < limit - _CUT


def _kept(name: str, limit: int) -> str:
    if _fits(name, limit):
        return name
    encoded = name.encode()
    beginning = encoded[: limit - _HASH_BYTES].decode(errors="ignore")
    return beginning + _MARK + hashlib.sha256(encoded).hexdigest()


def _size(item: Item) -> int:
    return sum(
        len(name) + (len(attribute["S"].encode()) if "S" in attribute else _NUMBER_BYTES)
        for name, attribute in item.items()
    )


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


def is_behind(item: Item, prefix: str) -> bool:
    """Return whether an item sorts behind everything that can have a prefix."""
    kept, start = item["key"]["S"], searchable(prefix)
    return kept > start and not kept.startswith(start)


def query_living(collection: str, prefix: str, now: float, after: str = "") -> dict[str, Any]:
    """Return a Query for the keys of a collection's living entries, and perhaps for a few with another prefix."""
    values = {":now": number(now), ":collection": collection_of(collection)}
    within = _IN_COLLECTION
    if after and after >= prefix:  # DynamoDB takes one condition on the key
        values[":after"] = {"S": _kept(after, MAX_KEY_BYTES)}
        within += " AND #key > :after"
    elif prefix:
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
