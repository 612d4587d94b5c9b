"""`Semaphore`: a limited number of holders at a time, among tasks, processes and hosts."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NamedTuple

from .._checks import check_int
from .._shielding import in_background, shielded
from .._update import key_lock, optimistic_update, random_pause
from ..capability import Capability
from ..clock import MAX_TTL, TTL, seconds
from ..entry import Entry
from ..errors import IntegrityError, LockLostError, StoreError
from ..names import check_name
from ..protocol import AsyncKeyValue, require
from .claim import CLOCKS_APART, LONGEST_PAUSE, SHORTEST_PAUSE, new_owner
from .lease import Lease, check_timeout, loop_time
from .observation import Observations

_MOST_PERMITS = 1000
_STAMP_BYTES = 8

logger = logging.getLogger("satchel")


class _Holder(NamedTuple):
    """Record of one permit in the entry.

    Attributes:
        id: Name of the acquisition.
        stamp: Random number, new with every write, so that a renewal whose answer was lost is still seen by others.
        lease: Seconds for which the permit holds after it was written.
    """

    id: str
    stamp: str
    lease: float


class _UnchangedError(Exception):
    """Signal to leave the entry unchanged."""


class Permit:
    """One of the permits of a semaphore, held within the block of `Semaphore.permit`."""

    def __init__(self, lease: Lease, name: str) -> None:
        self._lease, self._name = lease, name

    def __repr__(self) -> str:
        return f"Permit({self._name!r}, {'lost' if self.lost else 'held'})"

    @property
    def lost(self) -> bool:
        """Whether the permit has lapsed, as far as this process can know."""
        return self._lease.lapsed


class Semaphore:
    """Limit on the number of tasks, processes and hosts that do something at the same time.

    Each permit is a lease: it is renewed every third of `ttl` while its block runs, and lapses if its process dies. All
    permits are kept in one entry, which is changed only by conditional writes.

    ```python
    from satchel import MemoryStore
    from satchel.coordination import Semaphore

    gpus = Semaphore(MemoryStore(), "gpu", permits=2, ttl=30)
    async with gpus.permit():
        assert await gpus.taken() == 1
    ```

    * At most `permits` blocks run at once, while no process is stopped or blocks its event loop. As with `Lock`, each
      process counts on its own monotonic clock; clocks may be up to a day apart.
    * A block whose permit could not be renewed in time is cancelled and ends in `LockLostError`.
    * The order is not fair: processes try at random moments; tasks over one store object take turns.
    * If processes set different numbers of `permits`, each applies its own.

    Getting a free permit, renewing it and giving it back take two round trips each, and two more whenever another
    holder was faster.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        name: The name of the semaphore, a key.
        permits: Maximum number of holders, up to 1,000.
        ttl: How long a permit holds without being renewed, in seconds or as a `timedelta`.
        collection: The collection that holds it.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        ConfigurationError: The number of permits is not an int from 1 to 1,000.
        InvalidKeyError, InvalidTTLError: A name or the ttl is not legal.
    """

    def __init__(
        self, store: AsyncKeyValue, name: str, *, permits: int, ttl: TTL = 30, collection: str = "semaphores"
    ) -> None:
        self._store = require(store, Capability.CONDITIONAL)
        self._name = check_name(name, "name", store.max_key_bytes)
        check_int("permits", permits, 1, _MOST_PERMITS)
        self._permits, self._length = permits, float(seconds(ttl))
        self._collection = check_name(collection, "collection")
        self._observations = Observations()

    def __repr__(self) -> str:
        options = f"permits={self._permits}, ttl={self._length:g}, collection={self._collection!r}"
        return f"Semaphore({self._store!r}, {self._name!r}, {options})"

    async def taken(self) -> int:
        """Return the number of permits taken, in one round trip; those of dead processes count until they lapse."""
        return len(self._live(await self._store.get_entry(self._collection, self._name)))

    @asynccontextmanager
    async def permit(self, *, timeout: float | None = None) -> AsyncIterator[Permit]:  # noqa: ASYNC109  # a block cannot bound its own entry otherwise
        """Hold a permit for the length of a block.

        Args:
            timeout: Maximum wait for a permit in seconds, 0 to try once, None for no limit.

        Raises:
            TimeoutError: No permit was free in time.
            LockLostError: The permit could not be renewed in time, and the block was cancelled.
            ValueError: The timeout is not a number of seconds, 0 or above.
            IntegrityError: The entry holds something that no semaphore wrote.
            StoreError: The backend failed.
        """
        check_timeout(timeout)
        acquired = await self._acquire(math.inf if timeout is None else loop_time() + timeout)
        if acquired is None:
            raise TimeoutError(f"no permit of {self!r} was free within {timeout} s")
        holder, lease = acquired
        lease.start()
        try:
            async with lease.kept():
                yield Permit(lease, self._name)
        finally:
            lease.stop()
            await shielded(partial(self._give_back, holder), self._not_given_back)

    async def _acquire(self, end: float) -> tuple[str, Lease] | None:
        async with AsyncExitStack() as turn:
            try:  # of this process's tasks waiting over one store object, only one reads
                async with asyncio.timeout_at(None if end == math.inf else end):
                    await turn.enter_async_context(key_lock(self._store, self._collection, f"{self._name}\0waiting"))
            except TimeoutError:
                return None
            attempt = 0
            while (acquired := await self._try()) is None:
                left = end - loop_time()
                if left <= 0:
                    return None
                await asyncio.sleep(min(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE), left))
                attempt += 1
            return acquired

    async def _try(self) -> tuple[str, Lease] | None:
        """Take a permit if one is free; give it back if the caller is cancelled or the outcome is unknown."""
        holder = new_owner()
        attempt = in_background(self._take(holder))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            await shielded(partial(self._end, attempt, holder), self._not_given_back)
            raise
        except StoreError:
            in_background(self._end(attempt, holder))
            raise

    async def _take(self, holder: str) -> tuple[str, Lease] | None:
        sent = loop_time()

        async def change(entry: Entry | None) -> tuple[object, TTL, None]:
            nonlocal sent
            live = self._live(entry)
            if any(other.id == holder for other in live):
                live = [other for other in live if other.id != holder]  # an earlier attempt, whose answer was lost
            if len(live) >= self._permits:
                raise _UnchangedError
            sent = loop_time()
            return self._entry_of([*live, self._stamped(holder)])

        try:
            await optimistic_update(self._store, self._collection, self._name, change)
        except _UnchangedError:
            return None
        what = f"the permit of key {self._name!r} of collection {self._collection!r}"
        lease = Lease(self._length, sent, partial(self._renew, holder), what)
        if lease.lapsed:  # the answer may have come too late
            await self._give_back(holder)
            return None
        return holder, lease

    async def _renew(self, holder: str) -> None:
        async def change(entry: Entry | None) -> tuple[object, TTL, None]:
            live = self._live(entry)
            if all(other.id != holder for other in live):
                raise LockLostError(f"the permit of {self!r} was lost: it was not renewed in time")
            return self._entry_of([self._stamped(holder) if other.id == holder else other for other in live])

        await optimistic_update(self._store, self._collection, self._name, change)

    async def _end(self, attempt: asyncio.Task[tuple[str, Lease] | None], holder: str) -> None:
        await asyncio.wait([attempt])
        if not attempt.cancelled():
            attempt.exception()  # otherwise asyncio would report it, because the cancelled caller has not seen it
        await self._give_back(holder)

    async def _give_back(self, holder: str) -> None:
        async def change(entry: Entry | None) -> tuple[object, TTL, None]:
            live = self._live(entry)
            if all(other.id != holder for other in live):
                raise _UnchangedError  # nothing to give back
            return self._entry_of([other for other in live if other.id != holder])

        try:
            await optimistic_update(self._store, self._collection, self._name, change)
        except _UnchangedError:
            return
        except StoreError as error:
            self._not_given_back(error)

    def _not_given_back(self, error: Exception) -> None:
        logger.warning("a permit of %r was not given back, and will lapse: %s", self, error)

    def _stamped(self, holder: str) -> _Holder:
        return _Holder(holder, secrets.token_hex(_STAMP_BYTES), self._length)

    def _entry_of(self, holders: list[_Holder]) -> tuple[object, TTL, None]:
        kept = CLOCKS_APART + max((holder.lease for holder in holders), default=self._length)
        return {"format": 1, "permits": [holder._asdict() for holder in holders]}, min(kept, MAX_TTL), None

    def _live(self, entry: Entry | None) -> list[_Holder]:
        """Return the holders in an entry, except those that this process saw unchanged for a whole lease."""
        return [
            holder
            for holder in self._holders(entry)
            if self._observations.elapsed(holder.id, holder.stamp) < holder.lease
        ]

    def _holders(self, entry: Entry | None) -> list[_Holder]:
        if entry is None:
            return []
        match entry.value:
            case {"format": 1, "permits": list(permits)}:
                try:
                    return [_Holder(permit["id"], permit["stamp"], permit["lease"]) for permit in permits]
                except (TypeError, KeyError):
                    pass
        raise IntegrityError(
            f"key {self._name!r} of collection {self._collection!r} holds something that no Semaphore wrote"
        )
