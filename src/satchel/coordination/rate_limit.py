"""`RateLimit`: at most a number of hits in a time, among tasks, processes and hosts."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .._checks import check_clock, check_int
from .._update import LastWrite, key_lock, optimistic_update
from ..capability import Capability
from ..clock import MAX_TTL, TTL, Clock, seconds, system_clock
from ..entry import Entry
from ..errors import ConfigurationError, IntegrityError, safe_repr
from ..names import check_name
from ..protocol import AsyncKeyValue, require
from .tally import add

_SECOND = 1_000_000_000
"""Times are whole nanoseconds, so that sums are exact."""
_SLACK = 60 * _SECOND
"""How late answers may come, and how far clocks may be apart."""
_MOST_HITS = 1_000_000_000
_MOST_KNOWN = 10_000
"""Number of keys of which a limit remembers what it wrote last."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Answer to a hit.

    Attributes:
        allowed: Whether the hit is within the limit.
        remaining: Number of further hits that would be allowed at once.
        retry_after: Seconds until a refused hit would be allowed; 0 for an allowed one.
        reset_after: Seconds until the whole burst is available again.
    """

    allowed: bool
    remaining: int
    retry_after: float
    reset_after: float


class _NothingAllowedError(Exception):
    """The entry is left as it is."""

    def __init__(self, verdicts: list[Verdict | Exception]) -> None:
        super().__init__()
        self.verdicts = verdicts


class _LastHit(LastWrite):
    """What this process wrote last under a key: tried before an update, which then needs no read.

    Attributes:
        version: Version of the entry; None for an absent one.
        full_at: Time in the entry.
        is_trusted: Whether nobody else seems to write the entry.
    """

    __slots__ = ("full_at", "is_trusted", "version")

    def __init__(self) -> None:
        super().__init__()
        self.version: str | None = None
        self.full_at = 0
        self.is_trusted = True

    def was_read(self, entry: Entry | None) -> None:
        """Trust it again if a read has found it."""
        self.is_trusted = entry is not None and entry.version == self.version

    def was_in_vain(self) -> None:
        """Trust it no more."""
        self.is_trusted = False

    def was_written(self, value: object, ttl: TTL | None, version: str) -> None:
        """Remember what was written."""
        self.version, self.full_at = version, _time_in(value)


class RateLimit:
    """Limit on the number of hits in a time, for each key on its own.

    It is the generic cell rate algorithm (GCRA): a key has a burst of hits, which are available at once when it was
    idle, and gets them back one by one at an even pace. Each key has one entry with one time in it, the moment at which
    the whole burst is available again.

    ```python
    from satchel import MemoryStore
    from satchel.coordination import RateLimit

    logins = RateLimit(MemoryStore(), "login", limit=5, per=60)
    verdict = await logins.hit("ada")
    assert verdict.allowed and verdict.remaining == 4
    ```

    * In any span of `per` seconds at most `limit + burst` hits are allowed, over all processes and hosts. Clocks that
      are apart add as many hits as come back in the difference.
    * A clock that is set back delays hits by as much, if it is less than a minute. If it is more, the key begins anew
      without any hit available.
    * A hit that ends in a `StoreError` is not allowed, and may have been counted.

    An allowed hit takes one round trip while no other process hits the same key, two or more otherwise. A refused one
    takes one round trip and writes nothing. Hits of a key that tasks of one process make at the same time, over one
    store object, share their round trips.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        name: Name of the limit; the entries are in the collection `{collection}/{name}`.
        limit: Number of hits in `per`.
        per: Time in seconds or as a `timedelta`.
        burst: Number of hits that are available at once; `limit` if omitted.
        collection: Beginning of the collection's name.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        ConfigurationError: `limit` or `burst` is not an int of at least 1, or more than a billion hits a second or a
            hundred years would be needed.
        InvalidKeyError, InvalidTTLError: The name or the time is not legal.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        name: str,
        *,
        limit: int,
        per: TTL,
        burst: int | None = None,
        collection: str = "rate-limits",
        clock: Clock = system_clock,
    ) -> None:
        self._store = require(store, Capability.CONDITIONAL)
        check_name(name, "name")
        self._collection = check_name(f"{check_name(collection, 'collection')}/{name}", "collection")
        check_int("limit", limit, 1, _MOST_HITS)
        check_int("burst", limit if burst is None else burst, 1, _MOST_HITS)
        check_clock(clock)
        self._limit, self._per, self._burst = limit, seconds(per, "per"), limit if burst is None else burst
        self._interval = math.ceil(self._per * _SECOND / limit)
        self._capacity = self._burst * self._interval
        if self._capacity > MAX_TTL * _SECOND:
            raise ConfigurationError("burst must come back within 100 years: give a smaller burst or a higher limit")
        self._clock = clock
        self._last: OrderedDict[str, _LastHit] = OrderedDict()

    def __repr__(self) -> str:
        return (
            f"RateLimit({self._store!r}, {self._collection!r}, limit={self._limit}, per={self._per:g}, "
            f"burst={self._burst})"
        )

    @property
    def burst(self) -> int:
        """Number of hits that are available at once."""
        return self._burst

    async def hit(self, key: str, cost: int = 1) -> Verdict:
        """Count a hit, if it is within the limit, and return the verdict.

        Args:
            key: Whose hit it is, such as a user's name or an address.
            cost: The number of hits that it counts as.

        Raises:
            ValueError: `cost` is not an int from 1 to the burst: a higher one could never be allowed.
            InvalidKeyError: The key is not legal.
            IntegrityError: The entry is none of a rate limit.
            ConflictError: Other processes were faster every time, about 50 times in some seconds.
            StoreError: The backend failed.
        """
        key = self._checked(key, cost)

        async def write(costs: list[int]) -> list[Verdict | Exception]:
            return await self._hit_all(key, costs)

        # Limits of one name that differ, as while a new one is being deployed, share the entry and not the decision.
        place = f"{key}\0{self._interval}\0{self._burst}"
        return await add(self._store, self._collection, place, cost, write)

    async def peek(self, key: str, cost: int = 1) -> Verdict:
        """Return what the verdict on a hit would be, without counting one. It takes one round trip.

        Raises:
            ValueError, InvalidKeyError, IntegrityError, StoreError: As for `hit`.
        """
        key = self._checked(key, cost)
        full_at = self._full_at(key, await self._store.get_entry(self._collection, key))
        now = self._now()
        return self._decide(self._plausible(full_at, now), now, cost)[0]

    async def reset(self, key: str) -> None:
        """Make the whole burst of a key available at once. It takes one round trip."""
        key = self._checked(key, 1)
        self._last.pop(key, None)
        await self._store.delete(self._collection, key)

    @asynccontextmanager
    async def wait(self, key: str, cost: int = 1) -> AsyncIterator[Verdict]:
        """Wait until a hit is allowed, then run the block.

        Tasks of one process that wait for a key over one store object go in the order in which they came. To bound the
        wait, use `asyncio.timeout`.

        Raises:
            ValueError, InvalidKeyError, IntegrityError, ConflictError, StoreError: As for `hit`.
        """
        key = self._checked(key, cost)
        async with key_lock(self._store, self._collection, f"{key}\0waiting"):
            verdict = await self.hit(key, cost)
            while not verdict.allowed:
                await asyncio.sleep(verdict.retry_after)
                verdict = await self.hit(key, cost)
        yield verdict

    async def _hit_all(self, key: str, costs: list[int]) -> list[Verdict | Exception]:
        """Decide on hits that came at the same time, in their order, and count those that are allowed."""
        last = self._last_hit(key)
        verdicts = await self._hit_unread(key, costs, last)
        if verdicts is not None:
            return verdicts

        async def change(entry: Entry | None) -> tuple[object, TTL, list[Verdict | Exception]]:
            return self._decide_all(self._full_at(key, entry), costs)

        try:
            return await optimistic_update(self._store, self._collection, key, change, last)
        except _NothingAllowedError as nothing:
            return nothing.verdicts

    async def _hit_unread(self, key: str, costs: list[int], last: _LastHit) -> list[Verdict | Exception] | None:
        """Count hits on what was written last, or on a key that is taken for new; return None where a read is due."""
        if not last.is_trusted:
            return None
        is_there = last.version is not None and self._now() < last.full_at + _SLACK
        try:
            value, ttl, verdicts = self._decide_all(last.full_at if is_there else 0, costs)
        except _NothingAllowedError:  # it may have been reset by another process
            return None
        if is_there and last.version is not None:
            version = await self._store.compare_and_put(self._collection, key, value, version=last.version, ttl=ttl)
        else:
            version = await self._store.put_if_absent(self._collection, key, value, ttl=ttl)
        if version is None:
            last.was_in_vain()
            return None
        last.was_written(value, ttl, version)
        return verdicts

    def _decide_all(self, full_at: int, costs: list[int]) -> tuple[object, TTL, list[Verdict | Exception]]:
        """Return what to write, its time to live, and the verdicts.

        Raises:
            _NothingAllowedError: There is nothing to write.
        """
        now, verdicts, before = self._now(), list[Verdict | Exception](), full_at
        full_at = self._plausible(full_at, now)
        for cost in costs:
            verdict, full_at = self._decide(full_at, now, cost)
            verdicts.append(verdict)
        if full_at == max(before, now):  # a time from a clock that was set back is put right, also by a refused hit
            raise _NothingAllowedError(verdicts)
        kept = (full_at - now + _SLACK) / _SECOND
        return {"format": 1, "full_at": full_at}, min(kept, MAX_TTL), verdicts

    def _decide(self, full_at: int, now: int, cost: int) -> tuple[Verdict, int]:
        after = max(full_at, now) + cost * self._interval
        wait = after - self._capacity - now
        full_at = max(full_at, now) if wait > 0 else after
        remaining = max(0, (now + self._capacity - full_at) // self._interval)
        return Verdict(wait <= 0, remaining, max(0, wait) / _SECOND, (full_at - now) / _SECOND), full_at

    def _plausible(self, full_at: int, now: int) -> int:
        """Return a time from an entry, or the latest that is possible if a clock was set back since it was written."""
        latest = now + self._capacity
        return latest if full_at > latest + _SLACK else full_at

    def _now(self) -> int:
        return int(self._clock() * _SECOND)

    def _last_hit(self, key: str) -> _LastHit:
        last = self._last.setdefault(key, _LastHit())
        self._last.move_to_end(key)
        if len(self._last) > _MOST_KNOWN:
            self._last.popitem(last=False)
        return last

    def _full_at(self, key: str, entry: Entry | None) -> int:
        if entry is None:
            return 0
        try:
            return _time_in(entry.value)
        except ValueError:
            raise IntegrityError(
                f"key {key!r} of collection {self._collection!r} holds something that no RateLimit wrote"
            ) from None

    def _checked(self, key: str, cost: int) -> str:
        if type(cost) is not int or not 1 <= cost <= self._burst:
            raise ValueError(
                f"cost must be an int from 1 to {self._burst}, the burst of the limit, got {safe_repr(cost)}"
            )
        return check_name(key, "key", self._store.max_key_bytes)


def _time_in(value: object) -> int:
    match value:
        case {"format": 1, "full_at": int(full_at)} if type(full_at) is int:
            return full_at
    raise ValueError
