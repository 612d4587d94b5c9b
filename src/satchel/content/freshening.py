"""Freshening: writing what is absent, and what is so old that a collection could remove it before it is recorded.

`docs/content.md` says why this is enough. In short: an entry that is freshened is younger than half of `older_than`, or
has a new version; and a collection removes only versions that were older than `older_than` before it looked for roots.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, TypeVar

from ..clock import Clock, as_datetime
from ..entry import Entry
from ..errors import IntegrityError, KeyMissingError
from ..protocol import SupportsConditional
from .leaves import Leaves
from .planning import Plan, StoredPart, make_plan
from .records import LeafRecord, NodeRecord, StoredRecord, unpack
from .walk import Digest

T = TypeVar("T")

_AT_FIRST = 64
_AT_MOST = 500
_PAGE_BYTES = 4 << 20


def missing(digest: Digest) -> KeyMissingError:
    """Return the error of a part that is not there."""
    return KeyMissingError(f"there is no content with the digest {digest}: it was evicted, collected or never saved")


async def all_of(works: Iterable[Awaitable[T]]) -> list[T]:
    """Return the results of works that run at the same time, once all have ended; the first error is raised."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes  # type: ignore[return-value]  # none is an exception


class Pages:
    """Reader of entries in pages of about four megabytes.

    Args:
        store: The store.
        collection: The collection.
    """

    def __init__(self, store: SupportsConditional, collection: str) -> None:
        self._store = store
        self._collection = collection
        self._size = _AT_FIRST

    async def read(self, waiting: deque[Digest]) -> tuple[list[Digest], Mapping[str, Entry]]:
        """Take some digests from those that wait, and return them with their entries."""
        page = self._take(waiting)
        entries = await self._store.get_entries(self._collection, _names(page))
        self._adapt([entry.size for entry in entries.values()])
        return page, entries

    async def read_values(self, waiting: deque[Digest]) -> tuple[list[Digest], Mapping[str, Any]]:
        """Take some digests from those that wait, and return them with their values, which may come from a cache."""
        page = self._take(waiting)
        values = await self._store.get_many(self._collection, _names(page))
        self._adapt([len(value) for value in values.values() if isinstance(value, bytes)])
        return page, values

    def _take(self, waiting: deque[Digest]) -> list[Digest]:
        return [waiting.popleft() for _ in range(min(self._size, len(waiting)))]

    def _adapt(self, sizes: list[int]) -> None:
        mean = sum(sizes) // (len(sizes) or 1)
        self._size = max(1, min(_AT_MOST, _PAGE_BYTES // (mean or 1)))

    async def iterate(self, digests: Iterable[Digest]) -> AsyncIterator[tuple[list[Digest], Mapping[str, Entry]]]:
        """Iterate over the pages of some digests."""
        waiting = deque(digests)
        while waiting:
            yield await self.read(waiting)


def _names(digests: Iterable[Digest]) -> list[str]:
    """Return digests as plain `str`, which stores check together, and not one by one."""
    return list(map(str.__str__, digests))


class Freshener:
    """Writer of the parts of values, so that no collection removes them before they are recorded.

    Args:
        store: The store.
        collection: The collection of content.
        leaves: The forms of leaves.
        older_than: Seconds after which a collection may remove an entry that nothing refers to.
        clock: Returns the present as seconds since the Unix epoch.
    """

    def __init__(
        self, store: SupportsConditional, collection: str, leaves: Leaves, older_than: float, clock: Clock
    ) -> None:
        self._store = store
        self._collection = collection
        self._leaves = leaves
        self._older_than = older_than
        self._clock = clock

    async def freshen(self, plan: Plan, *, always: bool = False) -> None:
        """Write the parts that are absent or older than half of `older_than`, children before their parents.

        Args:
            plan: The plan of a value.
            always: Write all of them.

        Raises:
            KeyMissingError: A `Digest` among them is not stored.
        """
        while not await self._attempt(plan, always):
            pass

    async def freshen_stored(self, digests: Iterable[Digest], *, always: bool = False) -> None:
        """Write once more what is stored under some digests, with all parts, from what is stored itself.

        Args:
            digests: The digests.
            always: Write also what is younger than half of `older_than`.

        Raises:
            KeyMissingError: A part is not there.
        """
        roots = list(digests)
        while not await self._attempt_stored(roots, always):
            pass

    async def _attempt(self, plan: Plan, always: bool) -> bool:
        nodes = await self._read_nodes(plan)
        whole = await self._stored_whole(nodes)
        needed = _needed(plan, whole)
        leaves = {digest: part for digest, part in needed.items() if part.children is None}
        references = [digest for digest, part in leaves.items() if not part.frame]
        if references:
            await self.freshen_stored(references, always=always)
            leaves = {digest: part for digest, part in leaves.items() if part.frame}
        for expanded in await self._freshen_leaves(leaves, always):
            if not await self._attempt(expanded, always):
                return False
        due = [part for part in needed.values() if part.children is not None]
        return await self._freshen_nodes(due, nodes, whole, always)

    async def _read_nodes(self, plan: Plan) -> Mapping[Digest, Entry]:
        """Return the entries of the parts that are to be nodes."""
        digests = [digest for digest, part in plan.parts.items() if part.children is not None]
        found: dict[Digest, Entry] = {}
        async for page, entries in Pages(self._store, self._collection).iterate(digests):
            found.update({digest: entries[digest] for digest in page if digest in entries})
        return found

    async def _stored_whole(self, nodes: Mapping[Digest, Entry]) -> set[Digest]:
        """Return the digests of planned nodes that are stored as leaves, and can be loaded."""
        whole: set[Digest] = set()
        for digest, entry in nodes.items():
            record = _record(entry)
            if isinstance(record, LeafRecord) and not await self._leaves.is_damaged(record, digest):
                whole.add(digest)
        return whole

    async def _freshen_leaves(self, parts: Mapping[Digest, StoredPart], always: bool) -> list[Plan]:
        """Freshen leaves, and return the plans of those that are stored as nodes."""
        expanded: list[Plan] = []
        # In order, since databases keep entries so: neighbours are read from the same pages.
        async for page, entries in Pages(self._store, self._collection).iterate(sorted(parts)):
            due: dict[str, bytes] = {}
            oldest = self._oldest()
            for digest in page:
                part, entry = parts[digest], entries.get(digest)
                if entry is None or entry.value == part.frame:
                    if always or entry is None or entry.updated_at < oldest:
                        due[digest] = part.frame
                elif (apart := await self._taken_apart(part, entry)) is not None:
                    expanded.append(apart)
                elif always or entry.updated_at < oldest or await self._is_replaced(digest, entry):
                    due[digest] = part.frame
            # A leaf needs no other entry. So it may replace whatever is there, and no version is compared.
            if due:
                await self._store.put_many(self._collection, due)
        return expanded

    async def _taken_apart(self, part: StoredPart, entry: Entry) -> Plan | None:
        """Return the plan of a leaf that is stored as a node of the same parts; None otherwise."""
        record = _record(entry)
        if not isinstance(record, NodeRecord):
            return None
        apart = await make_plan(part.value, 1, self._leaves)
        children = apart.parts[apart.root].children
        return apart if frozenset(record.children) == frozenset(children or ()) else None

    async def _is_replaced(self, digest: Digest, entry: Entry) -> bool:
        """Return whether an entry is a node, is damaged, or is signed with an old key."""
        record = _record(entry)
        return (
            not isinstance(record, LeafRecord)
            or self._leaves.is_stale(record)
            or await self._leaves.is_damaged(record, digest)
        )

    def _oldest(self) -> datetime:
        """Return since when an entry has to be there so as not to be written again."""
        return as_datetime(self._clock() - self._older_than / 2)

    async def _freshen_nodes(
        self, nodes: Sequence[StoredPart], entries: Mapping[Digest, Entry], whole: AbstractSet[Digest], always: bool
    ) -> bool:
        """Freshen nodes, lower ones first, and return whether no other writer was faster."""
        for height in sorted({part.height for part in nodes}):
            level = [part for part in nodes if part.height == height]
            for start in range(0, len(level), _AT_MOST):
                page = level[start : start + _AT_MOST]
                done = await all_of(self._freshen_node(part, entries.get(part.digest), whole, always) for part in page)
                if not all(done):
                    return False
        return True

    async def _freshen_node(
        self, part: StoredPart, entry: Entry | None, whole: AbstractSet[Digest], always: bool
    ) -> bool:
        if entry is None:
            return await self._store.put_if_absent(self._collection, part.digest, part.frame) is not None
        # The stored entry keeps its form if it needs no parts, or those that were just freshened.
        keeps = part.digest in whole or _is_same(part.frame, entry)
        if keeps and not always and entry.updated_at >= self._oldest():
            return True
        frame = entry.value if keeps else part.frame
        return await self._rewrite(part.digest, frame, entry.version)

    async def _rewrite(self, digest: Digest, frame: bytes, version: str) -> bool:
        return await self._store.compare_and_put(self._collection, digest, frame, version=version) is not None

    async def _attempt_stored(self, roots: Sequence[Digest], always: bool) -> bool:
        pages = Pages(self._store, self._collection)
        waiting, seen = deque(dict.fromkeys(roots)), set(roots)
        nodes: list[tuple[Digest, bytes, str]] = []
        while waiting:
            page, entries = await pages.read(waiting)
            due: dict[str, bytes] = {}
            for digest in page:
                entry = entries.get(digest)
                if entry is None:
                    raise missing(digest)
                record = unpack(entry.value)
                rewritten = always or entry.updated_at < self._oldest()
                if isinstance(record, LeafRecord):
                    if rewritten:
                        due[digest] = entry.value
                    continue
                if rewritten:
                    nodes.append((digest, entry.value, entry.version))
                more = dict.fromkeys(child for child in record.children if child not in seen)
                seen.update(more)
                waiting.extend(more)
            if due:
                await self._store.put_many(self._collection, due)
        return await self._rewrite_nodes(nodes[::-1])

    async def _rewrite_nodes(self, nodes: Sequence[tuple[Digest, bytes, str]]) -> bool:
        for start in range(0, len(nodes), _AT_FIRST):
            done = await all_of(self._rewrite(*node) for node in nodes[start : start + _AT_FIRST])
            if not all(done):
                return False
        return True


def _needed(plan: Plan, whole: AbstractSet[Digest]) -> Mapping[Digest, StoredPart]:
    """Return the parts of a plan without those of a node that is stored whole.

    Args:
        plan: The plan.
        whole: The digests of nodes that are stored whole.
    """
    if not whole:
        return plan.parts
    needed = {plan.root}
    for digest, part in reversed(plan.parts.items()):
        if digest in needed and digest not in whole:
            needed.update(part.children or ())
    return {digest: part for digest, part in plan.parts.items() if digest in needed}


def _record(entry: Entry) -> StoredRecord | None:
    """Return what an entry holds; None for a damaged one."""
    try:
        return unpack(entry.value)
    except IntegrityError:
        return None


def _is_same(frame: bytes, entry: Entry) -> bool:
    """Return whether an entry is a node of the same parts in the same places; the order of a dict does not count."""
    if entry.value == frame:
        return True
    found = _record(entry)
    return isinstance(found, NodeRecord) and _arranged(found) == _arranged(unpack(frame))


def _arranged(record: StoredRecord) -> object:
    if isinstance(record, LeafRecord):
        return None
    shape, parts = record.shape, record.children
    placed: object = parts
    if shape.keys is not None:
        placed = dict(zip(shape.keys, parts, strict=True))
    elif shape.type == "dict":
        placed = sorted(zip(parts[::2], parts[1::2], strict=True))
    return shape.type, shape.cls, shape.join, placed
