"""How a collection and a key become one Redis key, what of keys a SCAN is asked for, and which slot a key is in.

An entry is one Redis string: the record as `envelope.pack` writes it, under `prefix:collection:key`.

* The key is the last part and stays as it is, whatever bytes it has.
* In the prefix and the collection `%` and `:` become `%25` and `%3a`, so that the first two colons are the separators:
  no two entries share a Redis key, and no store's keys begin as those of a store with another prefix do.

`RedisStore` and `ValkeyStore` share this layout: each reads entries written by the other.
"""

from __future__ import annotations

import binascii
import functools
import re

from ...errors import ConfigurationError, safe_repr
from ...names import Ref, utf8_size

SLOTS = 16384
_SPECIAL = re.compile(rb"([\\*?\[\]^])")
_ESCAPED = re.compile(r"%(25|3a)")


class Layout:
    """Mapping of names to Redis keys and back.

    Args:
        prefix: Prefix of the store's keys, before the first colon.

    Raises:
        ConfigurationError: The prefix is not a `str`, or empty, or has a lone surrogate.
    """

    def __init__(self, prefix: str) -> None:
        if not isinstance(prefix, str) or not prefix:
            raise ConfigurationError(f"prefix must be a str that is not empty, got {safe_repr(prefix)}")
        try:
            utf8_size(prefix, "prefix")
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        self._front = _escape(prefix).encode() + b":"
        self._fronts = functools.lru_cache(maxsize=1024)(self._front_of)

    def key(self, ref: Ref) -> bytes:
        """Return the Redis key of an entry."""
        return self._fronts(ref[0]) + ref[1].encode()

    def ref(self, key: bytes) -> Ref | None:
        """Return the names of an entry; None for a Redis key that no entry of this store has."""
        if not key.startswith(self._front):
            return None
        collection, colon, name = key[len(self._front) :].partition(b":")
        try:
            ref = _ESCAPED.sub(_unescape, collection.decode()), name.decode()
        except UnicodeDecodeError:
            return None
        return ref if colon and ref[0] and ref[1] and _escape(ref[0]).encode() == collection else None

    def front(self, collection: str | None = None) -> bytes:
        """Return what the store's Redis keys begin with, or those of one collection."""
        return self._front if collection is None else self._front_of(collection)

    def pattern(self, collection: str | None = None, prefix: str = "") -> bytes:
        """Return the pattern for SCAN that matches the store's keys, or those of one collection with a prefix."""
        front = self.front(collection) + prefix.encode()
        return _SPECIAL.sub(rb"\\\1", front) + b"*"

    def _front_of(self, collection: str) -> bytes:
        return self._front + _escape(collection).encode() + b":"


def slot_of(key: bytes) -> int:
    """Return the cluster slot of a Redis key: of the part in its first braces, if there is one, or of all of it."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


def _escape(name: str) -> str:
    return name.replace("%", "%25").replace(":", "%3a") if "%" in name or ":" in name else name


def _unescape(match: re.Match[str]) -> str:
    return "%" if match[1] == "25" else ":"
