"""Names of LangGraph's things as keys: parts that may hold anything, joined so that each level is a prefix."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, unquote


def join(parts: Iterable[str]) -> str:
    """Return the prefix of all that is inside of a path of parts, each of which ends with a slash."""
    return "".join(f"{quote(part, safe='')}/" for part in parts)


def split(name: str) -> list[str]:
    """Return the parts that were joined."""
    return [unquote(part) for part in name.split("/")[:-1]]
