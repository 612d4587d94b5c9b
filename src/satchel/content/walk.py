"""Walk over a value that gives its digest: what the rules of all types share.

A rule gives the digest of one type of value: 32 bytes, the SHA-256 of a message that starts with the tag of the type.
The message of a value with parts has the digests of these parts, never the parts themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Self, TypeAlias

from ..codec import MAX_DEPTH
from ..errors import DigestError

_HEX = re.compile("[0-9a-f]{64}")
NO_BASE = sha256(b"None:").digest()
"""What an object has in place of the digest of its built-in part if it has none: the digest of None."""
_LARGE = 2048
"""Bytes from which a copy costs more than a second call, and hashing releases the GIL."""


class Digest(str):
    """Digest of a value: 64 hexadecimal digits, in lower case.

    The digest of a digest is itself, also within other values: a list of digests has the digest of the list of what
    they stand for. A plain `str` of the same digits is text like any other.

    Raises:
        DigestError: The text is not 64 hexadecimal digits in lower case.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:  # noqa: D102  # the class says it
        if not isinstance(text, str) or not _HEX.fullmatch(text):
            raise DigestError("a digest is 64 hexadecimal digits in lower case; ContentStore.expand completes one")
        return str.__new__(cls, text)

    @classmethod
    def of_bytes(cls, raw: bytes) -> Self:
        """Return the digest whose 32 bytes are given."""
        return str.__new__(cls, raw.hex())

    def __repr__(self) -> str:
        return f"Digest({str.__repr__(self)})"


Rule: TypeAlias = Callable[[Any, "Walk"], bytes]
"""Gives the digest of a value of one type, as 32 bytes."""


class Walk:
    """One walk over a value and its parts.

    Attributes:
        rules: The rule of each type.
        room: How many levels deeper the walk may go.
    """

    __slots__ = ("_entered", "_known", "room", "rules")

    def __init__(self, rules: Mapping[type, Rule]) -> None:
        self.rules = rules
        self.room = MAX_DEPTH
        self._entered = 0
        # By identity, with the value itself: a temporary value that is kept cannot hand its identity on.
        self._known: dict[int, tuple[object, bytes]] = {}

    def digest(self, value: object) -> bytes:
        """Return the digest of any value."""
        return self.rules[type(value)](value, self)

    def descend(self, value: object, message: Callable[[Any, Walk], bytes]) -> bytes:
        """Return the digest of a value with parts.

        A part that occurs several times is walked over once: a list that holds a list twice, which holds one twice,
        and so on, would never end. A value that holds itself runs out of room.

        Args:
            value: The value.
            message: Makes its message.
        """
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        if not self.room:
            raise DigestError(f"nested deeper than {MAX_DEPTH}; flatten it")
        self.room -= 1
        self._entered += 1
        entered = self._entered
        found = sha256(message(value, self)).digest()
        self.room += 1
        if self._entered != entered:  # its parts have parts
            self._known[id(value)] = (value, found)
        return found


def rule_of_parts(tag: bytes, parts_of: Callable[[Any], Iterable[object]]) -> Rule:
    """Return the rule of a type whose message is a tag and the digests of some parts.

    Args:
        tag: The tag of the type.
        parts_of: Returns the parts of a value.
    """

    def message(value: object, walk: Walk) -> bytes:
        return tag + b"".join([walk.digest(part) for part in parts_of(value)])

    return lambda value, walk: walk.descend(value, message)


def digest_of_bytes(tag: bytes, content: bytes | bytearray | memoryview) -> bytes:
    """Return the digest of a message of a tag and bytes."""
    if len(content) < _LARGE:
        return sha256(tag + content).digest()
    hashed = sha256(tag)
    hashed.update(content)
    return hashed.digest()


def digest_of_text(text: str) -> bytes:
    """Return the digest of a `str`."""
    return digest_of_bytes(b"str:", text.encode("utf-8", "surrogatepass"))


known_names: dict[str, bytes] = {}
"""Digests of names that have come before."""


def digest_of_name(text: str) -> bytes:
    """Return the digest of a `str` that is likely to come again, such as a key of a dict or the name of a field."""
    found = known_names.get(text)
    if found is None:
        found = digest_of_text(text)
        if len(text) <= 64:  # such as names have
            if len(known_names) >= 4096:  # less than a megabyte
                known_names.clear()
            known_names[text] = found
    return found


def digest_of_type(kind: type) -> bytes:
    """Return the digest of a class: that of its module and of its qualified name.

    Raises:
        DigestError: It is defined within a function, so that another class may have the same name.
    """
    if "<locals>" in kind.__qualname__:
        raise DigestError(
            f"the class {kind.__name__} is defined inside of a function, so that its name does not tell it from "
            "others; define it at the top level of a module",
        )
    module = "pathlib" if kind.__module__ == "pathlib._local" else kind.__module__  # as only Python 3.13 has it
    return sha256(b"type:" + digest_of_name(module) + digest_of_name(kind.__qualname__)).digest()


def message_of_dict(pairs: Iterable[bytes]) -> bytes:
    """Return the message of a dict, by the digests of each key and its value, joined."""
    return b"dict:" + b"".join(sorted(pairs))


def message_of_object(kind: type, base: bytes, attributes: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the message of an object.

    Args:
        kind: Its class.
        base: The digest of what it holds as an instance of a built-in type; that of None for other objects.
        attributes: The names of its attributes, with their digests.
    """
    pairs = sorted([digest_of_name(name) + part for name, part in attributes])
    return b"".join([b"object:", digest_of_type(kind), base, *pairs])
