"""Plans of saves: the parts of a value, each with its digest and its frame."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from .._threads import offload
from ..errors import DigestError, SerializationError
from .destructuring import join_plain, split
from .digest import digest, new_walk
from .hooks import rule_by_hook
from .leaves import Leaf, Leaves
from .objects import is_open
from .records import Shape, pack_node
from .tracing import step_of
from .walk import NO_BASE, Digest, message_of_dict, message_of_object

SMALL = 16 * 1024
"""Approximate size in bytes from which a value is worked on in a thread: its digest takes a millisecond."""

_SCALARS = (str, int, float, bool, type(None))


class StoredPart(msgspec.Struct, gc=False):  # no part of a cycle: nothing that it holds refers to it
    """Part of a value that is to be stored.

    Attributes:
        digest: Its digest.
        value: The value.
        frame: What is stored; empty for a `Digest`, which stands for something stored already.
        children: The digests of its own parts; None for a leaf.
        height: How many levels of nodes are below it.
    """

    digest: Digest
    value: Any
    frame: bytes
    children: tuple[Digest, ...] | None = None
    height: int = 0

    @property
    def is_reference(self) -> bool:
        """Whether it stands for something stored already."""
        return not self.frame


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be stored for a value.

    Attributes:
        root: The digest of the value.
        parts: The value and its parts by digest, each after its own parts.
    """

    root: Digest
    parts: dict[Digest, StoredPart]


async def make_plan(value: object, depth: int, leaves: Leaves) -> Plan:
    """Return the plan of a value, made in a thread if that may take long; it raises what `plan` raises."""
    if is_quick(value, leaves.leaf):
        return plan(value, depth, leaves)
    return await offload(plan, value, depth, leaves)


def plan(value: Any, depth: int, leaves: Leaves) -> Plan:
    """Return the plan of a value.

    Args:
        value: The value.
        depth: How many levels are taken apart; more where a leaf cannot be stored whole.
        leaves: The forms of leaves.

    Raises:
        DigestError: A part has no digest.
        SerializationError: A part can neither be stored whole nor be taken apart.
    """
    planner = _Planner(leaves)
    try:
        return Plan(planner.add(value, depth), planner.parts)
    except _LeafError as error:
        raise SerializationError(_explained(error, value, leaves.leaf)) from error.__cause__
    except (DigestError, RuntimeError):
        digest(value)  # its error has the path from the value itself
        raise


class _Planner:
    """Collector of the parts of a value."""

    def __init__(self, leaves: Leaves) -> None:
        self.parts: dict[Digest, StoredPart] = {}
        self._leaves = leaves
        self._walk = new_walk()
        self._rules = self._walk.rules
        self._seen: dict[tuple[int, int], tuple[object, Digest]] = {}
        """Digests by identity and depth, with the object itself, whose identity must not pass to another one."""

    def add(self, value: Any, depth: int) -> Digest:
        """Add a value with its parts, and return its digest."""
        if not depth or type(value) in _SCALARS or isinstance(value, Digest):
            return self._add_leaf(value)
        seen = self._seen.get((id(value), depth))
        if seen is not None:
            return seen[1]
        taken = split(value)
        found = self._add_leaf(value) if taken is None else self._add_node(value, *taken, depth - 1)
        self._seen[id(value), depth] = (value, found)
        return found

    def _add_leaf(self, value: Any) -> Digest:
        small = self._leaves.pack_small(value)
        if small is None:
            return self._add_other_leaf(value)
        found, frame = small
        known = self.parts.get(found)
        if known is None or known.is_reference:
            self.parts[found] = StoredPart(found, value, frame)
        return found

    def _add_other_leaf(self, value: Any) -> Digest:
        if isinstance(value, Digest):
            self.parts.setdefault(value, StoredPart(value, value, b""))
            return value
        found = Digest.of_bytes(self._rules[type(value)](value, self._walk))
        known = self.parts.get(found)
        if known is not None and not known.is_reference:
            return found
        try:
            frame = self._leaves.pack(value, found)
        except SerializationError as error:
            taken = split(value)
            if taken is None:
                raise _LeafError(str(error), value) from error.__cause__
            return self._add_node(value, *taken, 0)
        self.parts[found] = StoredPart(found, value, frame)
        return found

    def _add_node(self, value: Any, shape: Shape, parts: Iterable[Any], depth: int) -> Digest:
        add = self.add
        children = tuple([add(part, depth) for part in parts])
        found = node_digest(shape, children, value)
        known = self.parts.get(found)
        if known is None or known.is_reference:
            height = 1 + max([self.parts[child].height for child in children], default=0)
            self.parts.pop(found, None)
            self.parts[found] = StoredPart(found, value, pack_node(shape, children), children, height)
        return found


