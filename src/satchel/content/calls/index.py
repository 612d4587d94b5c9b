r"""Index of recorded calls: keys in a collection of their own, so that the listing of a prefix answers a query.

```text
fn \0 {function} \0 {time} \0 {call}
arg \0 {argument} \0 {value} \0 {function} \0 {time} \0 {call}
result \0 {value} \0 {function} \0 {time} \0 {call}
tag \0 {tag} \0 {value} \0 {function} \0 {time} \0 {call}
```

Keys are written before the record that they lead to, and a query reads that record again: a key whose record is absent,
is of another time or does not match is passed over. So a value may be shortened to half of its digest, and a key that
a crash left behind does no harm. It is deleted by a query that meets it, once it is too old for its record to come.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, NamedTuple

from ...protocol import SupportsEverything
from .anything import ANY
from .record import CallRecord, is_digest

GRACE = 3600.0
"""Seconds after which no record is expected for a key. A recording that takes a quarter of it writes its keys again."""

_ENTRY = {"format": 1}
_SHORT, _LONG = 32, 80
"""Longest names in bytes, of arguments and tags, and of functions: a key fits into the name of a file."""


class Hit(NamedTuple):
    """Key of the index, with what it says.

    Attributes:
        key: The key.
        digest: Digest of the call; empty if the key has none.
        time: When it was recorded, as in the key.
    """

    key: str
    digest: str
    time: str


class CallIndex:
    """Index of recorded calls in a collection of a store.

    Args:
        store: The store.
        collection: The collection.
    """

    def __init__(self, store: SupportsEverything, collection: str) -> None:
        self._store, self.collection = store, collection

    async def add(self, digest: str, record: CallRecord) -> None:
        """Write the keys of a call whose record is about to be written."""
        await self._store.put_many(self.collection, dict.fromkeys(index_keys(digest, record), _ENTRY))

    async def remove(self, digest: str, record: CallRecord) -> None:
        """Delete the keys of a call whose record has been deleted."""
        await self._store.delete_many(self.collection, index_keys(digest, record))

    async def hits(self, prefix: str, since: float | None) -> AsyncGenerator[Hit, None]:
        """List the keys with a prefix, of calls recorded at a time or later; damaged keys have no digest."""
        earliest = "" if since is None else time_of(since)
        async for key in self._store.keys(self.collection, prefix=prefix):
            *_, time, digest = key.rsplit("\0", 2)
            if time >= earliest:
                yield Hit(key, digest if is_digest(digest) else "", time)

    async def tidy(self, stale: Iterable[Hit], began: float) -> None:
        """Delete the keys that have been met without their record, if they had been written long before.

        Args:
            stale: The keys.
            began: When their records were looked for. A process may be stopped for any time after that.
        """
        entries = await self._store.get_entries(self.collection, [hit.key for hit in stale])
        for key, entry in entries.items():
            if began - entry.updated_at.timestamp() > GRACE:
                # By its version: the call may be recorded at this moment, and its keys written anew.
                await self._store.compare_and_delete(self.collection, key, version=entry.version)


def index_keys(digest: str, record: CallRecord) -> list[str]:
    """Return all keys of a call."""
    name, time = _part(record.name, _LONG), time_of(record.at)
    end = f"{name}\0{time}\0{digest}"
    return [
        f"fn\0{end}",
        *(f"arg\0{_part(argument)}\0{value[:_SHORT]}\0{end}" for argument, value in record.arguments.items()),
        f"result\0{record.result[:_SHORT]}\0{end}",
        *(f"tag\0{_part(tag)}\0{tag_value(value)}\0{end}" for tag, value in record.tags.items()),
    ]


def index_prefix(name: str | None, arguments: Mapping[str, Any], result: str | None, tags: Mapping[str, Any]) -> str:
    """Return the prefix of the keys among which all calls are that a query asks for.

    Args:
        name: Name of the function; None for any.
        arguments: Digests of arguments, `ANY` for one that only has to be there.
        result: Digest of the result; None for any.
        tags: Tags, `ANY` for one that only has to be there.
    """
    end = "" if name is None else f"{_part(name, _LONG)}\0"
    if result is not None:
        return f"result\0{result[:_SHORT]}\0{end}"
    for argument, value in arguments.items():
        if value is not ANY:
            return f"arg\0{_part(argument)}\0{value[:_SHORT]}\0{end}"
    for tag, value in tags.items():
        if value is not ANY:
            return f"tag\0{_part(tag)}\0{tag_value(value)}\0{end}"
    if end:
        return f"fn\0{end}"
    for tag in tags:
        return f"tag\0{_part(tag)}\0"
    for argument in arguments:
        return f"arg\0{_part(argument)}\0"
    return "fn\0"


def time_of(seconds: float) -> str:
    """Return a time as text that sorts as times do: hexadecimal microseconds since the Unix epoch."""
    return f"{max(0, round(seconds * 1e6)):016x}"


def tag_value(value: object) -> str:
    """Return what stands for the value of a tag; 1, 1.0 and True differ."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:_SHORT]


def _part(name: str, limit: int = _SHORT) -> str:
    data = name.encode("utf-8", "surrogatepass")
    if 0 < len(data) <= limit and name.isprintable() and not name.startswith("#"):
        return name
    return "#" + hashlib.sha256(data).hexdigest()[:_SHORT]
