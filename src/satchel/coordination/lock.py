"""`Lock`: one holder at a time, for a limited time, with a fencing token."""

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
from .claim import KEPT, LONGEST_PAUSE, SHORTEST_PAUSE, Claims, HeldClaim, Standing, new_owner, standing_of
from .lease import check_timeout

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
      long as the entry of the lock is there. It stays for `keep` after its last use.
    * A lock that has lapsed, or that another holder has taken since, is neither renewed nor released by its old holder:
      each change is conditional on the version that the holder wrote.
    * The body of `async with` is cancelled, and ends in `LockLostError`, when the lock could not be renewed in time.
      A cancellation from outside stays one.
    * No two bodies run at once, with clocks up to a day apart, as long as monotonic clocks run equally fast and no
      process is stopped or blocks its event loop. The holder counts `ttl` on its monotonic clock from before
      its last renewal was sent; everybody else counts it on theirs from after they first saw that renewal.

    Not guaranteed:

    * That no two bodies ever run at once. A body is cancelled at its next `await`, not earlier: until then, a body that
      blocks the event loop continues, and so does a stopped process when it resumes. The monotonic clock of a suspended
      host may have stood still.
    * Speed after a crash: a waiting process takes the lock of a dead one `ttl` seconds after it first saw it.
    * Fairness. Tasks of one process, over one store object, take their turns; processes try at random moments.
    * Anything, once the entry is lost: if a store evicts it, a `TTLWrapper` shortens its life below `ttl`, or the
      collection is destroyed. Two may then hold the lock. Tokens continue from the clock, in microseconds, and so are
      higher even then, if the clock is right.

    Tasks may share a `Lock`; they wait for one another. A lock is not reentrant: a task that acquires a lock it holds,
    even through another `Lock` of the same name, gets `RuntimeError`, because it would wait for itself. Over another
    store object it does wait, as another process would.

    Acquiring a free lock takes two round trips, or one with the `Lock` object that had it last. A waiting process reads
    about four times a second, once for all its tasks that wait over one store object. Renewing and releasing take one
    round trip each.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        name: The name of the lock, a key.
        ttl: How long the lock holds without being renewed, in seconds or as a `timedelta`.
        collection: The collection that holds it.
        keep: How long its entry, and with it the order of tokens, is kept after the last use. 0 deletes the entry at
            each release, for locks whose names are used once.
        clock: Returns the present as seconds since the Unix epoch. It is used for the first token and for `locked`, not
            to decide who holds the lock.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        InvalidKeyError, InvalidTTLError: A name, the ttl or `keep` is not legal.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        name: str,
        *,
        ttl: TTL = 30,
        collection: str = "locks",
        keep: TTL = KEPT,
        clock: Clock = system_clock,
    ) -> None:
        self._claims = Claims(store, collection, ttl, clock=clock, keep=keep)
        self._name = check_name(name, "name", store.max_key_bytes)
        self._claim: HeldClaim | None = None
        self._left: tuple[Standing | None] | None = (None,) if self._claims.forgets else None
        self._turn = AsyncExitStack()
        self._body: AbstractAsyncContextManager[None] | None = None
        watch(self)

    def after_fork(self) -> None:
        """In a child of `fork`: forget the lock, which only the parent holds, renews and releases."""
        if self._claim is not None:
            hold(self._claim, self._turn, self._body)
            self._claim, self._turn, self._body = None, AsyncExitStack(), None

    def __repr__(self) -> str:
        claims = self._claims
        return f"Lock({claims.store!r}, {self._name!r}, ttl={claims.seconds:g}, collection={claims.collection!r})"

    @property
    def fencing_token(self) -> int:
        """The token of the present holder, even after the lock was lost, until it is released.

        Raises:
            RuntimeError: The lock is not held through this object.
        """
        return self._held().claim.token

    @property
    def held(self) -> bool:
        """Whether the lock is held through this object, as far as this process can know."""
        return self._claim is not None and not self._claim.lease.lapsed

    async def locked(self) -> bool:
        """Return whether anybody seems to hold the lock, in one round trip.

        It compares the clocks of two hosts, and the answer may be out of date: to decide, use `acquire(timeout=0)`.
        """
        claims = self._claims
        entry = await claims.store.get_entry(claims.collection, self._name)
        standing = self._standing(entry)
        return standing is not None and standing.claim is not None and standing.claim.until > claims.clock()

    async def acquire(self, *, timeout: float | None = None) -> bool:  # noqa: ASYNC109  # as threading.Lock has it
        """Wait for the lock, and return whether it was acquired in time.

        It is renewed until `release`, which must be called even if the lock was lost. `async with` also cancels its
        body when the lock is lost; here, check `held`.

        Args:
            timeout: Maximum wait in seconds, 0 to try once, None for no limit. A request in progress at that moment is
                awaited.

        Raises:
            RuntimeError: The task already holds the lock, through any object over the same store object.
            ValueError: The timeout is not a number of seconds, 0 or above.
            IntegrityError: The entry holds something that no lock wrote.
            StoreError: The backend failed.
        """
        check_timeout(timeout)
        claims = self._claims
        if holds_key_lock(claims.store, claims.collection, self._name):
            raise RuntimeError(
                f"this task already holds {self!r}: it would wait for itself, because locks are not reentrant"
            )
        end = math.inf if timeout is None else asyncio.get_running_loop().time() + timeout
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout_at(None if timeout is None else end):
                    await turn.enter_async_context(key_lock(claims.store, claims.collection, self._name))
            except TimeoutError:
                return False
            claim = await self._wait_for_claim(end)
            if claim is None:
                return False
            self._claim, self._turn = claim, turn.pop_all()
        claim.lease.start()
        return True

    async def release(self) -> None:
        """Release the lock, in one round trip.

        Raises:
            LockLostError: The lock was lost before.
            RuntimeError: It is not held through this object, or `async with` holds it.
            StoreError: The backend failed; the lock lapses.
        """
        claim = self._held()
        if self._body is not None:
            raise RuntimeError(f"{self!r} is held by `async with`: leave its block to release it")
        await self._give_up(claim)

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
        claim, failed = self._held(), True
        try:
            async with claim.lease.kept():
                yield
            failed = False
        finally:
            try:
                await self._give_up(claim)
            except StoreError as error:  # the body held the lock to its end
                self._not_released(error)
            except LockLostError:
                if not failed:
                    raise

    async def _wait_for_claim(self, end: float) -> HeldClaim | None:
        claims, owner, attempt = self._claims, new_owner(), 0
        if self._left is not None and (claim := await claims.take(self._name, *self._left, owner)) is not None:
            return claim
        while True:
            standing = self._standing(await claims.store.get_entry(claims.collection, self._name))
            if claims.is_free(self._name, standing, owner):
                claim = await claims.take(self._name, standing, owner)
                if claim is not None:
                    return claim
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await asyncio.sleep(min(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE), left))
            attempt += 1

    async def _give_up(self, claim: HeldClaim) -> None:
        claim.lease.stop()
        turn, self._claim, self._left = self._turn, None, None
        try:
            self._left = (await shielded(claim.end, self._not_released),)
        finally:
            await turn.aclose()

    def _not_released(self, error: Exception) -> None:
        logger.warning("%r was not released, and will lapse: %s", self, error)

    def _held(self) -> HeldClaim:
        if self._claim is None:
            raise RuntimeError(f"{self!r} is not held through this object; acquire it first")
        return self._claim

    def _standing(self, entry: Entry | None) -> Standing | None:
        standing = standing_of(entry)
        if standing is not None and standing.claim is None:
            raise IntegrityError(f"{self._claims.describe(self._name)} holds something that no Lock wrote")
        return standing
