"""`Tags`: invalidation of many cached results at once, by names that they have in common."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping

from ._update import ATTEMPTS
from .capability import Capability
from .entry import Entry
from .errors import ConflictError, IntegrityError
from .names import check_name
from .protocol import AsyncKeyValue, require

__all__ = ["Tags"]

TAGS = "cache-tags"
"""The collection that holds tags unless another is given."""

_VERSION_BYTES = 16


class Tags:
    """Invalidation by tags: makes every cached result with one of these tags absent, in every process.

    A tag is an entry with a random version. A result is kept with the versions that its tags had before the function
    ran, and is good as long as they are the same. So invalidating takes one request, however many results there are.

    ```python
    from satchel import MemoryStore, Tags, cached

    store = MemoryStore()

    @cached(store, "profiles", ttl=3600, tags=lambda user: [f"user:{user}"])
    async def profile(user: int) -> dict[str, int]:
        return {"id": user}

    await profile(7)
    await Tags(store).invalidate("user:7")
    ```

    Args:
        store: The store of the cached results, with `Capability.CONDITIONAL`.
        collection: The collection that holds the tags; the one given to `cached` as `tags_collection=`.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        InvalidKeyError: The collection is not a legal name.
    """

    def __init__(self, store: AsyncKeyValue, *, collection: str = TAGS) -> None:
        self._store = require(store, Capability.CONDITIONAL)
        self._collection = check_name(collection, "collection")

    def __repr__(self) -> str:
        return f"Tags({self._store!r}, collection={self._collection!r})"

    async def invalidate(self, *tags: str) -> None:
        """Make every result with one of these tags absent. It takes one request.

        Call it after a change of what the results are made of has been committed: a function that ran before that may
        have seen what was before.

        Raises:
            InvalidKeyError: A tag is not a legal key.
            BatchError, StoreError: The backend failed; some tags may not have been invalidated.
        """
        await self._store.delete_many(self._collection, tags)

    async def present_versions(self, tags: Collection[str]) -> dict[str, str]:
        """Return the versions of the tags that have one.

        The entries are read, and not their values alone, so that a near cache is not asked.
        """
        entries = await self._store.get_entries(self._collection, tags)
        return {tag: self._version_in(tag, entry) for tag, entry in entries.items()}

    async def versions(self, tags: Collection[str]) -> dict[str, str]:
        """Return the versions of tags, giving one to those that have none.

        Raises:
            ConflictError: A tag was invalidated each time that it was given a version.
        """
        versions: dict[str, str] = {}
        for _ in range(ATTEMPTS):
            versions |= await self.present_versions([tag for tag in tags if tag not in versions])
            missing = [tag for tag in tags if tag not in versions]
            made = await asyncio.gather(*map(self._make, missing))
            versions |= {tag: version for tag, version in zip(missing, made, strict=True) if version is not None}
            if len(versions) == len(set(tags)):
                return versions
        raise ConflictError(f"tags of collection {self._collection!r} were invalidated {ATTEMPTS} times in a row")

    async def are_current(self, versions: Mapping[str, str], tags: Collection[str]) -> bool:
        """Return whether tags have exactly these versions."""
        if versions.keys() != set(tags):
            return False
        return not versions or await self.present_versions(tags) == versions

    async def _make(self, tag: str) -> str | None:
        """Give a version to a tag that has none; None if it has one now."""
        version = secrets.token_hex(_VERSION_BYTES)
        value = {"format": 1, "version": version}
        return None if await self._store.put_if_absent(self._collection, tag, value) is None else version

    def _version_in(self, tag: str, entry: Entry) -> str:
        match entry.value:
            case {"format": 1, "version": str(version)}:
                return version
        raise IntegrityError(f"key {tag!r} of collection {self._collection!r} holds something that is no tag")
