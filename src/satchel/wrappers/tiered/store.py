"""`TieredStore`: a fast store over a large one, read through the fast one first."""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, ClassVar, TypeVar, overload

from ..._batches import LONG, checked_names, slices
from ..._checks import check_bool, check_clock, check_int
from ..._forks import hold
from ..._threads import Yielder
from ...backend.lifecycle import Lifecycle
from ...capability import Capability
from ...change import Change
from ...clock import TTL, Clock, seconds, system_clock
from ...entry import Entry
from ...errors import ConfigurationError, InvalidTTLError, SatchelError, safe_repr
from ...names import MAX_NAME_BYTES, check_name, check_ref
from ...protocol import AsyncKeyValue, require
from ...verbs import BATCHES, CHANGES, CONDITIONAL_WRITES, DESTROYS, LISTINGS, OF_ENTRIES, PUTS, READS
from ..call import MISSING, Call, Steps
from ..composite import CompositeStore, gather_batch
from .follow import Follower
from .hot import HotTier
from .pending import ALL
from .statistics import TieredStatistics
from .tiers import Mode, Tiers


class ActiveCalls:
    """Counts the calls under way on one event loop, and refuses new ones once closing has begun.

    Args:
        name: The name of the store in messages.
        abandon: Is called on the next event loop when the one of what is under way has been closed.
        disown: Is called in a child of `fork`: what is under way is its parent's.

    Attributes:
        quick: Reads that ask hot at once, which count themselves: a hit costs little more than that.
        closing: Is not empty once closing has begun: what is `quick` then ends with `wake`, and no more begin.
    """

    def __init__(self, name: Callable[[], str], abandon: Callable[[], None], disown: Callable[[], None]) -> None:
        self.quick = 0
        self.closing: list[asyncio.Future[None]] = []
        self._lifecycle = Lifecycle(name, open=_nothing, close=_nothing, abandon=self._discard, disown=self._disown)
        self.begin, self.leave = self._lifecycle.begin, self._lifecycle.leave
        self._abandon_more, self._disown_more = abandon, disown

    @contextmanager
    def during(self, operation: str) -> Iterator[None]:
        """Begin a call, for the length of a block."""
        loop = self.begin(operation)
        try:
            yield
        finally:
            self.leave(loop)

    def check(self, operation: str) -> None:
        """Refuse a call on another event loop than that of what is under way; go on on the next one."""
        self._lifecycle.check(operation)

    async def end(self) -> None:
        """Refuse new calls, and return when none is under way any more."""
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closing.append(end)
        await self._lifecycle.aclose()
        self.wake()
        await end

    def wake(self) -> None:
        """Note that a quick read has ended."""
        for end in self.closing:
            if self.quick <= 0:
                # The read may have been one on another event loop, in another thread.
                end.get_loop().call_soon_threadsafe(_tell, end)

    def _discard(self) -> None:
        self.quick = 0
        self._abandon_more()

    def _disown(self, used: bool) -> None:
        if used:
            hold(*self.closing)
            self.quick, self.closing = 0, []
            self._disown_more()


def _tell(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)


async def _nothing() -> None:
    """Stand for opening and closing: the tiers do that themselves."""


D = TypeVar("D")

_PUTS = PUTS - CONDITIONAL_WRITES
_CHANGES = (OF_ENTRIES & CHANGES) - _PUTS
_WITHOUT_KEYS = DESTROYS | {"ping", "cull", "count"}
_READS = READS - {"get"}
_WIPES = Capability.DESTROY_COLLECTION | Capability.DESTROY_STORE


