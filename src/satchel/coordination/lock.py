"""`Lock`: one holder at a time, for a time, with a fencing token."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

from .._forks import hold, watch
from .._shielding import shielded
from .._update import holds_key_lock, key_lock, random_pause
from ..clock import TTL, Clock, system_clock
from ..entry import Entry
from ..errors import IntegrityError, LockLostError, StoreError
from ..names import check_name
from ..protocol import AsyncKeyValue
from .lease import LONGEST_PAUSE, SHORTEST_PAUSE, Claim, Claims, Lease, claim_of, new_owner

logger = logging.getLogger("satchel")


class Lock:
    """Mutual exclusion among tasks, processes and hosts, with a higher fencing token for each holder.

    A lock is a lease: it holds for `ttl` seconds and is renewed every third of that while it is held, so that the lock
    of a process that dies lapses. A holder that was paused for longer, for example by its host or its network, has lost
    the lock without knowing. No lock service can prevent that (Martin Kleppmann, "How to do distributed locking",
    2016). Hence the fencing token, a number that is higher for each holder than for all before it (Mike Burrows calls
    it a sequencer: "The Chubby lock service for loosely-coupled distributed systems", OSDI 2006). The protected
    resource has to refuse a token lower than the highest that it has seen:

    ```python
    from satchel import LockLostError, MemoryStore
    from satchel.coordination import Lock

    store = MemoryStore()

    async def write(name, text, fencing_token):
        document = {"text": text, "fencing_token": fencing_token}
        entry = await store.get_entry("documents", name)
        if entry is None:
            written = await store.put_if_absent("documents", name, document)
        elif entry.value["fencing_token"] > fencing_token:
            raise LockLostError("a later holder of the lock has written")
        else:
            written = await store.compare_and_put("documents", name, document, version=entry.version)
        if written is None:
            raise LockLostError("another holder is writing")

    async with Lock(store, "report", ttl=30) as lock:
        await write("report", "final", lock.fencing_token)
    ```

    Guarantees:

    * Of two holders of one name, the later one has the higher token: also after a release, a lapse or a restart, as
      long as the lock's entry exists, which is 30 days after its last use.
    * A lock that has lapsed, or that another holder has taken since, is neither renewed nor released by its old holder:
      each change is conditional on the version that the holder wrote.
    * The body of `async with` is cancelled, and ends in `LockLostError`, when the lock could not be renewed in time.
      The time is measured on the holder's monotonic clock, from before the request was sent, so it ends there no later
      than for the others. A cancellation from outside stays a cancellation.
    * While the store answers, clocks agree and no process is paused, no two bodies run at once.

    Not guaranteed:

    * That no two bodies ever run at once. A body is cancelled at its next `await`, and not before: one that blocks the
      event loop, or a paused process, continues until then. The monotonic clock of a suspended host may have stood
      still.
    * Independence of clocks: others use their own clock to decide whether a lock has lapsed. A host whose clock is
      ahead takes the lock that much earlier, one that is behind, later. Keep clocks synchronized, and `ttl` far larger
      than their differences.
    * Fairness. Tasks of one process, over one store object, take their turns; processes try at random moments.
    * Anything, once the entry is lost: if a store evicts it, a `TTLWrapper` shortens its life below `ttl`, or the
      collection is destroyed. Two may then hold the lock. Tokens continue from the clock, in microseconds, and so are
      higher even then, if the clock is right.

    Tasks may share a `Lock`; they wait for one another. A lock is not reentrant: a task that acquires a lock it holds,
    even through another `Lock` of the same name, gets `RuntimeError`, because it would wait for itself. Over another
    store object it does wait, as another process would.

    Acquiring takes two round trips when the lock is free; waiting reads it about four times a second, once for all the
    tasks of one process that wait over one store object. Renewing and releasing take one each.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        name: The name of the lock, a key.
        ttl: How long the lock holds without being renewed, in seconds or as a `timedelta`.
        collection: The collection that holds it.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        InvalidKeyError, InvalidTTLError: A name or the ttl is not legal.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        name: str,
        *,
        ttl: TTL = 30,
        collection: str = "locks",
        clock: Clock = system_clock,
    ) -> None:
        self._claims = Claims(store, collection, ttl, clock, forgets=False)
        self._name = check_name(name, "name", store.max_key_bytes)
        self._lease: Lease | None = None
        self._turn = AsyncExitStack()
        self._body: AbstractAsyncContextManager[None] | None = None
        watch(self)

    def after_fork(self) -> None:
        """In a child of `fork`: its parent alone holds the lock, and renews and releases it."""
        if self._lease is not None:
            hold(self._lease, self._turn, self._body)
            self._lease, self._turn, self._body = None, AsyncExitStack(), None

    def __repr__(self) -> str:
        claims = self._claims
        return f"Lock({claims.store!r}, {self._name!r}, ttl={claims.seconds:g}, collection={claims.collection!r})"

    @property
    def fencing_token(self) -> int:
        """The token of the present holder; also when the lock was lost, until it is released.

        Raises:
            RuntimeError: The lock is not held by way of this object.
        """
        return self._held().claim.token

    @property
    def held(self) -> bool:
        """Whether the lock is held through this object, as far as this process can know."""
        return self._lease is not None and not self._lease.lapsed

    async def locked(self) -> bool:
        """Return whether anybody holds the lock, in one round trip."""
        entry = await self._claims.store.get_entry(self._claims.collection, self._name)
        return not self._claims.is_free(self._claim(entry))

    async def acquire(self, *, timeout: float | None = None) -> bool:  # noqa: ASYNC109  # as threading.Lock has it
        """Wait for the lock, and return whether it was acquired in time.

        It is renewed until `release`, which must be called even if the lock was lost. `async with` also cancels its
        body when the lock is lost; here, check `held`.

        Args:
            timeout: The longest wait in seconds, 0 to try once, None for no limit. A request that is under way then is
                awaited.

        Raises:
            RuntimeError: The task already holds the lock, through any object over the same store object.
            ValueError: The timeout is not a number of seconds, 0 or above.
            IntegrityError: The entry holds something that no lock wrote.
            StoreError: The backend failed.
        """
        if timeout is not None and (type(timeout) not in (int, float) or not 0 <= timeout < math.inf):
            raise ValueError(f"timeout must be a number of seconds, 0 or above, or None, got {timeout!r}")
        claims = self._claims
        if holds_key_lock(claims.store, claims.collection, self._name):
            raise RuntimeError(
                f"this task already holds {self!r}: it would wait for itself, as a lock is not reentrant"
            )
        end = math.inf if timeout is None else asyncio.get_running_loop().time() + timeout
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout_at(None if timeout is None else end):
                    await turn.enter_async_context(key_lock(claims.store, claims.collection, self._name))
            except TimeoutError:
                return False
            lease = await self._wait_for_lease(end)
            if lease is None:
                return False
            self._lease, self._turn = lease, turn.pop_all()
        lease.start()
        return True

    async def release(self) -> None:
        """Let the next one in, in one round trip.

        Raises:
            LockLostError: The lock was lost before.
            RuntimeError: It is not held by way of this object, or `async with` holds it.
            StoreError: The backend failed; the lock lapses.
        """
        lease = self._held()
        if self._body is not None:
            raise RuntimeError(f"{self!r} is held by `async with`: leave its block to release it")
        await self._give_up(lease)

    async def __aenter__(self) -> Self:
        body = self._holding()
        await body.__aenter__()
        self._body = body
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        body, self._body = self._body, None
        return None if body is None else await body.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _holding(self) -> AsyncIterator[None]:
        await self.acquire()
        lease, failed = self._held(), True
        try:
            async with lease.kept():
                yield
            failed = False
        finally:
            try:
                await self._give_up(lease)
            except StoreError as error:  # the body had the lock to its end
                self._not_released(error)
            except LockLostError:
                if not failed:
                    raise

    async def _wait_for_lease(self, end: float) -> Lease | None:
        claims, owner, attempt = self._claims, new_owner(), 0
        while True:
            entry = await claims.store.get_entry(claims.collection, self._name)
            if claims.is_free(self._claim(entry), owner):
                lease = await claims.take(self._name, entry, owner)
                if lease is not None:
                    return lease
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await asyncio.sleep(min(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE), left))
            attempt += 1

    async def _give_up(self, lease: Lease) -> None:
        lease.stop()
        turn, self._lease = self._turn, None
        try:
            await shielded(lease.end, self._not_released)
        finally:
            await turn.aclose()

    def _not_released(self, error: Exception) -> None:
        logger.warning("%r was not released, and will lapse: %s", self, error)

    def _held(self) -> Lease:
        if self._lease is None:
            raise RuntimeError(f"{self!r} is not held by way of this object; acquire it first")
        return self._lease

    def _claim(self, entry: Entry | None) -> Claim | None:
        if entry is None:
            return None
        claim = claim_of(entry.value)
        if claim is None:
            raise IntegrityError(f"{self._claims.place(self._name)} holds something that no Lock wrote")
        return claim
