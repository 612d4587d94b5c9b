"""Collection of what nothing refers to any more."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace

from .._batches import paged
from ..capability import Capability
from ..clock import Clock
from ..errors import IntegrityError
from ..protocol import SupportsConditional, require
from .freshening import Pages, all_of
from .records import as_digest, unpack
from .roots import Roots
from .walk import Digest

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """Outcome of a collection, or its progress so far.

    Attributes:
        examined: Number of entries of content.
        old: Number of these that are older than `older_than`.
        kept: Number of digests that pins, recorded calls and given roots keep, with their parts.
        missing: Number of these that are not there.
        removed: Number of entries removed; with `dry_run`, number that would be removed.
        bytes: Size of the values that were removed, or would be, as the store keeps them.
    """

    examined: int = 0
    old: int = 0
    kept: int = 0
    missing: int = 0
    removed: int = 0
    bytes: int = 0


Progress = Callable[[CollectionReport], object]
_Candidates = dict[Digest, tuple[str, int]]


class Collector:
    """One collection under way.

    Args:
        store: The store.
        collection: The collection of content.
        roots: What is kept.
        more: Further digests to keep.
        older_than: Seconds for which an entry is kept without being referred to.
        dry_run: Whether to remove nothing.
        clock: Returns the present as seconds since the Unix epoch.
        on_progress: Is called with the report so far.
    """

    def __init__(
        self,
        store: SupportsConditional,
        collection: str,
        roots: Roots,
        more: Iterable[Digest],
        older_than: float,
        *,
        dry_run: bool,
        clock: Clock,
        on_progress: Progress | None,
    ) -> None:
        self._store = store
        self._collection = collection
        self._roots = roots
        self._more = list(more)
        self._older_than = older_than
        self._dry_run = dry_run
        self._clock = clock
        self._on_progress = on_progress
        self._report = CollectionReport()

    async def run(self) -> CollectionReport:
        """Collect, and return the report.

        The candidates are listed before the roots are read: what is recorded later was freshened before that, so that
        it is no candidate, or has another version.
        """
        candidates = await self._list_candidates()
        for digest in await self._marked():
            candidates.pop(digest, None)
        await self._remove(candidates)
        return self._report

    async def _list_candidates(self) -> _Candidates:
        candidates: _Candidates = {}
        listing = require(self._store, Capability.ENUMERATE_KEYS).keys(self._collection)
        pages = Pages(self._store, self._collection)
        async for keys in paged(listing):
            waiting = deque(map(_as_digest, keys))
            while waiting:
                _, entries = await pages.read(waiting)
                for key, entry in entries.items():
                    if self._clock() - entry.updated_at.timestamp() > self._older_than:
                        candidates[_as_digest(key)] = (entry.version, entry.size)
                self._tell(examined=self._report.examined + len(entries), old=len(candidates))
        return candidates

    async def _marked(self) -> set[Digest]:
        """Return the digests that are kept, with those of all parts."""
        marked: set[Digest] = set()
        async for roots in self._root_pages():
            waiting = deque(dict.fromkeys(root for root in roots if root not in marked))
            marked.update(waiting)
            await self._mark_parts(waiting, marked)
        return marked

    async def _root_pages(self) -> AsyncIterator[list[Digest]]:
        async for page in self._roots.pages():
            yield page
        yield self._more

    async def _mark_parts(self, waiting: deque[Digest], marked: set[Digest]) -> None:
        pages = Pages(self._store, self._collection)
        while waiting:
            page, entries = await pages.read(waiting)
            for digest, entry in entries.items():
                more = [child for child in _children(digest, entry.value) if child not in marked]
                marked.update(more)
                waiting.extend(dict.fromkeys(more))
            self._tell(kept=len(marked), missing=self._report.missing + len(page) - len(entries))

    async def _remove(self, candidates: _Candidates) -> None:
        garbage = list(candidates.items())
        for start in range(0, len(garbage), _AT_ONCE):
            page = garbage[start : start + _AT_ONCE]
            removed = await all_of(self._remove_one(digest, version) for digest, (version, _) in page)
            sizes = [size for gone, (_, (_, size)) in zip(removed, page, strict=True) if gone]
            self._tell(removed=self._report.removed + len(sizes), bytes=self._report.bytes + sum(sizes))

    async def _remove_one(self, digest: Digest, version: str) -> bool:
        return self._dry_run or await self._store.compare_and_delete(self._collection, digest, version=version)

    def _tell(self, **changes: int) -> None:
        self._report = replace(self._report, **changes)
        if self._on_progress is not None:
            self._on_progress(self._report)


def _as_digest(key: str) -> Digest:
    return as_digest(key, "an entry among the content")


def _children(digest: str, frame: object) -> Iterable[Digest]:
    try:
        return unpack(frame).children
    except IntegrityError:
        raise IntegrityError(
            f"the entry of {digest} is damaged, so that its parts are not known; save the value again, or evict it. "
            "Nothing was removed"
        ) from None
