"""`Lease`: a claim on an entry for a time, renewed while it is needed. Locks and idempotency keys are built on it.

A claim is the value of the entry: a fencing token, who owns it, and until when. It is taken, renewed and ended by
conditional writes alone, each for the version last seen: a holder that has lost the claim changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from .._checks import check_clock
from .._shielding import in_background, shielded
from ..capability import Capability
from ..clock import MAX_TTL, TTL, Clock, seconds
from ..entry import Entry
from ..errors import LockLostError, StoreError
from ..names import check_name
from ..protocol import AsyncKeyValue, require

KEPT = 30 * 86_400.0
"""Seconds for which the entry of a lease outlives it: the fencing token continues from there."""

_RENEWALS = 3
"""Number of renewals of a lease within its time to live."""
_RETRIES = 12
"""After a renewal that failed, as many are tried in that time."""
_MICROSECONDS = 1_000_000
_NOBODY = ""
OWNER_BYTES = 16
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Bounds of the pauses while waiting: four reads a second on average, after the first second."""

logger = logging.getLogger("satchel")


class Claim(NamedTuple):
    """Content of the entry of a lease; `until` is in seconds since the Unix epoch."""

    token: int
    owner: str
    until: float

    def value(self) -> dict[str, Any]:
        """Return the value of the entry."""
        return {"fencing_token": self.token, "owner": self.owner, "until": self.until}


def claim_of(value: object) -> Claim | None:
    """Return the claim that a value holds; None if it is not a claim."""
    match value:
        case {"fencing_token": int(token), "owner": str(owner), "until": float(until)}:
            return Claim(token, owner, until)
    return None


@dataclass
class Claims:
    """Entries of one collection in which claims are made.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        collection: The collection.
        ttl: How long a lease holds without being renewed.
        clock: Function that returns seconds since the Unix epoch.
        forgets: An ended lease leaves no entry behind, and so no fencing token.
    """

    store: AsyncKeyValue
    collection: str
    ttl: TTL
    clock: Clock
    forgets: bool

    def __post_init__(self) -> None:
        self.writable = require(self.store, Capability.CONDITIONAL)
        self.collection = check_name(self.collection, "collection")
        self.seconds = seconds(self.ttl)
        self.kept = min(self.seconds + KEPT, MAX_TTL)
        check_clock(self.clock)

    def is_free(self, claim: Claim | None, owner: str | None = None) -> bool:
        """Return whether an owner may take a claim; it may have taken it already without learning so."""
        return claim is None or claim.until <= self.clock() or claim.owner == owner

    async def take(self, key: str, entry: Entry | None, owner: str) -> Lease | None:
        """Take a free claim, in one round trip; None if another owner was faster.

        When the caller is cancelled, the request is carried out to its end all the same, and what it took is given
        back before the cancellation goes on. After an error the caller does not wait for that.
        """
        attempt = in_background(self._take(key, entry, owner))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            await shielded(lambda: self._give_back(key, owner, attempt), partial(self._not_given_back, key))
            raise
        except StoreError:
            in_background(self._give_back(key, owner, attempt))
            raise

    async def _take(self, key: str, entry: Entry | None, owner: str) -> Lease | None:
        sent, now = _loop_time(), self.clock()
        last = None if entry is None else claim_of(entry.value)
        # Where nothing is, the clock begins a higher count than that of an entry which was evicted or removed.
        token = int(now * _MICROSECONDS) if last is None else last.token + 1
        claim = Claim(token, owner, now + self.seconds)
        if entry is None:
            version = await self.writable.put_if_absent(self.collection, key, claim.value(), ttl=self.kept)
        else:
            version = await self.writable.compare_and_put(
                self.collection, key, claim.value(), version=entry.version, ttl=self.kept
            )
        lease = None if version is None else Lease(self, key, claim, version, sent + self.seconds)
        return None if lease is None or lease.lapsed else lease  # an answer may come too late

    async def _give_back(self, key: str, owner: str, attempt: asyncio.Task[Lease | None]) -> None:
        await asyncio.wait([attempt])
        if not attempt.cancelled():
            attempt.exception()  # or asyncio would log it: the cancelled caller has not received it
        try:
            entry = await self.store.get_entry(self.collection, key)
            claim = None if entry is None else claim_of(entry.value)
            if entry is not None and claim is not None and claim.owner == owner:
                await Lease(self, key, claim, entry.version, _loop_time() + self.seconds).end()
        except Exception as error:
            self._not_given_back(key, error)

    def _not_given_back(self, key: str, error: Exception) -> None:
        logger.debug("%s was not given back, and will lapse: %s", self.place(key), error)

    def place(self, key: str) -> str:
        """Return the name of an entry in messages."""
        return f"key {key!r} of collection {self.collection!r}"


