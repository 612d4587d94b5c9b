"""Short forms of digests."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from itertools import takewhile

from ..errors import InvalidKeyError, KeyMissingError, safe_repr

SHORTEST = 4
_PREFIX = re.compile(r"[0-9a-f]{4,64}")


def check_prefix(prefix: object) -> None:
    """Raise unless a short digest is one.

    Raises:
        InvalidKeyError: It is not 4 to 64 hexadecimal digits.
    """
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        got = f"{len(prefix)} characters" if isinstance(prefix, str) else safe_repr(prefix)
        raise InvalidKeyError(f"a short digest is 4 to 64 hexadecimal digits in lower case, got {got}")


def only_one(prefix: str, found: Iterable[str]) -> str:
    """Return the one digest that begins with a prefix.

    Raises:
        KeyMissingError: There is none.
        InvalidKeyError: There are several; the message says how many characters are needed.
    """
    digests = sorted(found)
    if not digests:
        raise KeyMissingError(f"there is nothing whose digest begins with {prefix}")
    if len(digests) > 1:
        needed = Shortener(digests).longest()
        raise InvalidKeyError(f"{prefix} is ambiguous: {len(digests)} digests begin with it; give {needed} characters")
    return digests[0]


class Shortener:
    """Finder of the lengths at which digests differ from all others.

    Args:
        digests: The digests to shorten.
    """

    def __init__(self, digests: Iterable[str]) -> None:
        self._sorted = sorted(set(digests))
        self._common = [0] * len(self._sorted)
        for place in range(1, len(self._sorted)):
            self._compare(place - 1, self._sorted[place])
            self._compare(place, self._sorted[place - 1])

    def add(self, other: str) -> None:
        """Take another digest into account. Only its neighbours can have more in common with it than they had."""
        place = bisect_left(self._sorted, other)
        if place < len(self._sorted) and self._sorted[place] != other:
            self._compare(place, other)
        if place:
            self._compare(place - 1, other)

    def shortest(self, digest: str) -> str:
        """Return the short form of one of the digests."""
        return digest[: self._length(bisect_left(self._sorted, digest))]

    def longest(self) -> int:
        """Return the number of characters that tells any of the digests from all others."""
        return max(map(self._length, range(len(self._sorted))))

    def _length(self, place: int) -> int:
        return max(SHORTEST, self._common[place] + 1)

    def _compare(self, place: int, other: str) -> None:
        pairs = zip(self._sorted[place], other, strict=False)
        common = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        self._common[place] = max(self._common[place], common)
