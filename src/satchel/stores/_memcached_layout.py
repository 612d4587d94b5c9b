"""How a `MemcachedStore` writes names and deadlines down.

A key is `prefix|collection|key`, each of the last two escaped so that it has no `|`: what stands before the last two is
the prefix, whatever is in it.
"""

from __future__ import annotations

import math
import re
import time
from functools import lru_cache

from ..clock import NEVER
from ..errors import ConfigurationError, shown
from ..names import Escaping, Ref

MAX_KEY = 250
"""The most bytes of a key that memcached takes."""

GRACE = 60
"""Seconds that memcached keeps an expired entry: the deadline in the header decides, by clocks that may differ."""

_SEPARATOR = "|"
_SAFE = frozenset(map(chr, range(0x21, 0x7F))) - {"%", _SEPARATOR}
_COLLECTION = 80
_LONGEST_PREFIX = MAX_KEY - 2 * len(_SEPARATOR) - 2 * _COLLECTION
_LAST_MOMENT = 2**31 - 1
_HASHED = b"%-"
_PLAIN = re.compile(f"[{re.escape(''.join(sorted(_SAFE - {'.'})))}]+").fullmatch  # such a key escapes to itself


class Layout:
    """Writes the names of one store.

    Args:
        prefix: What all its keys begin with.

    Raises:
        ConfigurationError: Memcached would not take keys that begin with it.
    """

    def __init__(self, prefix: str) -> None:
        if not isinstance(prefix, str) or not 0 < len(prefix) <= _LONGEST_PREFIX or not _is_visible(prefix):
            raise ConfigurationError(
                f"prefix must be 1 to {_LONGEST_PREFIX} visible ASCII characters without spaces, got {shown(prefix)}"
            )
        self._prefix = prefix + _SEPARATOR
        self._room = MAX_KEY - _COLLECTION - len(self._prefix) - len(_SEPARATOR)
        self._escape_collection = lru_cache(256)(Escaping(_SAFE, _COLLECTION).escape)
        self._escape_key = Escaping(_SAFE, self._room).escape

    def key(self, ref: Ref) -> bytes:
        """Return the key under which an entry is kept."""
        collection, key = ref
        if len(key) > self._room or not _PLAIN(key):
            key = self._escape_key(key)
        return f"{self._prefix}{self._escape_collection(collection)}{_SEPARATOR}{key}".encode()

    def hidden_names(self, ref: Ref) -> Ref | None:
        """Return the names where the key cannot give them back."""
        return ref if _HASHED in self.key(ref) else None


def expiry(deadline: float, now: float) -> int:
    """Return when memcached may forget an entry, in seconds since the Unix epoch; 0 for never.

    It is said as a moment, for memcached takes more than 30 days for one; and by the system's clock, for a store's own
    may be any other.
    """
    if deadline == NEVER:
        return 0
    moment = math.ceil(time.time() + max(deadline - now, 0)) + GRACE
    return moment if moment <= _LAST_MOMENT else 0


def _is_visible(text: str) -> bool:
    return all("!" <= mark <= "~" for mark in text)
