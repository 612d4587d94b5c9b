"""Loading: reading the parts of a value, and putting them together."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from .._threads import offload
from ..errors import KeyMissingError
from ..protocol import SupportsConditional
from .destructuring import join
from .digest import new_walk
from .freshening import Pages, missing
from .leaves import Leaves
from .planning import SMALL, node_digest, verified
from .records import JSON, PICKLE, RAW, LeafRecord, NodeRecord, unpack
from .walk import Digest, Walk

_ATTEMPTS = 3

Frames = Mapping[Digest, bytes]


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
        """
        frame = await self._store.get(self._collection, root)
        if frame is None:
            raise missing(root)
        record = unpack(frame)
        if isinstance(record, LeafRecord) and len(frame) < SMALL and _is_quick(record):
            return self._build(root, {root: frame}, new_walk())
        for attempt in range(_ATTEMPTS):
            try:
                frames = {root: frame} if isinstance(record, LeafRecord) else await self.read(root)
            except KeyMissingError:
                # Another process may have replaced a node while it was read, whose old parts were then collected.
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                break
        if sum(map(len, frames.values())) < SMALL and all(_is_quick(unpack(part)) for part in frames.values()):
            return self._build(root, frames, new_walk())
        return await offload(self._build, root, frames, new_walk())

    async def read(self, root: Digest) -> Frames:
        """Return the frames of a value and of all its parts.

        Raises:
            KeyMissingError: One is not there.
        """
        pages = Pages(self._store, self._collection)
        waiting, frames, seen = deque([root]), dict[Digest, bytes](), {root}
        while waiting:
            page, entries = await pages.read(waiting)
            for part in page:
                entry = entries.get(part)
                if entry is None:
                    raise missing(part)
                frames[part] = entry.value
                record = unpack(entry.value)
                if isinstance(record, NodeRecord):
                    more = dict.fromkeys(child for child in record.children if child not in seen)
                    seen.update(more)
                    waiting.extend(more)
        return frames

    def _build(self, root: Digest, frames: Frames, walk: Walk) -> Any:
        """Return the value of some frames. Each occurrence of a part becomes an object of its own."""
        record = unpack(frames[root])
        if isinstance(record, LeafRecord):
            return self._leaf(root, record, walk)
        value = join(record.shape, [self._build(child, frames, walk) for child in record.children])
        verified(root, node_digest(record.shape, record.children, value))
        return value

    def _leaf(self, found: Digest, record: LeafRecord, walk: Walk) -> Any:
        value = self._leaves.unpack(record, found)
        if record.form != PICKLE:  # its signature was made for this digest
            verified(found, Digest.of_bytes(walk.digest(value)))
        return value


def _is_quick(record: LeafRecord | NodeRecord) -> bool:
    """Return whether putting a small value together reads no files and runs no code of others.

    Unpickling imports modules, and a class whose digest is needed for the first time is looked for in the metadata of
    packages.
    """
    if isinstance(record, LeafRecord):
        return record.form in (JSON, RAW)
    return record.shape.cls is None and record.shape.join is None