class _LeafError(SerializationError):
    """A part can neither be stored whole nor be taken apart.

    Attributes:
        part: The part.
    """

    def __init__(self, message: str, part: object) -> None:
        super().__init__(message)
        self.part = part


def _explained(error: _LeafError, whole: object, leaf: Leaf) -> str:
    """Return the message of an error with the path of the part from the whole value."""
    path = next(_paths(error.part, whole, "$", set()), "$")
    reason = str(error).removeprefix("$: ")
    if leaf == "json":  # its advice is for values that are put under a key
        remedy = 'convert it to JSON values or bytes, or give ContentStore leaf="pickle" and keys'
        reason = f"{reason.partition('; ')[0]}; {remedy}"
    return f"{path}: {reason}"


def _paths(part: object, whole: object, path: str, seen: set[int]) -> Iterator[str]:
    if whole is part:
        yield path
    if id(whole) in seen:  # a value may hold the same list many times over
        return
    seen.add(id(whole))
    shape, children = split(whole) or (None, ())
    names = None if shape is None else shape.keys or getattr(whole, "_fields", None)
    for index, child in enumerate(children):
        yield from _paths(part, child, path + _step(shape, names, index), seen)


def _step(shape: Shape | None, names: Sequence[str] | None, index: int) -> str:
    if names is None:
        return "[...]" if shape is not None and shape.type == "dict" else f"[{index}]"
    return step_of(names[index])


def node_digest(shape: Shape, children: tuple[Digest, ...], value: Any) -> Digest:
    """Return the digest of a node, which is made of the digests of its parts.

    Args:
        shape: Its shape.
        children: The digests of its parts.
        value: The value, which is asked if its digest is made in another way.
    """
    kind = type(value)
    if shape.join is not None or (shape.cls is not None and (rule_by_hook(kind) is not None or not is_open(kind))):
        return digest(value)
    raw = map(bytes.fromhex, children)
    if shape.type == "dict" and shape.keys is None:  # a dict of digests would hold keys of one digest once
        pairs = [key + next(raw) for key in raw]
        return Digest.of_bytes(sha256(message_of_dict(pairs)).digest())
    if shape.cls is None:
        return digest(join_plain(shape, children))
    names = shape.keys if shape.keys is not None else kind._fields
    parts = zip(names, raw, strict=True)
    return Digest.of_bytes(sha256(message_of_object(kind, NO_BASE, parts)).digest())


_PLAIN = frozenset({*_SCALARS, bytes, list, tuple, dict, Digest})


def is_quick(value: object, leaf: Leaf) -> bool:
    """Return whether the plan of a value is made in about a millisecond, and without reading files or running code.

    A class whose digest is needed for the first time is looked for in the metadata of packages. Pickling imports
    modules, and so does the first use of HDF5.

    Args:
        value: The value.
        leaf: The form of leaves that are no JSON.
    """
    if leaf == "hdf5":
        return False
    known = new_walk().rules
    size, stack = 0, [value]
    while stack:
        item = stack.pop()
        size += sys.getsizeof(item)
        if size >= SMALL:
            return False
        kind = type(item)
        if kind not in _PLAIN:
            if leaf != "json" or kind not in known:
                return False
            stack.append(getattr(item, "__dict__", None))
        elif kind is list or kind is tuple:
            stack.extend(item)  # type: ignore[arg-type]  # as kind shows
        elif kind is dict:
            stack.extend(item)  # type: ignore[arg-type]  # as kind shows
            stack.extend(item.values())  # type: ignore[attr-defined]  # as kind shows
    return True
