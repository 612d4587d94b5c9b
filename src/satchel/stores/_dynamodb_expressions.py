"""The conditions of DynamoDB requests. Names and values of the caller's are never part of their text."""

from __future__ import annotations

import re
from typing import Any

from ._dynamodb_items import number

OURS = "attribute_exists(satchel)"
LIVING = f"{OURS} AND (attribute_not_exists(deadline) OR deadline > :now)"
EXPIRED = f"{OURS} AND deadline <= :now"
VACANT = f"attribute_not_exists(#key) OR ({EXPIRED})"
SAME_VERSION = f"{LIVING} AND version = :version"

_RESERVED = re.compile(r"#(\w+)")


def expressions(now: float | None = None, /, **texts: str) -> dict[str, Any]:
    """Return the part of a request that holds expressions, with what they stand for.

    Args:
        now: The value of `:now`, which one of them has; None if none has it.
        **texts: Each expression by its parameter. `#name` in it is the attribute `name`, a word that DynamoDB reserves.
    """
    request: dict[str, Any] = dict(texts)
    names = {f"#{name}": name for text in texts.values() for name in _RESERVED.findall(text)}
    if names:
        request["ExpressionAttributeNames"] = names
    if now is not None:
        request["ExpressionAttributeValues"] = {":now": number(now)}
    return request
