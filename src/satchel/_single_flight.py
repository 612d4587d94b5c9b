"""Flights: one factory call for concurrent misses of a key, and refreshes in the background.

A flight is a separate task, so that no caller's cancellation ends it for others. It reads again if another flight has
ended since its caller's read began: the missing entry may exist by now.

Each event loop has its own flights, because a task can be awaited only on its own loop.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, cast

from msgspec import UNSET

from ._copies import copied, copy_of_error
from ._forks import hold, random_numbers, watch
from ._shielding import shielded
from .capability import Capability
from .clock import TTL, seconds
from .entry import Entry
from .errors import ConfigurationError, StoreClosedError, StoreError, ValueTooLargeError, safe_repr
from .names import Ref, check_name
from .protocol import AsyncKeyValue, SupportsConditional

_MOST_EARLY = 1e18


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """Lifetime of an entry, and when to refresh it.

    Attributes:
        lifetime: Seconds from the put until it expires, including `stale`; None for never.
        stale: Seconds at the end of its lifetime in which it is served while it is refreshed.
        early: Eagerness to refresh it before that; None for never.
        timeout: Seconds for which a caller waits for the factory, which then goes on; None for no limit.
        is_last_resort: It is served in the time of `stale` only where the factory fails.
    """

    lifetime: float | None
    stale: float
    early: float | None
    timeout: float | None = None
    is_last_resort: bool = False


class Made(NamedTuple):
    """Result of a factory, with what is to become of it.

    Attributes:
        value: The result.
        lifetime: Seconds from the put until it expires, including `stale`; None for never.
        is_kept: Whether it is put.
    """

    value: Any
    lifetime: float | None
    is_kept: bool


def terms(ttl: TTL | None, stale: TTL | None, early: float | None) -> RefreshPolicy:
    """Return the caller's terms, checked.

    Raises:
        InvalidTTLError: A time is not finite, above 0 and at most 100 years.
        ConfigurationError: `early` is not a number above 0, or there is no ttl for `stale` or `early`.
    """
    if ttl is None and (stale is not None or early is not None):
        raise ConfigurationError("stale and early apply to the end of a ttl: give ttl= too")
    if early is not None and (type(early) not in (int, float) or not 0 < early <= _MOST_EARLY):
        raise ConfigurationError(f"early must be a number above 0, such as 1.0, got {safe_repr(early)}")
    fresh = None if ttl is None else seconds(ttl)
    longer = 0.0 if stale is None else seconds(stale, "stale")
    lifetime = None if fresh is None else seconds(fresh + longer, "ttl and stale together")
    return RefreshPolicy(lifetime, longer, early)


def is_due_early(left: float, cost: float, early: float, drawn: float) -> bool:
    """Return whether an entry is refreshed before its end: XFetch, the optimal rule for independent callers.

    From A. Vattani, F. Chierichetti, K. Lowenstein: "Optimal Probabilistic Cache Stampede Prevention", PVLDB 8(8),
    2015. Of the calls with `left` seconds to go, a share of `exp(-left / (cost * early))` is due.

    Args:
        left: The seconds until the end.
        cost: The seconds that the last call of the factory took.
        early: The paper's beta: above 1 is more eager, below 1 less.
        drawn: A random number, uniform from 0 to below 1.
    """
    return cost * early * -math.log(1 - drawn) >= left


Factory = Callable[[], Awaitable[Any]]
Trust = Callable[[Any], Awaitable[bool]]

_MOST_COSTS = 10_000

logger = logging.getLogger("satchel")


@dataclass(eq=False, slots=True)
class _Flight:
    """One call of a factory, and its result.

    Attributes:
        version: Version of the entry to replace; None if it was absent.
        looks: Read again first, in case an entry was put after the caller's read.
        trust: Whether what that read finds is good.
        background: It continues even if no caller waits for it.
        kept: Its result is put.
        keeping: Its result is being put.
        waiting: Number of callers waiting for it.
        awaited: The flights for which its factory waits.
    """

    loop: asyncio.AbstractEventLoop
    ref: Ref
    factory: Factory
    terms: RefreshPolicy
    version: str | None
    looks: bool
    background: bool
    trust: Trust | None = None
    kept: bool = True
    keeping: bool = False
    waiting: int = 0
    awaited: list[_Flight] = field(default_factory=list)
    task: asyncio.Task[tuple[Any, Exception | None]] = field(init=False)

    @property
    def is_alive(self) -> bool:
        """Whether it goes on: its loop may have ended before it."""
        return not self.task.done() and self.loop.is_running()

    def waits_for(self, other: _Flight) -> bool:
        """Return whether this waits for another flight, directly or through others."""
        seen: set[_Flight] = set()
        left = [self]
        while left and other not in seen:
            flight = left.pop()
            if flight not in seen:
                seen.add(flight)
                left += flight.awaited
        return other in seen


_inside: ContextVar[_Flight | None] = ContextVar("_inside", default=None)
"""The flight whose factory is running."""


class SingleFlight:
    """Reads through one store that call a factory once for each missing key.

    Args:
        store: The store.
        seed: Makes the same calls refresh early in every run.
    """

    def __init__(self, store: AsyncKeyValue, *, seed: int | None = None) -> None:
        self._store = cast("SupportsConditional", store)
        self._random = random_numbers(seed)
        self._under_way: dict[asyncio.AbstractEventLoop, dict[Ref, _Flight]] = {}
        self._all: dict[_Flight, None] = {}  # in the order of their begin, also those that were dropped, until they end
        self._costs: OrderedDict[Ref, float] = OrderedDict()
        self._ended = 0
        self._closed = False
        self._lock = threading.Lock()  # what a flight is to keep is decided on one loop, and dropped on another
        watch(self)

    def after_fork(self) -> None:
        """In a child of `fork`: leave what is under way to the parent."""
        hold(*self._all, self._under_way)
        self._under_way, self._all, self._lock = {}, {}, threading.Lock()

    async def get_or_put(
        self,
        collection: str,
        key: str,
        factory: Factory,
        ttl: TTL | None = None,
        stale: TTL | None = None,
        early: float | None = None,
    ) -> Any:
        """Do what `SingleFlightWrapper.get_or_put` documents."""
        if not callable(factory):
            raise _no_factory(factory)
        if stale is None and early is None:
            if ttl is not None:
                seconds(ttl)
            ended = self._ended
            value = await self._store.get(collection, key, UNSET)
            if value is not UNSET:
                return value
            return await self._wait_for(self._flight(collection, key, factory, terms(ttl, None, None), ended))
        return await self.get_or_make(collection, key, factory, terms(ttl, stale, early))

    async def get_or_make(
        self, collection: str, key: str, factory: Factory, agreed: RefreshPolicy, trust: Trust | None = None
    ) -> Any:
        """Return the value under a key, or put and return what the factory gives, as far as values are to be trusted.

        Args:
            collection: The collection.
            key: The key.
            factory: Makes the value, or `Made`.
            agreed: Lifetime of the entry, and when to refresh it.
            trust: Whether a value that was made before the call is good. One that is not counts as absent, and is
                replaced. It is asked anew about the value of a flight that began before the call, when that has ended.
        """
        joins = True
        while True:
            ended, spare, looks = self._ended, UNSET, False
            entry, value = await self._read(collection, key, agreed)
            if value is not UNSET:
                if trust is not None and not await trust(value):
                    looks = entry is None
                elif entry is None or not self._is_due((collection, key), entry, agreed):
                    return value
                elif not agreed.is_last_resort or not _is_over(entry, agreed):
                    self._flight(collection, key, factory, agreed, ended, entry, background=True)
                    return value
                else:
                    spare = value
            before = self._found(collection, key)
            flight = self._flight(collection, key, factory, agreed, ended, entry, looks=looks, trust=trust)
            try:
                made = await self._wait_for(flight, agreed.timeout)
            except Exception as error:
                if spare is UNSET:
                    raise
                logger.warning("an entry of %r is served although it is over: %s", collection, type(error).__name__)
                return spare
            if flight is not before or trust is None or not joins or await trust(made):
                return made
            joins = False  # each flight from now on has begun after the call

    @property
    def ended(self) -> int:
        """Number of flights that have ended: take it before a read whose misses are given to `make`."""
        return self._ended

    async def make(
        self,
        collection: str,
        key: str,
        factory: Factory,
        agreed: RefreshPolicy,
        since: int,
        trust: Trust | None = None,
        entry: Entry | None = None,
    ) -> Any:
        """Put and return what the factory gives for a key that the caller has missed.

        Args:
            collection: The collection.
            key: The key.
            factory: Makes the value, or `Made`.
            agreed: Lifetime of the entry.
            since: What `ended` was before the caller's read.
            trust: As for `get_or_make`.
            entry: What the caller's read found, if it is not to be trusted.
        """
        before = self._found(collection, key)
        flight = self._flight(collection, key, factory, agreed, since, entry, trust=trust)
        made = await self._wait_for(flight, agreed.timeout)
        if flight is not before or trust is None or await trust(made):
            return made
        return await self.get_or_make(collection, key, factory, agreed, trust)

    async def refresh(self, collection: str, key: str, factory: Factory, agreed: RefreshPolicy) -> Any:
        """Call the factory now, replace the entry by what it gives, and return that.

        The result of a factory that runs already is not put: it may be about what was before.
        """
        await self.forget(collection, (key,))
        entry = await self._store.get_entry(collection, key)
        flight = self._flight(collection, key, factory, agreed, self._ended, entry)
        return await self._wait_for(flight, agreed.timeout)

    async def _read(self, collection: str, key: str, agreed: RefreshPolicy) -> tuple[Entry | None, Any]:
        """Return the value under a key, `UNSET` if absent, and its entry where the time that is left matters."""
        if not agreed.stale and agreed.early is None:
            return None, await self._store.get(collection, key, UNSET)
        entry = await self._store.get_entry(collection, key)
        return entry, UNSET if entry is None else entry.value

    async def delete(self, collection: str, key: str) -> bool:
        """Remove the entry under a key, also one that is being made, and return whether it existed."""
        await self.forget(collection, (key,))
        return await self._store.delete(collection, key)

    async def forget(self, collection: str | None = None, keys: Collection[str] | None = None) -> None:
        """Let no result be put of factories that run now, for the entries that a caller is about to remove.

        Their callers still get it; later callers start a new call. A result that is being put is waited for.

        Args:
            collection: Only those of this collection.
            keys: Only those of these keys in it.
        """
        for flight in list(self._all):
            if collection in (None, flight.ref[0]) and (keys is None or flight.ref[1] in keys):
                self._drop(flight)
                own = flight.task is asyncio.current_task()  # a handler of what it puts, which is waited for
                if flight.keeping and not own:
                    await _end_of(flight)

    async def finish(self) -> None:
        """Start no more flights, cancel those without waiting callers, and wait for the others."""
        self._closed = True
        for flight in list(self._all):
            if not flight.waiting and not flight.keeping:
                self._cancel(flight)
        while left := [flight for flight in list(self._all) if flight.is_alive]:
            await _end_of(left[0])
            await asyncio.sleep(0)  # until it has landed

    def _is_due(self, ref: Ref, entry: Entry, agreed: RefreshPolicy) -> bool:
        if entry.ttl is None:
            return False
        left = entry.ttl - agreed.stale
        if left <= 0:
            return True
        cost = self._costs.get(ref)
        return (
            agreed.early is not None
            and cost is not None
            and is_due_early(left, cost, agreed.early, self._random.random())
        )

    def _found(self, collection: str, key: str) -> _Flight | None:
        return self._under_way.get(asyncio.get_running_loop(), {}).get((collection, key))

    def _flight(
        self,
        collection: str,
        key: str,
        factory: Factory,
        agreed: RefreshPolicy,
        ended: int,
        entry: Entry | None = None,
        *,
        background: bool = False,
        looks: bool = False,
        trust: Trust | None = None,
    ) -> _Flight:
        """Return the flight of a key, a new one if none is under way; with an entry, one that replaces it."""
        ref = check_name(collection, "collection"), check_name(key)
        loop = asyncio.get_running_loop()
        flight = self._under_way.get(loop, {}).get(ref)
        if flight is not None:
            return flight
        if self._closed:
            name = repr(self._store)
            raise StoreClosedError(f"{name} is being closed", store=name, operation="get_or_put", collection=ref[0])
        version = None if entry is None else entry.version
        looks = looks or ended != self._ended
        flight = _Flight(loop, ref, factory, agreed, version, looks, background=background, trust=trust)
        with self._lock:
            if loop not in self._under_way:
                self._forget_closed_loops()
            self._under_way.setdefault(loop, {})[ref] = flight
        # It is known by now: a task may begin at once, and its factory ask for this very key.
        flight.task = loop.create_task(self._fly(flight))
        flight.task.add_done_callback(partial(self._land, flight))
        with self._lock:
            self._all[flight] = None
        return flight

    def _forget_closed_loops(self) -> None:
        """Forget flights whose loop ended before they did."""
        for loop in [loop for loop in self._under_way if loop.is_closed()]:
            for flight in self._under_way.pop(loop).values():
                self._all.pop(flight, None)

    async def _fly(self, flight: _Flight) -> tuple[Any, Exception | None]:
        """Return a flight's result, or a copy of its error: one error raised in many callers would grow each time."""
        _inside.set(flight)
        try:
            return await self._result(flight), None
        except Exception as error:
            if flight.background:
                # Not the error's text: that is the factory's own, and may have values in it.
                kind = type(error).__name__
                logger.warning("%r could not refresh an entry of %r: %s", self._store, flight.ref[0], kind)
            return None, error

    async def _result(self, flight: _Flight) -> Any:
        if flight.looks:
            entry = await self._store.get_entry(*flight.ref)
            if entry is not None and entry.version != flight.version:
                if flight.trust is None or await flight.trust(entry.value):
                    return entry.value
                flight.version = entry.version
        start = perf_counter()
        coming = flight.factory()
        if not inspect.isawaitable(coming):
            raise TypeError(f"the factory must be an async function, but it returned {type(coming).__name__}")
        value = await coming
        if flight.terms.early is not None:
            self._remember(flight.ref, perf_counter() - start)
        lifetime = flight.terms.lifetime
        if type(value) is Made:
            value, lifetime, is_kept = value
        else:
            is_kept = True
        with self._lock:
            flight.keeping = flight.kept and is_kept
        if flight.keeping:
            try:
                await self._keep(flight, value, lifetime)
            except StoreError as error:
                if not error.retryable:
                    raise
                # If the cache cannot be written to, the caller still gets the value.
                logger.warning("a value for %r was made but not kept: %s", flight.ref[0], type(error).__name__)
        return value

    async def _keep(self, flight: _Flight, value: Any, ttl: float | None) -> None:
        """Put a result, but not over a newer value if the store supports conditional writes."""
        store = self._store
        if Capability.CONDITIONAL not in store.capabilities:
            await store.put(*flight.ref, value, ttl=ttl)
            return
        try:
            if flight.version is not None:
                done = await store.compare_and_put(*flight.ref, value, version=flight.version, ttl=ttl)
                if done is not None:
                    return
            await store.put_if_absent(*flight.ref, value, ttl=ttl)  # it may have expired meanwhile
        except ValueTooLargeError:
            await store.put(*flight.ref, value, ttl=ttl)  # where one that is too large is to be skipped, this skips it

    def _remember(self, ref: Ref, cost: float) -> None:
        self._costs[ref] = cost
        self._costs.move_to_end(ref)
        if len(self._costs) > _MOST_COSTS:
            self._costs.popitem(last=False)

    async def _wait_for(self, flight: _Flight, timeout: float | None = None) -> Any:  # noqa: ASYNC109  # the flight goes on
        asking = _inside.get()
        if asking is not None:
            if flight.waits_for(asking):
                raise ConfigurationError(
                    f"the factory of key {asking.ref[1]!r} in collection {asking.ref[0]!r} waits for its own result"
                )
            asking.awaited.append(flight)
        flight.waiting += 1
        try:
            if timeout is None:
                value, error = await asyncio.shield(flight.task)
            else:
                value, error = await self._wait_at_most(flight, timeout)
            # The last one has the only hold on it; all others get copies, so that they share nothing.
            if error is not None:
                raise error if flight.waiting == 1 else copy_of_error(error)
            return value if flight.waiting == 1 else await copied(value)
        finally:
            flight.waiting -= 1
            if asking is not None:
                asking.awaited.remove(flight)
            if not flight.waiting and not flight.background and not flight.task.done():
                if flight.keeping:  # it is made: that nobody waits any more is no reason to lose it
                    await shielded(partial(_end_of, flight), _unheard)
                else:
                    self._cancel(flight)

    async def _wait_at_most(self, flight: _Flight, timeout: float) -> tuple[Any, Exception | None]:  # noqa: ASYNC109  # as above
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await asyncio.shield(flight.task)
        except TimeoutError:
            if not limit.expired():
                raise
            flight.background = True
            raise TimeoutError(
                f"a value of {flight.ref[0]!r} was not made within {timeout:g} s; it is kept when it comes"
            ) from None

    def _cancel(self, flight: _Flight) -> None:
        self._drop(flight)
        with suppress(RuntimeError):  # a loop has been closed; one that was cut off with it is only collected later
            if flight.loop is asyncio.get_running_loop():
                flight.task.cancel()
            else:
                flight.loop.call_soon_threadsafe(flight.task.cancel)

    def _drop(self, flight: _Flight) -> None:
        with self._lock:
            flight.kept = False
            flights = self._under_way.get(flight.loop, {})
            if flights.get(flight.ref) is flight:
                del flights[flight.ref]
                if not flights:
                    del self._under_way[flight.loop]

    def _land(self, flight: _Flight, _task: asyncio.Task[Any]) -> None:
        # Before its callers are woken: this was asked for first.
        self._drop(flight)
        with self._lock:
            self._all.pop(flight, None)
            self._ended += 1


def _is_over(entry: Entry, agreed: RefreshPolicy) -> bool:
    """Return whether an entry is in the time of `stale`."""
    return entry.ttl is not None and entry.ttl <= agreed.stale


async def _end_of(flight: _Flight) -> None:
    """Return when a flight has ended, or its loop runs no more."""
    if flight.loop is asyncio.get_running_loop():
        await asyncio.wait([flight.task])
    while flight.is_alive:  # noqa: ASYNC110  # nothing tells this loop when it has ended
        await asyncio.sleep(0.001)


def _unheard(error: Exception) -> None:
    """Nobody is told: a flight returns its error, and so its end raises none."""


def _no_factory(given: object) -> TypeError:
    if inspect.iscoroutine(given):
        given.close()
        return TypeError("factory must be an async function, got the result of a call; pass the function itself")
    return TypeError(f"factory must be an async function without arguments, got {type(given).__name__}")
