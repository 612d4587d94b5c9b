"""`TieredStore`: a fast store over a large one, read through the fast one first."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar, overload

from ..capability import METHODS, Capability
from ..clock import TTL, Clock, seconds, system_clock
from ..entry import Entry
from ..errors import ConfigurationError, InvalidTTLError, SatchelError
from ..lifecycle import Lifecycle
from ..names import check_items, check_name, check_names
from ..protocol import AsyncKeyValue
from .call import MISSING
from .composite import CompositeStore
from .seams import ChecksNames
from .tiered_hot import HotTier
from .tiered_statistics import TieredStatistics
from .tiered_tiers import Mode, Tiers
from .tiered_uses import ALL

D = TypeVar("D")

_KNOWN = functools.reduce(operator.or_, METHODS)
_WIPES = Capability.DESTROY_COLLECTION | Capability.DESTROY_STORE
_PAGE = 500


class TieredStore(CompositeStore, ChecksNames):
    """Keeps everything in a cold store, and what is used in a hot one in front of it.

    A value is read from hot, and where that has it not, from cold, from where it is put into hot with what is left of
    its time to live. Entries, with version, times and size, listings and conditional writes are cold's own. After a put
    or a delete through it has completed, no read through it gives what was there before.

    * `write="through"`: a put returns when cold has the value, and then hot.
    * `write="around"`: a put goes to cold, and out of hot.
    * `write="back"`: a put returns when the value is in hot and in a queue in this process, which is sent to cold in
      the background, by `flush`, and on closing. **What is in the queue is lost with the process.** Per key the writes
      reach cold in their order. Deletes, conditional writes, entries and listings first wait for the queued writes
      that they are about. `updated_at` is the time at which cold got the value.

    What fails in hot is logged and counted, and raised by `where` and `demote` alone: cold is asked instead. An entry
    that could not be removed from hot is not read from there until it has been. `ping` asks cold.

    Capabilities are cold's. Without `DESTROY_COLLECTION` or `DESTROY_STORE` of hot's that one is lacking, as what was
    destroyed would be read from hot.

    What other processes, or another store object, change in cold is seen when the entry in hot has expired: give
    `hot_ttl`. Hot belongs to one cold store: what else is in it is read, and destroyed, as if it were cold's.

    Args:
        hot: The fast store; it can lose entries at any time.
        cold: The store that keeps everything.
        write: Where a put goes.
        hot_ttl: The longest that an entry stays in hot, in seconds or as a `timedelta`; None for as long as in cold.
        queue_size: With `back`, so many keys can wait to reach cold; a put beyond that raises `QueueFullError`.
        clock: Gives the present as seconds since the Unix epoch; the same as that of the stores.

    Raises:
        ConfigurationError: One is no store, both are the same, or an option is out of its range.
    """

    def __init__(
        self,
        hot: AsyncKeyValue,
        cold: AsyncKeyValue,
        *,
        write: Mode = "through",
        hot_ttl: TTL | None = None,
        queue_size: int = 10_000,
        clock: Clock = system_clock,
    ) -> None:
        super().__init__(hot, cold)
        if hot is cold:
            raise ConfigurationError("TieredStore takes two stores, got one store as hot and as cold")
        if write not in ("through", "around", "back"):
            raise ConfigurationError(f"write must be through, around or back, got {write!r}")
        if type(queue_size) is not int or queue_size < 1:
            raise ConfigurationError(f"queue_size must be an int of at least 1, got {queue_size!r}")
        if not callable(clock):
            raise ConfigurationError(f"clock must be a function that gives seconds, got {type(clock).__name__}")
        try:
            longest = None if hot_ttl is None else seconds(hot_ttl)
        except InvalidTTLError as error:
            raise ConfigurationError(f"hot_ttl: {error}") from None
        self._limit = self.max_key_bytes
        self._hot = HotTier(hot, ttl=longest, clock=clock)
        self._hot_get, self._flights, self._note = hot.get, self._hot.flights, self._hot.uses.note
        self._reads = 0
        self._closing: list[asyncio.Future[None]] = []
        self._tiers = Tiers(self.__repr__, self._hot, cold, write=write, queue_size=queue_size, clock=clock)
        self._cold, self._waiting, self._queue = self._tiers.cold, self._tiers.waiting, self._tiers.queue
        self._lifecycle = Lifecycle(self.__repr__, open=_nothing, close=_nothing, abandon=self._abandon)

    @property
    def capabilities(self) -> Capability:
        """What this store can do beyond the core."""
        return self._cold.capabilities & _KNOWN & (self._hot.store.capabilities | ~_WIPES)

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent."""
        if self._flights or self._waiting or self._closing:
            collection, key = self._checked(collection, key)
            if self._closing or (collection, key) in self._waiting or self._hot.is_changing((collection, key)):
                return await self._find(collection, key, default)
        # The names of what hot has were checked when it was put; other calls are counted by the lifecycle.
        self._reads += 1
        try:
            try:
                value = await self._hot_get(collection, key, MISSING)
            except SatchelError as error:
                collection, key = self._checked(collection, key)
                self._hot.failed(error)
                found = await self._tiers.find(collection, [key], asks_hot=False, promotes=False)
                return found.get(key, default)
            counts = self._hot.counts
            if value is not MISSING:
                counts.hits += 1
                self._note((collection, key))
                return value
            collection, key = self._checked(collection, key)
            counts.misses += 1
            found = await self._tiers.find(collection, [key], asks_hot=False)
            return found.get(key, default)
        finally:
            self._reads -= 1
            if self._closing:
                self._wake()

    async def get_entry(self, collection: str, key: str) -> Entry | None:
        """Return the entry under a key, as cold has it."""
        with self._call("get_entry"):
            ref = self._checked(collection, key)
            await self._tiers.settle(ref[0], [ref[1]])
            return (await self._tiers.entries(ref[0], [ref[1]], many=False)).get(ref[1])

    async def exists(self, collection: str, key: str) -> bool:
        """Say whether there is an entry under a key."""
        with self._call("exists"):
            return await self._tiers.exists(self._checked(collection, key))

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing what was there, its deadline included."""
        with self._call("put"):
            ref = self._checked(collection, key)
            await self._tiers.put("put", ref[0], {ref[1]: value}, ttl, lambda: self._cold.put(*ref, value, ttl=ttl))

    async def delete(self, collection: str, key: str) -> bool:
        """Remove the entry under a key, and say whether it was there."""
        with self._call("delete"):
            ref = self._checked(collection, key)
            return await self._tiers.change(ref[0], [ref[1]], lambda: self._cold.delete(*ref))

    async def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that are there, in the order asked."""
        with self._call("get_many"):
            name = check_name(collection, "collection")
            return await self._tiers.find(name, check_names(keys, self._limit))

    async def get_entries(self, collection: str, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of those keys that are there, as cold has them, in the order asked."""
        with self._call("get_entries"):
            name, names = check_name(collection, "collection"), check_names(keys, self._limit)
            await self._tiers.settle(name, names)
            return await self._tiers.entries(name, names, many=True)

    async def put_many(self, collection: str, items: Mapping[str, object], *, ttl: TTL | None = None) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step."""
        with self._call("put_many"):
            name, values = check_name(collection, "collection"), dict(check_items(items, self._limit))
            await self._tiers.put("put_many", name, values, ttl, lambda: self._cold.put_many(name, values, ttl=ttl))

    async def delete_many(self, collection: str, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many of them were there."""
        with self._call("delete_many"):
            name, names = check_name(collection, "collection"), check_names(keys, self._limit)
            return await self._tiers.change(name, names, lambda: self._cold.delete_many(name, names))

    async def ping(self) -> None:
        """Return when cold answers: without hot the store is slower, and serves all the same."""
        with self._call("ping"):
            await self._tiers.asked(self._cold.ping())

    async def put_if_absent(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> str | None:
        """Store a value if the key is absent, and return its version; None when something was there."""
        self._need("put_if_absent")
        with self._call("put_if_absent"):
            ref = self._checked(collection, key)
            return await self._tiers.change(ref[0], [ref[1]], lambda: self._cold.put_if_absent(*ref, value, ttl=ttl))

    async def compare_and_put(
        self, collection: str, key: str, value: object, *, version: str, ttl: TTL | None = None
    ) -> str | None:
        """Replace the entry if it still has the version, and return the new version; None when it has not."""
        self._need("compare_and_put")
        with self._call("compare_and_put"):
            ref = self._checked(collection, key)
            return await self._tiers.change(
                ref[0], [ref[1]], lambda: self._cold.compare_and_put(*ref, value, version=version, ttl=ttl)
            )

    async def compare_and_delete(self, collection: str, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and say whether it was removed."""
        self._need("compare_and_delete")
        with self._call("compare_and_delete"):
            ref = self._checked(collection, key)
            return await self._tiers.change(
                ref[0], [ref[1]], lambda: self._cold.compare_and_delete(*ref, version=version)
            )

    async def touch(self, collection: str, key: str, *, ttl: TTL | None) -> bool:
        """Give the entry a new deadline, None for no deadline, and say whether it was there."""
        self._need("touch")
        with self._call("touch"):
            ref = self._checked(collection, key)
            return await self._tiers.change(ref[0], [ref[1]], lambda: self._cold.touch(*ref, ttl=ttl))

    def keys(self, collection: str, *, prefix: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Iterate over the keys of a collection, in no particular order, in constant memory."""
        self._need("keys")
        found = self._cold.keys(collection, prefix=prefix, limit=limit)
        return found if self._queue is None else self._tiers.after_writes(collection, found)

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        self._need("collections")
        found = self._cold.collections()
        return found if self._queue is None else self._tiers.after_writes(ALL, found)

    async def destroy_collection(self, collection: str) -> bool:
        """Remove every entry of a collection, and say whether there was any."""
        self._need("destroy_collection")
        with self._call("destroy_collection"):
            name = check_name(collection, "collection")
            return await self._tiers.wipe(name, lambda: self._cold.destroy_collection(name))

    async def destroy(self) -> bool:
        """Remove everything that the stores wrote and nothing else, and say whether there was any entry."""
        self._need("destroy")
        with self._call("destroy"):
            return await self._tiers.wipe(ALL, self._cold.destroy)

    async def cull(self) -> int:
        """Reclaim the space of expired entries in both stores now, and return how many there were in cold."""
        self._need("cull")
        with self._call("cull"):
            if Capability.CULL in self._hot.store.capabilities:
                try:
                    await self._hot.store.cull()
                except SatchelError as error:
                    self._hot.failed(error)
            return await self._tiers.asked(self._cold.cull())

    # What a tiered store has beyond others.

    async def warm(self, collection: str, keys: Iterable[str]) -> int:
        """Put entries of cold into hot, and return how many were.

        Those that hot has already are left as they are, where hot has `CONDITIONAL`, and else put anew.
        """
        with self._call("warm"):
            name, names = check_name(collection, "collection"), check_names(keys, self._limit)
            await self._tiers.settle(name, names)
            promoted = 0
            for start in range(0, len(names), _PAGE):
                page = [key for key in names[start : start + _PAGE] if await self._hot.trusts((name, key))]
                promoted += (await self._tiers.read_and_promote(name, page, page, many=True))[1]
            return promoted

    async def demote(self, *, keep: int) -> int:
        """Remove all but the `keep` most recently used entries from hot, and return how many were removed.

        Cold keeps them; with `write="back"` all queued writes are sent first. Uses through this store object count, the
        latest 50,000 at least. Where hot lists its entries, those never used come first, and all their names are in
        memory meanwhile; where it does not, only those that this object has used are known.

        Raises:
            ConfigurationError: `keep` is not an int of at least 0.
            StoreError: Hot failed, or something could not be sent.
        """
        if type(keep) is not int or keep < 0:
            raise ConfigurationError(f"keep must be an int of at least 0, got {keep!r}")
        with self._call("demote"):
            if self._queue is not None:
                await self._queue.flush()
            return await self._hot.uses.demote(self._hot.store, keep)

    async def flush(self) -> None:
        """Send all queued writes, and return when cold has them.

        Raises:
            StoreError: Some could not be sent. They are tried again a second later and by the next `flush`, but for
                those that cold refused, as too large for instance: these are given up.
        """
        with self._call("flush"):
            if self._queue is not None:
                await self._queue.flush()

    async def where(self, collection: str, key: str) -> dict[str, Entry]:
        """Return the entry of each tier that has it, under `"hot"` and `"cold"`, with size and times there.

        A queued write is not in cold yet. The versions of the two tiers are different ones; conditional writes take
        that of cold.

        Raises:
            StoreError: A tier failed.
        """
        with self._call("where"):
            ref = self._checked(collection, key)
            tiers = {"hot": self._hot.store, "cold": self._cold}
            found = {name: await tier.get_entry(*ref) for name, tier in tiers.items()}
            return {name: entry for name, entry in found.items() if entry is not None}

    def snapshot(self) -> TieredStatistics:
        """Return what was counted until now."""
        return TieredStatistics(
            hot=self._hot.counts.snapshot(),
            cold=self._tiers.counts.snapshot(),
            promotions=self._hot.promotions,
            demotions=self._hot.uses.demotions,
            queued=len(self._waiting),
        )

    async def _find(self, collection: str, key: str, default: Any) -> Any:
        with self._call("get"):
            return (await self._tiers.find(collection, [key])).get(key, default)

    async def _finish(self) -> None:
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing.append(end)
        await self._lifecycle.aclose()
        self._wake()
        await end
        if self._queue is not None:
            await self._queue.close()

    def _wake(self) -> None:
        for end in self._closing:
            if self._reads <= 0 and not end.done():
                end.set_result(None)

    def _call(self, operation: str) -> _Call:
        return _Call(self._lifecycle, operation)

    def _abandon(self) -> None:
        self._reads = 0
        if self._queue is not None:
            self._queue.abandon()


class _Call:
    """Is under way from its beginning to its end, for which closing waits."""

    __slots__ = ("_lifecycle", "_loop")

    def __init__(self, lifecycle: Lifecycle, operation: str) -> None:
        self._lifecycle = lifecycle
        self._loop = lifecycle.begin(operation)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._lifecycle.leave(self._loop)


async def _nothing() -> None:
    """Stand for opening and closing: the tiers do that themselves."""
