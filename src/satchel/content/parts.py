"""Values taken apart: the digest of each part comes from the same walk as that of the whole.

A store of content uses this. The message of a list, a tuple, a dict or an object has the digests of its
parts, so the digest of the whole is the same however far it is taken apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Literal, TypeAlias

import msgspec

from ..errors import DigestError
from .digest import digest, new_walk
from .hooks import rule_by_hook
from .objects import attributes_of, is_open
from .walk import NO_BASE, Digest, Walk, message_of_object

Form: TypeAlias = Literal["list", "tuple", "dict", "object", "leaf"]


class Part(msgspec.Struct, frozen=True, eq=False):
    """Value with its digest, and the parts that it was taken apart into.

    Attributes:
        digest: The digest of the value.
        value: The value itself.
        form: How it is put together from its parts; `"leaf"` for a value that was not taken apart.
        names: The keys of a dict, or the names of the attributes of an object, in their order; empty for other forms.
        parts: The items of a list or a tuple, the values of a dict, or the attributes of an object.
    """

    digest: Digest
    value: object
    form: Form = "leaf"
    names: tuple[Any, ...] = ()
    parts: tuple[Part, ...] = ()

    def walk(self) -> Iterator[Part]:
        """Iterate over all parts and the value itself: each digest once, and parts before what they are part of."""
        seen: set[Digest] = set()
        todo = [(self, False)]
        while todo:
            part, is_ready = todo.pop()
            if is_ready:
                yield part
            elif part.digest not in seen:
                seen.add(part.digest)
                todo.append((part, True))
                todo.extend((each, False) for each in reversed(part.parts))


def take_apart(value: object, depth: int = 1) -> Part:
    """Return a value with its digest, taken apart.

    Lists, tuples, dicts and objects whose attributes make their value (dataclasses, attrs, pydantic, Structs, named
    tuples) are taken apart; subclasses of built-in types, and classes with a digest hook, are not.

    Args:
        value: The value.
        depth: How many levels are taken apart: 0 gives a leaf, 1 its parts as leaves, and so on.

    Raises:
        DigestError: As `digest` raises it.
    """
    try:
        return _part(value, depth, new_walk(), {})
    except (DigestError, RuntimeError):
        digest(value)  # which raises with the path from here
        raise


def _part(value: object, depth: int, walk: Walk, known: dict[tuple[int, int], Part]) -> Part:
    form, names, parts = _split(value) if depth > 0 and walk.room else _LEAF
    if form == "leaf":
        return Part(Digest.of_bytes(walk.digest(value)), value)
    found = known.get((id(value), depth))
    if found is None:
        walk.room -= 1
        children = tuple([_part(part, depth - 1, walk, known) for part in parts])
        message = _message(form, value, names, children, walk)
        walk.room += 1
        found = Part(Digest.of_bytes(sha256(message).digest()), value, form, names, children)
        known[id(value), depth] = found
    return found


_LEAF: tuple[Form, tuple[Any, ...], tuple[object, ...]] = ("leaf", (), ())


def _split(value: Any) -> tuple[Form, tuple[Any, ...], tuple[object, ...]]:
    kind = type(value)
    if kind is list or kind is tuple:
        return "list" if kind is list else "tuple", (), tuple(value)
    if kind is dict:
        return "dict", tuple(value), tuple(value.values())
    if is_open(kind) and rule_by_hook(kind) is None:
        state = attributes_of(value)
        return "object", tuple(state), tuple(state.values())
    return _LEAF


def _message(form: Form, value: object, names: tuple[Any, ...], parts: tuple[Part, ...], walk: Walk) -> bytes:
    digests = [bytes.fromhex(part.digest) for part in parts]
    if form == "object":
        return message_of_object(type(value), NO_BASE, zip(names, digests, strict=True))
    if form == "dict":
        return b"dict:" + b"".join(sorted(walk.digest(name) + part for name, part in zip(names, digests, strict=True)))
    return b"%s:%s" % (form.encode(), b"".join(digests))
