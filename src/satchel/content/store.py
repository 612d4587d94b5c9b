"""`ContentStore`: values under their digests, with equal parts stored once."""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, get_args

from .._batches import paged
from .._checks import check_bool, check_choice, check_clock, check_int
from .._keyring import Keys
from ..capability import Capability
from ..clock import TTL, Clock, seconds, system_clock
from ..codec import MAX_DEPTH
from ..errors import ConfigurationError, IntegrityError, KeyMissingError, ValueTooLargeError
from ..names import check_name
from ..protocol import AsyncKeyValue, SupportsConditional, require
from .collecting import CollectionReport, Collector, Progress
from .freshening import Freshener, Pages, missing
from .leaves import Leaf, Leaves
from .loading import Loader
from .pickles import check_leaf_keys, read_keys
from .planning import Plan, is_quick, make_plan
from .records import as_digest, unpack
from .roots import Roots
from .shortening import Shortener, check_prefix, only_one
from .walk import Digest

_AN_ENTRY = "an entry among the content"


class ContentStore:
    """Store of values under their digests, in which equal parts are stored once.

    ```python
    from satchel import MemoryStore
    from satchel.content import ContentStore

    content = ContentStore(MemoryStore())
    digest = await content.save({"weights": [0.1, 0.2], "labels": ("cat", "dog")})
    assert await content.load(digest) == {"weights": [0.1, 0.2], "labels": ("cat", "dog")}
    await content.pin(digest)                       # kept by every collection, until unpin
    ```

    * Lists, tuples, dicts, dataclasses, attrs classes and named tuples are taken apart; the digest of a value is the
      same however it is stored. What is stored already stays in the form that it has.
    * A value that nothing refers to is removed by `gc` once it is older than `older_than`. Pins and the records of
      registered collections, such as those of `Calls`, refer to values.
    * A part that is a `Digest` stands for the value saved under it, and is loaded as that value.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        collection: The collection that holds the values.
        leaf: Form of parts that are neither JSON values nor `bytes`: `json` takes them apart further, or refuses them;
            `pickle` signs a pickle; `hdf5` takes numpy arrays and scalars.
        keys: Keys that sign pickles, the current one first: 32 bytes each, or these as text.
        depth: How many levels of a value are taken apart; 0 for none.
        older_than: Time for which a value is kept that nothing refers to. All who use the collection agree on it: a
            save has to end within a small part of it. The clocks of their hosts may differ by a quarter of it.
        clock: Returns the present as seconds since the Unix epoch.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        ConfigurationError: An option is wrong, or pickles are to be written and there is no key.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        collection: str = "content",
        *,
        leaf: Leaf = "json",
        keys: Keys | None = None,
        depth: int = 1,
        older_than: TTL = 3600,
        clock: Clock = system_clock,
    ) -> None:
        self._store: SupportsConditional = require(store, Capability.CONDITIONAL)
        self._collection = check_name(collection, "collection")
        check_choice("leaf", leaf, get_args(Leaf))
        check_int("depth", depth, 0, MAX_DEPTH)
        check_clock(clock)
        secrets = read_keys(keys)
        check_leaf_keys(leaf, secrets)
        self._depth = depth
        self._leaf = leaf
        self._older_than = float(seconds(older_than, "older_than"))
        self._clock = clock
        self._leaves = Leaves(leaf, secrets)
        self._roots = Roots(self._store, self._collection, self._older_than)
        self._loader = Loader(self._store, self._collection, self._leaves)
        self._freshener = Freshener(self._store, self._collection, self._leaves, self._older_than, clock)

    def __repr__(self) -> str:
        return f"ContentStore({self._store!r}, {self._collection!r}, leaf={self._leaf!r}, depth={self._depth})"

    @property
    def store(self) -> SupportsConditional:
        """The store that holds the content."""
        return self._store

    async def save(self, value: object) -> Digest:
        """Store a value with its parts, and return its digest. Do not change it before that.

        It stays for at least a quarter of `older_than`: pin it, or record a call with it, if it is to stay longer.

        Raises:
            DigestError: A part has no digest; the message has its path.
            SerializationError: A part cannot be stored.
            ValueTooLargeError: A part is larger than the store takes.
            KeyMissingError: A `Digest` among the parts is not stored.
            ConfigurationError: Others use the collection with another `older_than`.
        """
        saving = self.saving()
        digest = await saving.save(value)
        await saving.finish()
        return digest

    def saving(self) -> Saving:
        """Return a save of several values that a record is going to refer to.

        First `save` every value, which may be a `Digest` of one that is stored, then write the record, then
        `finish`. The record has the digests in a list, as its
        field `roots`, and is in a collection that was registered by `register_roots`.
        """
        return Saving(self)

    async def register_roots(self, collection: str) -> None:
        """Register a collection of the same store whose records refer to content; do it before its first record.

        Every record of it is a dict with `"format": 1` and the field `roots`, a list of digests. A collection of
        garbage in any process reads them.

        Raises:
            ConfigurationError: It is a collection that holds the content itself, or its pins or settings.
        """
        await self._roots.register(collection)

    async def load(self, digest: str) -> Any:
        """Return the value with a digest. Each call makes a new one.

        What is loaded has the digest that was asked for, or an error is raised. Classes are not initialized, and are
        found only in modules that are imported; so are functions of `register_destructurer`.

        Raises:
            KeyMissingError: It is not there, or one of its parts is not; the message names that.
            IntegrityError: An entry is damaged, or a pickle was not signed with any of the keys.
            SerializationError: It needs keys that were not given, or a class that has gone or is not imported; or it
                has more than ten million parts, or nests deeper than 100.
            DigestError: The text is not a digest; `expand` completes a short one.
        """
        return await self._loader.load(Digest(digest))

    async def contains(self, digest: str) -> bool:
        """Return whether a value is there with all its parts. It does not look at leaves, nor at how deep they nest.

        Raises:
            IntegrityError: An entry is damaged, so that its parts are not known.
        """
        try:
            await self._loader.read(Digest(digest))
        except KeyMissingError:
            return False
        return True

    async def evict(self, digest: str) -> bool:
        """Remove the entry of a digest, and return whether there was one.

        Its parts stay until a collection. What it is a part of cannot be loaded until it is saved again.
        """
        return await self._store.delete(self._collection, Digest(digest))

    async def child_digests(self, digest: str) -> tuple[Digest, ...]:
        """Return the digests of the parts into which a value was taken apart, in their order; none for a leaf.

        Raises:
            KeyMissingError: It is not there.
            IntegrityError: Its entry is damaged.
        """
        asked = Digest(digest)
        frame = await self._store.get(self._collection, asked)
        if frame is None:
            raise missing(asked)
        return unpack(frame).children

    async def count_reuses(self) -> Counter[Digest]:
        """Return how many times each stored value is a part of others: 0 for one that is none. It reads everything.

        Raises:
            IntegrityError: An entry is damaged, or has a key that is not a digest.
            UnsupportedOperationError: The store does not enumerate keys.
        """
        counts: Counter[Digest] = Counter()
        pages = Pages(self._store, self._collection)
        async for keys in paged(require(self._store, Capability.ENUMERATE_KEYS).keys(self._collection)):
            async for page, entries in pages.iterate([as_digest(key, _AN_ENTRY) for key in keys]):
                for digest in page:
                    if (entry := entries.get(digest)) is not None:
                        counts[digest] += 0
                        counts.update(unpack(entry.value).children)
        return counts

    async def expand(self, prefix: str) -> Digest:
        """Return the one stored digest that begins with a prefix of at least 4 characters.

        Raises:
            InvalidKeyError: It is too short, is not hexadecimal, or is ambiguous: the message says how many characters
                are needed.
            KeyMissingError: No digest begins with it.
            IntegrityError: What begins with it is not a digest.
            UnsupportedOperationError: The store does not enumerate keys.
        """
        check_prefix(prefix)
        keys = require(self._store, Capability.ENUMERATE_KEYS).keys(self._collection, prefix=prefix)
        return as_digest(only_one(prefix, [key async for key in keys]), _AN_ENTRY)

    async def shrink(self, *digests: str) -> tuple[str, ...]:
        """Return for each digest the shortest beginning, of at least 4 characters, that no other stored one has.

        All digests of the collection are listed once.

        Raises:
            UnsupportedOperationError: The store does not enumerate keys.
        """
        asked = [Digest(digest) for digest in digests]
        shortener = Shortener(asked)
        async for key in require(self._store, Capability.ENUMERATE_KEYS).keys(self._collection):
            shortener.add(key)
        return tuple(shortener.shortest(digest) for digest in asked)

    async def pin(self, *digests: str) -> None:
        """Keep values, with all their parts, from being collected, until `unpin`.

        Raises:
            KeyMissingError: One of them, or a part of it, is not there; then this call has pinned nothing.
            IntegrityError: An entry is damaged, so that its parts are not known; then neither.
        """
        asked = [Digest(digest) for digest in digests]
        await self._roots.agree()
        # The pin comes first: a collection that has not seen it finds other versions of what it wants to remove.
        pinned = {digest: await self._roots.pin(digest) for digest in dict.fromkeys(asked)}
        try:
            await self._freshener.freshen_stored(asked, always=True)
        except (KeyMissingError, IntegrityError):
            for digest, version in pinned.items():
                if version is not None:
                    await self._roots.withdraw(digest, version)
            raise

    async def unpin(self, *digests: str) -> int:
        """Remove pins, and return how many there were."""
        return sum([await self._roots.unpin(Digest(digest)) for digest in digests])

    async def gc(
        self,
        *,
        roots: Iterable[str] | None = None,
        older_than: TTL | None = None,
        dry_run: bool = False,
        on_progress: Progress | None = None,
    ) -> CollectionReport:
        """Remove what is older than `older_than` and is no part of what pins and registered collections refer to.

        Saves, pins and other collections may run at the same time, in any process.

        Args:
            roots: Further digests to keep.
            older_than: Another age, not below that of the collection; None for that.
            dry_run: Remove nothing, and report what would be removed.
            on_progress: Plain function that is called after each page with the report so far. An exception from it
                ends the collection.

        Raises:
            ConfigurationError: The age is below that which savers count on, or an argument is wrong.
            IntegrityError: A record is damaged, so that what it refers to is not known. Nothing was removed.
            UnsupportedOperationError: The store does not enumerate keys.
        """
        age = self._older_than if older_than is None else float(seconds(older_than, "older_than"))
        if age < self._older_than:
            raise ConfigurationError(
                f"older_than must be at least that of the ContentStore, {self._older_than:g} s, which savers count on"
            )
        check_bool("dry_run", dry_run)
        if on_progress is not None and (not callable(on_progress) or inspect.iscoroutinefunction(on_progress)):
            raise ConfigurationError("on_progress must be a plain function")
        if isinstance(roots, str):
            raise ConfigurationError("roots must be a list of digests, got one str; write [digest]")
        if roots is not None and not isinstance(roots, Iterable):
            raise ConfigurationError(f"roots must be a list of digests, got {type(roots).__name__}")
        more = [Digest(root) for root in roots or ()]
        require(self._store, Capability.ENUMERATE_KEYS)
        await self._roots.agree()
        return await Collector(
            self._store,
            self._collection,
            self._roots,
            more,
            age,
            dry_run=dry_run,
            clock=self._clock,
            on_progress=on_progress,
        ).run()

    async def _plan(self, value: object, *, keeps_small: bool = False) -> Plan:
        depth = 0 if keeps_small and is_quick(value, self._leaf) else self._depth
        found = await make_plan(value, depth, self._leaves)
        limit = self._store.max_value_bytes
        for part in found.parts.values() if limit is not None else ():
            if len(part.frame) > limit:  # type: ignore[operator]  # there is one
                raise ValueTooLargeError(_too_large(part.value, len(part.frame), limit, part.children))
        return found


def _too_large(value: object, size: int, limit: int | None, children: tuple[Digest, ...] | None) -> str:
    what = f"a part of type {type(value).__name__} takes {size} bytes, and the store at most {limit}"
    if children is None:
        return f"{what}; give ContentStore a larger depth, so that it is taken apart, or use another store"
    return (
        f"{what}: the digests of its {len(children)} parts; nest it, for example in lists of 1000, or use another store"
    )


class Saving:
    """Save of values that a record is going to refer to; `ContentStore.saving` makes it."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._begun = content._clock()
        self._begun_here = time.monotonic()
        self._plans: list[Plan] = []

    async def save(self, value: object, *, keeps_small: bool = False) -> Digest:
        """Store a value with its parts, and return its digest. It raises what `ContentStore.save` raises.

        Args:
            value: The value.
            keeps_small: Whether a value of less than about 16 KiB is stored whole, for loads in one round trip.
        """
        content = self._content
        plan = await content._plan(value, keeps_small=keeps_small)
        await content._roots.agree()
        self._plans.append(plan)
        await content._freshener.freshen(plan)
        return plan.root

    async def finish(self, *, rewrite: bool = False) -> None:
        """Write everything once more if the save took so long that a collection may have been faster.

        Call it after the record was written: only what is younger than `older_than`, or was written after the record,
        is safe from a collection that has not read it.

        Args:
            rewrite: Do so in any case, as before another record is deleted that refers to the same values.
        """
        taken = max(abs(self._content._clock() - self._begun), time.monotonic() - self._begun_here)
        if rewrite or taken > self._content._older_than / 4:
            for plan in self._plans:
                await self._content._freshener.freshen(plan, always=True)