class TieredStore(CompositeStore):
    """Store that keeps everything in a cold store, and recently used entries in a hot one in front of it.

    A miss in hot is read from cold and promoted: put into hot with its remaining time to live. Entries, with version,
    times and size, listings and conditional writes come from cold. After a put or a delete through it has completed, no
    read through it returns an older value.

    * `write="through"`: a put returns when cold has the value, and then hot.
    * `write="around"`: a put goes to cold, and out of hot.
    * `write="back"`: a put returns when the value is in hot and in a queue in this process, which is sent to cold in
      the background, by `flush`, and on closing. **The queue is lost with the process.** Per key the writes reach cold
      in their order. Deletes, conditional writes, entries and listings first wait for the queued writes that concern
      them. `updated_at` is the time at which cold received the value.

    Failures of hot are logged and counted, and raised only by `where` and `demote`: cold is asked instead. An entry
    that could not be removed from hot is not read from there until it has been. `ping` asks cold.

    Capabilities are cold's. If hot lacks `DESTROY_COLLECTION` or `DESTROY_STORE`, this store lacks it too, because
    destroyed entries would still be read from hot.

    Changes to cold by other processes, or another store object, become visible when the entry in hot has expired: set
    `hot_ttl`. With `follow=True` they do as soon as cold reports them: `docs/wrappers/tiered.md` says what is promised.
    Hot belongs to one cold store: other entries in it are read, and destroyed, as if they were cold's.

    Args:
        hot: The fast store; it can lose entries at any time.
        cold: The store that keeps everything.
        write: Where a put goes.
        hot_ttl: The longest that an entry stays in hot, in seconds or as a `timedelta`; None for as long as in cold.
        queue_size: With `back`, maximum number of keys queued for cold; a put beyond that raises `QueueFullError`.
        follow: Watch cold, remove from hot what is reported as changed, and use hot for nothing while reports may be
            missing. Hot is emptied first. It begins with the first use of a collection, and ends with closing.
        clock: Function that returns seconds since the Unix epoch; the same as that of the stores.

    Raises:
        ConfigurationError: One is not a store, both are the same, or an option is out of its range.
        UnsupportedOperationError: With `follow`, cold does not have `WATCH`, or hot cannot destroy.
    """

    _around_steps: ClassVar[bool] = True

    def __init__(
        self,
        hot: AsyncKeyValue,
        cold: AsyncKeyValue,
        *,
        write: Mode = "through",
        hot_ttl: TTL | None = None,
        queue_size: int = 10_000,
        follow: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        self._writes_back = write == "back"
        super().__init__(cold, hot)
        self.inners = (hot, cold)
        if hot is cold:
            raise ConfigurationError("TieredStore takes two stores, got one store as hot and as cold")
        if write not in ("through", "around", "back"):
            raise ConfigurationError(f"write must be through, around or back, got {safe_repr(write)}")
        check_int("queue_size", queue_size, 1)
        check_bool("follow", follow)
        check_clock(clock)
        try:
            longest = None if hot_ttl is None else seconds(hot_ttl, "hot_ttl")
        except InvalidTTLError as error:
            raise ConfigurationError(str(error)) from None
        self._hot = HotTier(hot, ttl=longest, clock=clock)
        self._tiers = Tiers(self.__repr__, self._hot, cold, write=write, queue_size=queue_size, clock=clock)
        self._cold, self._waiting, self._queue = self._tiers.cold, self._tiers.waiting, self._tiers.queue
        if follow:
            require(cold, Capability.WATCH)
            require(hot, _WIPES)
            self._tiers.follower = Follower(self.__repr__, self._tiers.cold, self._hot, self._tiers.warm)
        self._follower = self._tiers.follower
        self._calls = ActiveCalls(self.__repr__, self._discard, self._disown)

    @property
    def capabilities(self) -> Capability:
        """The capabilities of this store beyond the core."""
        return self._cold.capabilities & ~self._dropped & (self._hot.store.capabilities | ~_WIPES)

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent."""
        calls, hot, follower = self._calls, self._hot, self._follower
        if (
            hot.states
            or self._waiting
            or calls.closing
            or (follower is not None and follower.loop is not get_running_loop())
        ):
            collection, key = check_ref(collection, key, self._limit)
            if (self._waiting or follower is not None) and not calls.closing:
                calls.check("get")  # on a new event loop, what waits or watches goes on there
            if calls.closing or (collection, key) in self._waiting or hot.states.is_changing((collection, key)):
                with calls.during("get"):
                    return (await self._tiers.find(collection, [key])).get(key, default)
        # The names of what hot has were checked when it was put; other calls are counted by the lifecycle.
        calls.quick += 1
        answered = True
        try:
            try:
                value = await hot.get(collection, key, MISSING)
            except SatchelError as error:
                hot.failed(error)
                value, answered = MISSING, False
            if value is not MISSING:
                hot.counts.hits += 1
                hot.note((collection, key))
                return value
            collection, key = check_ref(collection, key, self._limit)
            hot.counts.misses += answered
            found = await self._tiers.find(collection, [key], asks_hot=False, promotes=answered)
            return found.get(key, default)
        finally:
            calls.quick -= 1
            if calls.closing:
                calls.wake()

    def _bindings(self) -> dict[str, Callable[..., Any]]:
        bound = super()._bindings()
        del bound["get"]  # it does not go around: what a hit costs is the point of it all
        if not self._writes_back:  # nothing that waits is missing from listings
            bound |= {verb: self._guarded(verb, getattr(self.inner, verb)) for verb in LISTINGS}
        return bound

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        call = Call.of(operation, function, args, named)
        if operation in LISTINGS:
            if not (isinstance(function, Steps) and function.begun):
                if not self._calls.closing:
                    self._calls.check(operation)
                await self._tiers.settle_all(ALL if call.collection is None else call.collection)
            return await call()
        loop = self._calls.begin(operation)
        try:
            if operation in _WITHOUT_KEYS:
                return await self._on_many(operation, call)
            if operation in BATCHES:
                collection, keys = check_name(call.collection, "collection"), call.all_keys
                if self._limit < MAX_NAME_BYTES:  # else they have been checked
                    await checked_names(keys, self._limit)
            else:
                collection, key = check_ref(call.collection, call.key, self._limit)
                keys = [key]
            if operation in ("get_many", "delete_many") and len(keys) > LONG:
                return await self._in_parts(operation, call, collection, keys)
            if operation in _READS:
                return await self._tiers.read(operation, collection, keys)
            if operation in _CHANGES:
                return await self._tiers.change(collection, keys, call)
            if operation in _PUTS:
                return await self._tiers.put(operation, collection, keys, call)
        finally:
            self._calls.leave(loop)
        raise self._unsupported(operation)  # what nobody has thought of here must not go past hot

    async def _in_parts(self, operation: str, call: Call, collection: str, keys: list[str]) -> Any:
        """Carry out a long batch as several, one after the other, so that other tasks run between them."""
        turn, turns = asyncio.Lock(), Yielder()

        async def carry_out(some: list[str]) -> Any:
            async with turn:
                await turns.after_item()
                if operation == "get_many":
                    return await self._tiers.read(operation, collection, some)
                return await self._tiers.change(collection, some, call.part(some))

        parts = [keys[part] for part in slices(len(keys))]
        answers = await gather_batch(self, operation, collection, [(part, carry_out(part)) for part in parts])
        if operation == "delete_many":
            return sum(answers)
        found = dict[str, Any]()
        for answer in answers:
            found |= answer
            await turns.after_item()
        return found

    async def _on_many(self, operation: str, call: Call) -> Any:
        if operation == "destroy":
            return await self._tiers.wipe(ALL, call)
        if operation == "destroy_collection":
            return await self._tiers.wipe(check_name(call.collection, "collection"), call)
        if operation == "count" and self._writes_back:
            await self._tiers.settle_all(check_name(call.collection, "collection"))
        if operation == "cull":
            await self._hot.cull()
        return await self._tiers.asked(call())

    def watch(self, collection: str, *, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Watch the entries of a collection in cold; what is reported as changed is not read from hot after that."""
        self._need("watch")
        return self._dropping(self._cold.watch(collection, prefix=prefix))

    @asynccontextmanager
    async def _dropping(
        self, watching: AbstractAsyncContextManager[AsyncIterator[Change]]
    ) -> AsyncIterator[AsyncIterator[Change]]:
        async with watching as changes:
            yield self._dropped_from_hot(changes)

    async def _dropped_from_hot(self, changes: AsyncIterator[Change]) -> AsyncIterator[Change]:
        async for change in changes:
            # What hot has from before `ready` is as old as it likes, unless it follows.
            if change.kind != "ready" or self._follower is None:
                await self._hot.drop((change.collection, ALL if change.key is None else change.key))
            yield change

    async def warm(self, collection: str, keys: Iterable[str]) -> int:
        """Put entries of cold into hot, and return how many were.

        Those that hot has already are left as they are, where hot has `CONDITIONAL`, and else put anew.
        """
        with self._calls.during("warm"):
            return await self._tiers.warm(check_name(collection, "collection"), await checked_names(keys, self._limit))

    async def demote(self, *, keep: int) -> int:
        """Remove all but the `keep` most recently used entries from hot, and return how many were removed.

        Cold keeps them; with `write="back"` all queued writes are sent first. Uses through this store object count, the
        latest 50,000 at least. Where hot lists its entries, those never used come first, and all their names are in
        memory meanwhile; where it does not, only those that this object has used are known.

        Raises:
            ConfigurationError: `keep` is not an int of at least 0.
            StoreError: Hot failed, or something could not be sent.
        """
        check_int("keep", keep, 0)
        with self._calls.during("demote"):
            if self._queue is not None:
                await self._queue.flush()
            return await self._hot.uses.demote(self._hot.store, keep)

    async def flush(self) -> None:
        """Send all queued writes, and return when cold has them.

        Raises:
            StoreError: Some could not be sent. They are tried again a second later and by the next `flush`, but for
                those that cold refused, as too large for instance: these are given up.
        """
        with self._calls.during("flush"):
            if self._queue is not None:
                await self._queue.flush()

    async def where(self, collection: str, key: str) -> dict[str, Entry]:
        """Return the entry of each tier that has it, under `"hot"` and `"cold"`, with size and times there.

        A queued write is not in cold yet. The versions of the two tiers are different ones; conditional writes take
        that of cold.

        Raises:
            StoreError: A tier failed.
        """
        with self._calls.during("where"):
            ref = check_ref(collection, key, self._limit)
            tiers = {"hot": self._hot.store, "cold": self._cold}
            found = {name: await tier.get_entry(*ref) for name, tier in tiers.items()}
            return {name: entry for name, entry in found.items() if entry is not None}

    def snapshot(self) -> TieredStatistics:
        """Return the counts so far."""
        follower = self._follower
        return TieredStatistics(
            hot=self._hot.counts.snapshot(),
            cold=self._tiers.counts.snapshot(),
            promotions=self._hot.promotions,
            demotions=self._hot.uses.demotions,
            queued=len(self._waiting),
            changes=0 if follower is None else follower.changes,
            losses=0 if follower is None else follower.losses,
        )

    async def _finish(self) -> None:
        await self._calls.end()
        if self._follower is not None:
            await self._follower.close()
        if self._queue is not None:
            await self._queue.close()

    def _discard(self) -> None:
        if self._follower is not None:
            self._follower.abandon()
        if self._queue is not None:
            self._queue.abandon()

    def _disown(self) -> None:
        self._hot.states.disown()
        if self._follower is not None:
            self._follower.disown()
        if self._queue is not None:
            self._queue.disown()
