"""Names: rules for legal ones, and escaping for backends with narrower rules.

`Escaping` turns any legal name into one that a backend accepts, and back. Two names never become the same one:

* Characters that the backend accepts stay; every other UTF-8 byte becomes `%` and two lower-case hexadecimal digits.
* A result past the length limit becomes its own beginning, `%-`, and the SHA-256 of the whole name in hexadecimal.
  No escape has a `-` after `%`, so that the two forms cannot meet. Such a name cannot be read back: the entry itself
  then keeps it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from .errors import InvalidKeyError

MAX_NAME_BYTES = 4096
"""The longest legal key or collection, in UTF-8 bytes."""

Ref = tuple[str, str]
"""A collection and a key."""

_LETTERS_AND_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"
FOLDED_SAFE = frozenset(_LETTERS_AND_DIGITS + "-_.")
"""Characters that survive every file system and service, even a case-insensitive one."""
SAFE = FOLDED_SAFE | frozenset(_LETTERS_AND_DIGITS.upper())
"""Characters that survive every case-sensitive file system and service."""

_HASH_MARK = "%-"
_HASH_LENGTH = len(_HASH_MARK) + 64
_ESCAPED = re.compile(rb"%([0-9a-f]{2})")


def check_name(name: object, what: str = "key", limit: int = MAX_NAME_BYTES) -> str:
    """Return a key or collection as an exact `str`, or refuse it.

    Args:
        name: The name to check.
        what: Its name in the message.
        limit: The longest allowed, in UTF-8 bytes.

    Raises:
        InvalidKeyError: It is not a `str`, is empty or too long, or has a lone surrogate.
    """
    if type(name) is not str:
        if not isinstance(name, str):
            raise InvalidKeyError(f"{what} must be a str, got {type(name).__name__}")
        name = str.__str__(name)
    size = len(name) if name.isascii() else utf8_size(name, what)
    if 0 < size <= limit:
        return name
    if not size:
        raise InvalidKeyError(f"{what} must not be empty")
    raise InvalidKeyError(f"{what} has {size} bytes in UTF-8, the limit here is {limit}: {name[:40]!r}...")


def check_ref(collection: object, key: object, limit: int = MAX_NAME_BYTES) -> Ref:
    """Return a collection and a key as exact `str`s, or refuse them as `check_name` does.

    Args:
        collection: The collection to check.
        key: The key to check.
        limit: The longest key allowed, in UTF-8 bytes.
    """
    # Most names are as simple as this, and need no further calls.
    if (
        type(key) is str
        and type(collection) is str
        and key.isascii()
        and collection.isascii()
        and 0 < len(key) <= limit
        and 0 < len(collection) <= MAX_NAME_BYTES
    ):
        return collection, key
    return check_name(collection, "collection"), check_name(key, "key", limit)


def utf8_size(name: str, what: str) -> int:
    """Return the length of a name in UTF-8 bytes; a lone surrogate raises `InvalidKeyError`."""
    try:
        return len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidKeyError(f"{what} has a lone surrogate at index {error.start}, which is not valid text") from None


def check_prefix(prefix: object) -> str:
    """Return a key prefix as an exact `str`; the empty one is legal."""
    return check_name(prefix, "prefix") if prefix != "" else ""


def check_names(names: object, limit: int = MAX_NAME_BYTES) -> list[str]:
    """Return the keys of a batch, each once, in the order given; a bare `str` is refused."""
    if isinstance(names, (str, bytes)):
        raise InvalidKeyError("keys must be an iterable of str, got one bare string; write [key]")
    if not isinstance(names, Iterable):
        raise InvalidKeyError(f"keys must be an iterable of str, got {type(names).__name__}")
    given = list(names)
    # Most batches are as simple as this, and need no call for each name.
    if given and {str}.issuperset(map(type, given)) and all(map(str.isascii, given)):
        lengths = set(map(len, given))
        if min(lengths) and max(lengths) <= limit:
            return list(dict.fromkeys(given))
    return list(dict.fromkeys([check_name(name, "key", limit) for name in given]))


def check_limit(limit: object) -> int | None:
    """Return the maximum number of keys of a listing; None for no limit."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ValueError(f"limit must be None or an int of at least 0, got {limit!r}")
    return limit


def check_after(after: object) -> str | None:
    """Return the key after which a listing begins, as an exact `str`; the empty one is legal, None is no order."""
    return None if after is None else check_name(after, "after") if after != "" else ""


def check_items(items: object, limit: int = MAX_NAME_BYTES) -> list[tuple[str, object]]:
    """Return the keys and values of a batch of writes, each key once."""
    if not isinstance(items, Mapping):
        raise InvalidKeyError(f"items must be a mapping of key to value, got {type(items).__name__}")
    return list({check_name(name, "key", limit): value for name, value in items.items()}.items())


@dataclass(frozen=True)
class Escaping:
    """Reversible form of legal names for one backend.

    Args:
        safe: The ASCII characters that stay as they are. `%` never does; `-` must be among them.
        max_bytes: The longest result, in UTF-8 bytes; at least 80.
        keep_unicode: Keep visible characters beyond ASCII as they are, for backends that neither normalise nor fold.
            Those that Unicode 3.2 knew, that is: a name's form must not depend on the Unicode release of a Python.
        reserved: Results, in lower case and up to their first dot, that the backend does not take, such as `con`.
    """

    safe: frozenset[str] = SAFE
    max_bytes: int = 255
    keep_unicode: bool = False
    reserved: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.max_bytes < 80 or "%" in self.safe or not {"-", *"0123456789abcdef"} <= self.safe:
            raise ValueError("an escaping needs max_bytes of at least 80, and - and 0-9a-f but not % among the safe")

    @cached_property
    def _unsafe(self) -> re.Pattern[str]:
        beyond = r"\x80-\U0010ffff" if self.keep_unicode else ""
        return re.compile(f"[^{beyond}{re.escape(''.join(sorted(self.safe)))}]")

    def escape(self, name: str) -> str:
        """Return a legal name in the backend's form."""
        escaped = self._unsafe.sub(_percent, name)
        if self.keep_unicode and not escaped.isascii():
            escaped = "".join(mark if _is_visible(mark) else _percent_encode(mark) for mark in escaped)
        if escaped[0] == "." or escaped.partition(".")[0].lower() in self.reserved:
            escaped = _percent_encode(name[0]) + escaped[1:]
        if escaped[-1] == ".":
            escaped = escaped[:-1] + _percent_encode(".")
        if len(escaped) <= self.max_bytes and (escaped.isascii() or len(escaped.encode()) <= self.max_bytes):
            return escaped
        import hashlib  # noqa: PLC0415  # it loads OpenSSL, which few names need

        return self._beginning(escaped) + _HASH_MARK + hashlib.sha256(name.encode()).hexdigest()

    def unescape(self, escaped: str) -> str | None:
        """Return the name that `escape` wrote; None when it was hashed, or is not of this form."""
        if _HASH_MARK in escaped:
            return None
        try:
            name = _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), escaped.encode()).decode()
        except UnicodeError:
            return None
        return name if name and self.escape(name) == escaped else None

    def _beginning(self, escaped: str) -> str:
        room = self.max_bytes - _HASH_LENGTH
        beginning = escaped.encode()[:room].decode(errors="ignore")
        cut = beginning.rfind("%", -2)
        return beginning if cut < 0 else beginning[:cut]


def _is_visible(mark: str) -> bool:
    return mark.isascii() or unicodedata.ucd_3_2_0.category(mark)[0] in "LMNPS"


def _percent_encode(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _percent(match: re.Match[str]) -> str:
    return _percent_encode(match[0])