class Lease:
    """Claim that was taken.

    Attributes:
        key: The key of its entry.
        claim: The claim in the entry.
        deadline: When it lapses, on the clock of the event loop: counted from before the request was sent.
    """

    def __init__(self, claims: Claims, key: str, claim: Claim, version: str, deadline: float) -> None:
        self._claims, self.key = claims, key
        self.claim, self._version, self.deadline = claim, version, deadline
        self._renewing: asyncio.Task[None] | None = None
        self._limit: asyncio.Timeout | None = None
        self._trouble: Exception | None = None
        self._lost = False

    @property
    def place(self) -> str:
        """The name of its entry in messages."""
        return self._claims.place(self.key)

    @property
    def lapsed(self) -> bool:
        """Whether it was lost, as far as this process can know."""
        return self._lost or _loop_time() >= self.deadline

    def start(self) -> None:
        """Renew it from now on."""
        self._renewing = in_background(self._renew_until_lapsed())

    def stop(self) -> None:
        """Renew it no more."""
        if self._renewing is not None:
            self._renewing.cancel()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Hold it for the length of a block. When it lapses the block is cancelled, and ends in `LockLostError`.

        A cancellation from outside passes as it is. So does an error of the block.
        """
        limit = self._limit = asyncio.timeout_at(self.deadline)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._loss() from self._trouble or error
        finally:
            self._limit = None
            self.stop()

    async def replace(self, value: object, ttl: float) -> None:
        """Write another value in place of the claim, in one round trip.

        Raises:
            LockLostError: It has lapsed, or another owner has it.
        """
        store, names = self._claims.writable, (self._claims.collection, self.key)
        while True:
            self._check()
            version = await store.compare_and_put(*names, value, version=self._version, ttl=ttl)
            if version is not None:
                self._version = version
                return
            entry = await store.get_entry(*names)
            if entry is not None and entry.value == value:
                self._version = entry.version  # an earlier attempt, whose answer was lost
                return
            self._check_entry(entry)

    async def end(self) -> None:
        """Let others take it, in one round trip.

        Raises:
            LockLostError: It has lapsed, or another owner has it.
        """
        if not self._claims.forgets:
            await self.replace(self.claim._replace(owner=_NOBODY, until=0.0).value(), self._claims.kept)
            return
        self._check()
        store, names = self._claims.writable, (self._claims.collection, self.key)
        while not await store.compare_and_delete(*names, version=self._version):
            self._check_entry(await store.get_entry(*names))
            self._check()

    def _check(self) -> None:
        if self.lapsed:
            raise self._loss() from self._trouble

    def _check_entry(self, entry: Entry | None) -> None:
        """Record the entry's version after a write of this holder whose answer was lost."""
        claim = None if entry is None else claim_of(entry.value)
        if entry is None or claim is None or claim[:2] != self.claim[:2]:
            self._lost = True
            raise self._loss()
        self._version = entry.version

    def _loss(self) -> LockLostError:
        return LockLostError(
            f"the lease on {self.place} was lost: it was not renewed within "
            f"{self._claims.seconds:g} s, or another owner has it"
        )

    async def _renew_until_lapsed(self) -> None:
        length = self._claims.seconds
        pause = length / _RENEWALS
        while not self.lapsed:
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout_at(self.deadline):
                    await self._renew()
                self._trouble, pause = None, length / _RENEWALS
            except LockLostError:
                break
            except Exception as error:  # whatever it is, there is time to try again until the lease lapses
                self._trouble = error
                pause = length / _RETRIES
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(_loop_time())

    async def _renew(self) -> None:
        sent, length = _loop_time(), self._claims.seconds
        claim = self.claim._replace(until=self._claims.clock() + length)
        await self.replace(claim.value(), self._claims.kept)
        self._check()  # an answer that comes too late does not bring it back
        self.deadline = sent + length
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(self.deadline)


def new_owner() -> str:
    """Return the name of a new owner: each attempt to get a lease is one, also after a fork."""
    return secrets.token_hex(OWNER_BYTES)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
