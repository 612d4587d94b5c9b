"""`Uses`: which entries of a hot store were used last, and the removal of the others."""

from __future__ import annotations

from ..capability import Capability
from ..names import Ref
from ..protocol import SupportsEverything

ALL = ""
"""As a key: the whole collection. As a collection: the whole store. Neither is a legal name."""

_REMEMBERED = 100_000
_PAGE = 500


class Uses:
    """Remembers the order in which entries were used, of the latest ones."""

    def __init__(self) -> None:
        self.demotions = 0
        self._count = 0
        self._last: dict[Ref, int] = {}

    def note(self, ref: Ref) -> None:
        """Note that an entry is used now."""
        self._count += 1
        self._last[ref] = self._count
        if len(self._last) > _REMEMBERED:
            self._last = dict(sorted(self._last.items(), key=lambda item: item[1])[_REMEMBERED // 2 :])

    def forget(self, ref: Ref) -> None:
        """Note that an entry is not there any more."""
        self._last.pop(ref, None)

    def forget_collection(self, collection: str) -> None:
        """Note that a collection, or `ALL`, is not there any more."""
        self._last = {ref: use for ref, use in self._last.items() if collection not in (ALL, ref[0])}

    async def demote(self, store: SupportsEverything, keep: int) -> int:
        """Remove all but the most recently used entries from a store, and return how many were removed."""
        refs = sorted(await self._held(store), key=lambda ref: self._last.get(ref, 0))
        leaving: dict[str, list[str]] = {}
        for collection, key in refs[: max(0, len(refs) - keep)]:
            leaving.setdefault(collection, []).append(key)
        removed = 0
        for collection, keys in leaving.items():
            for start in range(0, len(keys), _PAGE):
                page = keys[start : start + _PAGE]
                removed += await store.delete_many(collection, page)
                for key in page:
                    self.forget((collection, key))
        self.demotions += removed
        return removed

    async def _held(self, store: SupportsEverything) -> list[Ref]:
        lists = Capability.ENUMERATE_KEYS | Capability.ENUMERATE_COLLECTIONS
        if lists not in store.capabilities:
            return list(self._last)
        names = [name async for name in store.collections()]
        return [(name, key) for name in names async for key in store.keys(name)]
