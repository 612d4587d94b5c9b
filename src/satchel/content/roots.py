"""Roots: what keeps content from being collected, and what all who use a collection of content agree on.

* `content/pins` has one record for each pinned digest.
* `content/roots` has one record for each collection whose records refer to content by a field `roots`.
* `content/settings` has the record `collection`, with the `older_than` that every saver and collector counts on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from .._batches import paged
from ..capability import Capability
from ..errors import ConfigurationError, IntegrityError
from ..names import check_name
from ..protocol import SupportsConditional, SupportsEnumerateKeys, require
from .records import as_digest
from .walk import Digest

FORMAT = 1
_SETTINGS_KEY: Final = "collection"


class Roots:
    """Keeper of the pins, registered collections and settings of a collection of content.

    Args:
        store: The store.
        collection: The collection of content.
        older_than: Seconds after which what nothing refers to may be removed.
    """

    def __init__(self, store: SupportsConditional, collection: str, older_than: float) -> None:
        self._store = store
        self._content = collection
        self._pins = check_name(f"{collection}/pins", "collection")
        self._registered = check_name(f"{collection}/roots", "collection")
        self._settings = check_name(f"{collection}/settings", "collection")
        self._older_than = older_than
        self._has_agreed = False
        self._known: set[str] = set()

    async def agree(self) -> None:
        """Store `older_than` if nobody has, and compare it with what is stored.

        Raises:
            ConfigurationError: They differ.
            IntegrityError: What is stored is none.
        """
        if self._has_agreed:
            return
        record: Any = await self._store.get(self._settings, _SETTINGS_KEY)
        if record is None:
            own = {"format": FORMAT, "older_than": self._older_than}
            if await self._store.put_if_absent(self._settings, _SETTINGS_KEY, own) is None:
                record = await self._store.get(self._settings, _SETTINGS_KEY)
        agreed = self._older_than if record is None else self._age_in(record)
        if agreed != self._older_than:
            raise ConfigurationError(
                f"this collection of content has older_than={agreed}, which its savers and collectors count on; "
                f"give ContentStore the same, got older_than={self._older_than}"
            )
        self._has_agreed = True

    def check_apart(self, collection: str) -> str:
        """Return the name of a collection for records that refer to content.

        Raises:
            InvalidKeyError: It is no legal name.
            ConfigurationError: It is a collection that holds content, or what belongs to that.
        """
        if check_name(collection, "collection") in (self._content, self._pins, self._registered, self._settings):
            raise ConfigurationError(f"the collection {collection} holds content; use another one for records")
        return collection

    async def register(self, collection: str) -> None:
        """Tell collectors that the records of a collection refer to content; it raises what `check_apart` raises."""
        if collection not in self._known:
            record = {"format": FORMAT, "collection": self.check_apart(collection)}
            await self._store.put_if_absent(self._registered, collection, record)
            self._known.add(collection)

    async def pin(self, digest: Digest) -> str | None:
        """Write a pin, and return its version; None when there was one.

        One that is there gets another version, so that no process that wrote it withdraws it.
        """
        record = {"format": FORMAT}
        version = await self._store.put_if_absent(self._pins, digest, record)
        if version is None:
            await self._store.put(self._pins, digest, record)
        return version

    async def withdraw(self, digest: Digest, version: str) -> None:
        """Remove a pin that this process wrote, unless another one has pinned the same digest since."""
        await self._store.compare_and_delete(self._pins, digest, version=version)

    async def unpin(self, digest: Digest) -> bool:
        """Remove a pin, and return whether there was one."""
        return await self._store.delete(self._pins, digest)

    async def pages(self) -> AsyncIterator[list[Digest]]:
        """Iterate over all digests that are kept, in pages.

        Raises:
            IntegrityError: A record is not one that this release reads; nothing may be removed then.
        """
        store = require(self._store, Capability.ENUMERATE_KEYS)
        async for keys in paged(store.keys(self._pins)):
            yield [as_digest(key, "a pin") for key in keys]
        async for keys in paged(store.keys(self._registered)):
            for collection in keys:
                async for page in self._recorded(store, collection):
                    yield page

    async def _recorded(self, store: SupportsEnumerateKeys, collection: str) -> AsyncIterator[list[Digest]]:
        async for keys in paged(store.keys(collection)):
            records = await self._store.get_many(collection, keys)
            yield [digest for key, record in records.items() for digest in roots_of(record, collection, key)]

    def _age_in(self, record: Any) -> float:
        age: Any = _checked(record, self._settings, _SETTINGS_KEY).get("older_than")
        if type(age) not in (int, float):
            raise IntegrityError(
                f"the record under {_SETTINGS_KEY!r} in {self._settings!r} has no number as older_than"
            )
        return age  # type: ignore[no-any-return]  # as was checked


def roots_of(record: Any, collection: str, key: str) -> list[Digest]:
    """Return the digests that a record keeps: its field `roots`.

    Args:
        record: The record.
        collection: The collection that it is in, for messages.
        key: Its key, for messages.

    Raises:
        IntegrityError: It has no such field, or something else than digests in it.
    """
    roots = _checked(record, collection, key).get("roots")
    try:
        if isinstance(roots, list):
            return [Digest(root) for root in roots]
    except ValueError:
        pass  # its message could hold a value
    raise IntegrityError(
        f"the record under {key!r} in {collection!r} has no list of digests as its field roots; write or delete it"
    )


def _checked(record: Any, collection: str, key: str) -> dict[str, Any]:
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise IntegrityError(
            f"the record under {key!r} in {collection!r} is damaged, or not one that this release of satchel wrote"
        )
    return record
