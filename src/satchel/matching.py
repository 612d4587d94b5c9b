"""`match`: which keys a listing yields, by prefix, pattern and depth.

`/` divides a key into levels. In a pattern, `*` stands for any characters within one level and `**` for any characters;
`**/` at the start of a level stands for any number of whole levels, including none. Every other character, such as `?`
or `[`, stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import TypedDict

from ._threads import Yielder
from .names import check_prefix

DELIMITER = "/"


class KeyChoice(TypedDict, total=False):
    """Choice of keys to list: the arguments of `Collection.keys`."""

    prefix: str
    exclude_prefix: str | None
    glob: str | None
    depth: int | None
    limit: int | None
    after: str | None


def match(
    key: str,
    *,
    prefix: str = "",
    exclude_prefix: str | None = None,
    glob: str | None = None,
    depth: int | None = None,
) -> bool:
    """Return whether a listing with these arguments yields a key.

    Args:
        key: The key.
        prefix: The key starts with exactly this.
        exclude_prefix: The key does not start with this.
        glob: A pattern for the whole key: `*` is any characters within one level, `**` any characters.
        depth: The key has at most this many levels after the prefix; 1 means no `/` after it.

    Raises:
        InvalidKeyError: A prefix is not legal.
        ValueError: The pattern is empty or has `***`, `exclude_prefix` is empty, or `depth` is not a positive int.
    """
    return KeyFilter(prefix=prefix, exclude_prefix=exclude_prefix, glob=glob, depth=depth).matches(key)


class KeyFilter:
    """Keys chosen by prefix, pattern and depth, with the pattern compiled once; for loops.

    Arguments and errors are those of `match`.
    """

    def __init__(
        self,
        *,
        prefix: str = "",
        exclude_prefix: str | None = None,
        glob: str | None = None,
        depth: int | None = None,
    ) -> None:
        self._given = check_prefix(prefix)
        self._excluded = None if exclude_prefix is None else _check_excluded(exclude_prefix)
        self._depth = _check_depth(depth)
        self._pattern = None if glob is None else _compiled(_check_glob(glob))
        start = "" if glob is None else _literal_start(glob)
        self.prefix: str = max(self._given, start, key=len)
        """Every key that matches starts with this: the prefix, or the characters before the pattern's first star."""
        self.matches_nothing: bool = not self.prefix.startswith(min(self._given, start, key=len))
        """Whether prefix and pattern contradict each other."""
        self.is_prefix: bool = self._excluded is None and self._depth is None and self._pattern is None
        """Whether every key that starts with `prefix` matches."""

    def matches(self, key: str) -> bool:
        """Return whether a key matches."""
        return (
            key.startswith(self._given)
            and (self._excluded is None or not key.startswith(self._excluded))
            and (self._depth is None or key.count(DELIMITER, len(self._given)) < self._depth)
            and (self._pattern is None or self._pattern.fullmatch(key) is not None)
        )


async def folders(keys: AsyncIterator[str], delimiter: str, start: int) -> AsyncIterator[str]:
    """Iterate over the parts of keys up to the first delimiter at or after a position, each once."""
    seen: set[str] = set()
    async for key in keys:
        end = key.find(delimiter, start)
        folder = key[: end + len(delimiter)]
        if end >= 0 and folder not in seen:
            seen.add(folder)
            yield folder


def check_delimiter(delimiter: object) -> str:
    """Return a delimiter of levels.

    Raises:
        ValueError: It is empty or not a `str`.
    """
    if not isinstance(delimiter, str) or not delimiter:
        raise ValueError("delimiter must be a non-empty str, such as '/'")
    return delimiter


async def matching_keys(keys: AsyncIterator[str], chosen: KeyFilter, limit: int | None) -> AsyncIterator[str]:
    """Iterate over the keys that match, at most `limit` of them."""
    left = limit
    if left == 0:
        return
    turns = Yielder()
    async for key in keys:
        await turns.after_item()
        if chosen.matches(key):
            yield key
            left = None if left is None else left - 1
            if left == 0:
                return


def _check_excluded(prefix: str) -> str:
    if prefix == "":
        raise ValueError("exclude_prefix must not be empty: that would exclude every key; None excludes none")
    return check_prefix(prefix)


def _check_depth(depth: object) -> int | None:
    if depth is not None and (type(depth) is not int or depth < 1):
        raise ValueError(f"depth must be None or an int of at least 1, got {depth!r}")
    return depth


def _check_glob(glob: object) -> str:
    if not isinstance(glob, str):
        raise ValueError(f"glob must be a str or None, got {type(glob).__name__}")  # noqa: TRY004  # one kind for every bad pattern
    if not glob:
        raise ValueError("glob must not be empty; ** matches every key")
    if "***" in glob:
        raise ValueError("glob has more than two stars in a row; write * for one level, ** for any depth")
    return glob


def _literal_start(glob: str) -> str:
    """Return the text at the start of every key that matches a pattern."""
    return glob.partition("*")[0]


@lru_cache(maxsize=64)
def _compiled(glob: str) -> re.Pattern[str]:
    """Return the expression for a pattern.

    Atomic groups keep each star as short as the text after it allows. A longer match never helps the rest of the
    pattern, so there is no backtracking, and a hostile pattern costs at most the square of a key's length.
    """
    first, *others = glob.split("**")
    expression = _between(first, ends=not others)
    before = first
    for number, chunk in enumerate(others, 1):
        ends = number == len(others)
        skipped = ".*?"
        text = chunk
        if chunk.startswith(DELIMITER) and before[-1:] in ("", DELIMITER):
            skipped, text = ".*?(?<![^/])", chunk[1:]  # whole levels, or none
        rest = skipped + _between(text, ends=ends)
        expression += rest if ends else f"(?>{rest})"
        before = chunk
    return re.compile(expression, re.DOTALL)


def _between(chunk: str, *, ends: bool) -> str:
    """Return the expression for the text between two `**`, or between one and the end of the pattern."""
    first, *others = map(re.escape, chunk.split("*"))
    stars = [f"(?>[^/]*?{text})" for text in others]
    if ends and others:
        stars[-1] = f"[^/]*{others[-1]}"  # the match must reach the end of the key
    return first + "".join(stars)
