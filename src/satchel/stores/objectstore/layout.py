"""How entries are named in a bucket: `prefix/collection/key`, each name escaped.

A name that would be too long is hashed, and the entry keeps both names. Nothing else in the bucket is looked at.
"""

from __future__ import annotations

import re

from ...errors import ConfigurationError, safe_repr
from ...names import SAFE, Escaping, Ref

DEFAULT_PREFIX = "satchel"
HASH_MARK = "%-"
"""Is in the path of an entry that keeps its names, and in no other."""

_SEGMENT_BYTES = 255  # what servers that keep objects as files take; two of them leave room for a prefix in S3's 1,024
_LONGEST_PREFIX = 500
_PREFIX = re.compile(r"[A-Za-z0-9_=@:+,-][A-Za-z0-9_.=@:+,-]*")
_HASHED = re.compile(HASH_MARK + r"[0-9a-f]{64}\Z")
_ESCAPING = Escaping(SAFE, _SEGMENT_BYTES)
_NEVER_HASHED = Escaping(SAFE, 10**6)
# What the hash leaves of a long name's beginning, but for an escape that may be cut off.
_COMMON = _SEGMENT_BYTES - 66 - 2


class Layout:
    """Mapping of names to the paths of objects, and back.

    Args:
        prefix: What all paths begin with, without the last slash.

    Raises:
        ConfigurationError: The prefix is not one or more parts joined by slashes, or is too long.
    """

    def __init__(self, prefix: str) -> None:
        if not isinstance(prefix, str) or not all(map(_PREFIX.fullmatch, prefix.split("/"))):
            raise ConfigurationError(
                "prefix must be one or more parts joined by /, each of letters, digits and -_.=@:+, and none beginning "
                f"with a dot; got {safe_repr(prefix)}"
            )
        if len(prefix) > _LONGEST_PREFIX:
            raise ConfigurationError(f"prefix has {len(prefix)} characters, the limit is {_LONGEST_PREFIX}")
        self.root = prefix

    def __repr__(self) -> str:
        return f"Layout({self.root!r})"

    def path(self, ref: Ref) -> str:
        """Return the path of an entry's object."""
        return f"{self.root}/{_ESCAPING.escape(ref[0])}/{_ESCAPING.escape(ref[1])}"

    def folder(self, collection: str) -> str:
        """Return what the paths of a collection begin with, without the last slash."""
        return f"{self.root}/{_ESCAPING.escape(collection)}"

    def hidden(self, ref: Ref) -> Ref | None:
        """Return the names if the path does not say them."""
        return ref if is_hashed(_ESCAPING.escape(ref[0])) or is_hashed(_ESCAPING.escape(ref[1])) else None

    def folder_of(self, path: str) -> str | None:
        """Return the folder of an object that may be an entry; None for what no store with this prefix wrote."""
        root, _, rest = path.rpartition("/")[0].rpartition("/")
        return f"{root}/{rest}" if root == self.root and is_name(rest) and is_name(_last(path)) else None


def key_of(path: str) -> str | None:
    """Return the key that a path says; None when it is hashed."""
    return _ESCAPING.unescape(_last(path))


def collection_of(folder: str) -> str | None:
    """Return the collection that a folder says; None when it is hashed."""
    return _ESCAPING.unescape(_last(folder))


def is_name(escaped: str) -> bool:
    """Return whether this is what a name can become."""
    return is_hashed(escaped) or _ESCAPING.unescape(escaped) is not None


def is_hashed(escaped: str) -> bool:
    """Return whether this is the form of names that are too long."""
    return len(escaped) <= _SEGMENT_BYTES and _HASHED.search(escaped) is not None


def beginning(prefix: str) -> str:
    """Return what the objects of keys with a prefix begin with, at least; of long keys the hash hides the rest."""
    # A dot at its end is escaped in the name that ends there, and in no other.
    return _NEVER_HASHED.escape(prefix + "-")[:-1].removesuffix(".")[:_COMMON] if prefix else ""


def just_before(path: str) -> str:
    """Return a path that comes before this one, and after all paths of entries before it."""
    return f"{path[:-1]}{chr(ord(path[-1]) - 1)}~"


def _last(path: str) -> str:
    return path.rpartition("/")[2]
