"""Loading: reading the parts of a value, and putting them together."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from .._threads import offload
from ..codec import MAX_DEPTH, MOST_REPEATED
from ..errors import SerializationError
from ..protocol import SupportsConditional
from .destructuring import join
from .digest import new_walk
from .freshening import Pages, missing
from .leaves import Leaves, verify
from .planning import SMALL, node_digest
from .records import JSON, RAW, LeafRecord, NodeRecord, StoredRecord, unpack
from .walk import Digest, Walk

_MOST_PARTS = 10_000_000

_Records = Mapping[Digest, StoredRecord]


class Loader:
    """Reader of values.

    Args:
        store: The store.
        collection: The collection of content.
        leaves: The forms of leaves.
    """

    def __init__(self, store: SupportsConditional, collection: str, leaves: Leaves) -> None:
        self._store = store
        self._collection = collection
        self._leaves = leaves

    async def load(self, root: Digest) -> Any:
        """Return the value with a digest.

        Raises:
            KeyMissingError: It is not there, or a part of it is not; the message names that.
            SerializationError: It has more parts than can be put together, or nests too deep.
        """
        records = await self.read(root)
        if records[root].children:
            _check_shape(root, records)
        if sum([record.size for record in records.values()]) < SMALL and all(map(_is_quick, records.values())):
            return self._build(root, records, new_walk())
        return await offload(self._build, root, records, new_walk())

    async def read(self, root: Digest) -> _Records:
        """Return the records of a value and of all its parts.

        Raises:
            KeyMissingError: One is not there.
        """
        frame = await self._store.get(self._collection, root)
        if frame is None:
            raise missing(root)
        records = {root: unpack(frame)}
        waiting = deque(sorted(set(records[root].children)))  # databases keep neighbours on the same pages
        seen = {root, *waiting}
        pages = Pages(self._store, self._collection)
        while waiting:
            page, frames = await pages.read_values(waiting)
            for part in page:
                if part not in frames:
                    raise missing(part)
                records[part] = record = unpack(frames[part])
                more = dict.fromkeys(child for child in record.children if child not in seen)
                seen.update(more)
                waiting.extend(more)
        return records

    def _build(self, root: Digest, records: _Records, walk: Walk) -> Any:
        """Return the value of some records. Each occurrence of a part becomes an object of its own."""
        record = records[root]
        if isinstance(record, LeafRecord):
            return self._leaves.load(record, root, walk)
        value = join(record.shape, [self._build(child, records, walk) for child in record.children])
        verify(root, lambda: node_digest(record.shape, record.children, value))
        return value


def _check_shape(root: Digest, records: _Records) -> None:
    nodes = {part: record.children for part, record in records.items() if isinstance(record, NodeRecord)}
    _check_depth(root, nodes)
    _check_size(root, records, nodes)


def _check_depth(root: Digest, nodes: Mapping[Digest, Sequence[Digest]]) -> None:
    """Raise if a value nests deeper than any of which a digest is made, or without end, as only a forged one does.

    Args:
        root: Its digest.
        nodes: The parts of all nodes.

    Raises:
        SerializationError: It nests deeper.
    """
    heights: dict[Digest, int] = {}

    def height(node: Digest, room: int) -> int:
        if node not in heights and room:
            heights[node] = 1 + max([height(child, room - 1) for child in nodes[node] if child in nodes], default=0)
        return heights.get(node, 1 + MAX_DEPTH)

    if root in nodes and height(root, MAX_DEPTH) > MAX_DEPTH:
        raise SerializationError(f"{root} nests deeper than {MAX_DEPTH}; load parts of it, by child_digests")


def _check_size(root: Digest, records: _Records, nodes: Mapping[Digest, Sequence[Digest]]) -> None:
    """Raise if a value holds few parts so often that it could not be put together.

    Raises:
        SerializationError: It has more parts, or repeats more bytes, than memory takes.
    """
    sizes = {part: (1, record.size) for part, record in records.items() if part not in nodes}

    def size(part: Digest) -> tuple[int, int]:
        if part not in sizes:
            counts, lengths = zip((1, records[part].size), *map(size, nodes[part]), strict=True)
            sizes[part] = sum(counts), sum(lengths)
        return sizes[part]

    count, length = size(root)
    if count > _MOST_PARTS:
        most = f"it has more than {_MOST_PARTS:,}"
    elif length - sum([record.size for record in records.values()]) > MOST_REPEATED:
        most = f"they add more than {MOST_REPEATED:,} bytes"
    else:
        return
    raise SerializationError(
        f"{root} holds equal parts so often that {most}, each an object of its own; load parts of it, by child_digests"
    )


def _is_quick(record: StoredRecord) -> bool:
    """Return whether putting a small value together reads no files and runs no code of others.

    Unpickling imports modules, and a class whose digest is needed for the first time is looked for in the metadata of
    packages.
    """
    if isinstance(record, LeafRecord):
        return record.form in (JSON, RAW)
    return record.shape.cls is None and record.shape.join is None
