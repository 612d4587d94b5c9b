"""`KeyPaths`: keys as paths of files and objects that people can read, and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..errors import InvalidKeyError
from ..names import Escaping, check_name

READABLE = frozenset(" !#$&'()+,;=@[]^_`{}~")
"""Characters besides letters, digits and `-_.` that all file systems and services keep."""
_EMPTY = "%"
"""Stands for an empty level, as in `a//b`: no escape is a `%` alone."""
_NEVER_HASHED = 10**6
_BETWEEN = re.compile("/")


class KeyPaths:
    """Mapping of keys to paths: the levels between `/` keep their names, and what a place does not take is escaped.

    No level becomes `.` or `..`, is empty, or begins with a dot, so that no path leads out of its place.

    Args:
        escaping: What a level may be.
        level_bytes: The longest level.
        path_bytes: The longest path.
    """

    def __init__(self, escaping: Escaping, level_bytes: int, path_bytes: int) -> None:
        self._escaping = replace(escaping, max_bytes=_NEVER_HASHED)
        self._level_bytes, self._path_bytes = level_bytes, path_bytes

    def levels(self, key: str) -> list[str]:
        """Return the levels of a key's path.

        Raises:
            InvalidKeyError: The path would be longer than the place takes.
        """
        levels = [self._escaping.escape(level) if level else _EMPTY for level in _BETWEEN.split(check_name(key))]
        sizes = [len(level) if level.isascii() else len(level.encode()) for level in levels]
        if max(sizes) > self._level_bytes or sum(sizes) + len(sizes) - 1 > self._path_bytes:
            raise InvalidKeyError(
                f"key is too long for this place: it takes {self._path_bytes} bytes, and {self._level_bytes} between "
                f"two slashes, where an escaped character counts as three: {key[:40]!r}..."
            )
        return levels

    def level(self, name: str) -> str | None:
        """Return the part of a key for one level of a path; None for what is no part of a key."""
        if name == _EMPTY:
            return ""
        level = self._escaping.unescape(name)
        return None if level is None or "/" in level or len(name.encode()) > self._level_bytes else level

    def key(self, levels: Sequence[str]) -> str | None:
        """Return the key whose path has these levels; None for what is no path of a key."""
        return self._joined(levels) or None

    def folder(self, levels: Sequence[str]) -> str | None:
        """Return the beginning, up to a slash, of the keys in a folder; None for what is in no path of a key."""
        joined = self._joined(levels)
        return None if joined is None else f"{joined}/"

    def _joined(self, levels: Sequence[str]) -> str | None:
        parts = [self.level(name) for name in levels]
        known = [part for part in parts if part is not None]
        return "/".join(known) if len(known) == len(parts) else None
