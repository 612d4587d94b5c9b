"""`Claims`: entries on which one owner at a time has a lease. `Lock`, `Leader` and `Once` are built on them.

A claim is the value of the entry: a fencing token, its owner, and the length of the lease. It is taken, renewed and
ended only by writes that are conditional on the version last seen, so an owner that has lost it changes nothing. Others
judge by their own monotonic clocks whether it has lapsed (`Observations`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial
from typing import Any, NamedTuple

from .._checks import check_clock
from .._shielding import in_background, shielded
from ..capability import Capability
from ..clock import MAX_TTL, TTL, Clock, seconds
from ..entry import Entry
from ..errors import StoreError
from ..names import check_name
from ..protocol import AsyncKeyValue, require
from .lease import Lease, loop_time
from .observation import Observations

KEPT = 30 * 86_400.0
"""Seconds for which an entry outlives its last lease by default, so that fencing tokens continue from it."""
CLOCKS_APART = 86_400.0
"""Seconds by which clocks may be apart: an entry in use outlives its lease by as many, so that no clock ends it."""
_MICROSECONDS = 1_000_000
_NOBODY = ""
OWNER_BYTES = 16
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Bounds of the pauses between reads while waiting: four reads a second on average, after the first second."""

logger = logging.getLogger("satchel")


class Claim(NamedTuple):
    """Content of the entry of a claim.

    Attributes:
        token: The fencing token.
        owner: The owner; empty after a release.
        lease: Seconds for which the claim holds after it was written.
        until: When it lapses by the clock of its writer, in seconds since the Unix epoch: used only by `locked`.
    """

    token: int
    owner: str
    lease: float
    until: float

    def value(self) -> dict[str, Any]:
        """Return the value of the entry."""
        return {
            "format": 1,
            "fencing_token": self.token,
            "owner": self.owner,
            "lease": self.lease,
            "until": self.until,
        }

    @property
    def released(self) -> bool:
        """Whether its owner has given it back."""
        return self.owner == _NOBODY


def claim_of(value: object) -> Claim | None:
    """Return a value as a claim; None if it is something else."""
    match value:
        case {
            "format": 1,
            "fencing_token": int(token),
            "owner": str(owner),
            "lease": float(lease),
            "until": float(until),
        }:
            return Claim(token, owner, lease, until)
    return None


class Standing(NamedTuple):
    """Entry of a claim, as it was last read or written.

    Attributes:
        version: The version of the entry.
        claim: Its content; None if it is something else.
    """

    version: str
    claim: Claim | None


def standing_of(entry: Entry | None) -> Standing | None:
    """Return an entry as the entry of a claim; None if it is absent."""
    return None if entry is None else Standing(entry.version, claim_of(entry.value))


class Claims:
    """Entries of one collection in which claims are made.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        collection: The collection.
        ttl: How long a lease holds without being renewed.
        clock: Returns the present as seconds since the Unix epoch.
        keep: How long an entry stays after its last use; 0 to delete it at the release.
    """

    def __init__(self, store: AsyncKeyValue, collection: str, ttl: TTL, *, clock: Clock, keep: TTL = KEPT) -> None:
        self.store = require(store, Capability.CONDITIONAL)
        self.collection = check_name(collection, "collection")
        self.seconds = float(seconds(ttl))
        self.forgets = keep == 0
        self._kept = 0.0 if self.forgets else seconds(keep, "keep")
        self._in_use = min(self.seconds + max(self._kept, CLOCKS_APART), MAX_TTL)
        check_clock(clock)
        self.clock = clock
        self._observations = Observations()

    def is_free(self, key: str, standing: Standing | None, owner: str) -> bool:
        """Return whether an owner may take a claim; it may be its own, from a request whose answer was lost."""
        if standing is None or (claim := standing.claim) is None or claim.released or claim.owner == owner:
            return True
        return self._observations.elapsed(key, standing.version) >= claim.lease

    async def take(self, key: str, standing: Standing | None, owner: str) -> HeldClaim | None:
        """Take a claim that is free, in one round trip; None when another owner was faster.

        If the caller is cancelled, the request is still completed, and the claim is given back before the cancellation
        continues. After an error, the caller does not wait for that.
        """
        attempt = in_background(self._take(key, standing, owner))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            await shielded(lambda: self._give_back(key, owner, attempt), partial(self._not_given_back, key))
            raise
        except StoreError:
            in_background(self._give_back(key, owner, attempt))
            raise

    async def _take(self, key: str, standing: Standing | None, owner: str) -> HeldClaim | None:
        sent, now = loop_time(), self.clock()
        last = None if standing is None else standing.claim
        # If the entry is absent, the clock gives a higher token than an evicted or removed entry had.
        token = int(now * _MICROSECONDS) if last is None else last.token + 1
        claim = Claim(token, owner, self.seconds, now + self.seconds)
        if standing is None:
            version = await self.store.put_if_absent(self.collection, key, claim.value(), ttl=self._in_use)
        else:
            version = await self.store.compare_and_put(
                self.collection, key, claim.value(), version=standing.version, ttl=self._in_use
            )
        if version is None:
            return None
        self._observations.forget(key)
        held = HeldClaim(self, key, claim, version, sent)
        return None if held.lease.lapsed else held  # the answer may have come too late

    async def _give_back(self, key: str, owner: str, attempt: asyncio.Task[HeldClaim | None]) -> None:
        await asyncio.wait([attempt])
        if not attempt.cancelled():
            attempt.exception()  # otherwise asyncio would report it, because the cancelled caller has not seen it
        try:
            entry = await self.store.get_entry(self.collection, key)
            claim = None if entry is None else claim_of(entry.value)
            if entry is not None and claim is not None and claim.owner == owner:
                await HeldClaim(self, key, claim, entry.version, loop_time()).end()
        except Exception as error:
            self._not_given_back(key, error)

    def _not_given_back(self, key: str, error: Exception) -> None:
        logger.debug("%s was not given back, and will lapse: %s", self.describe(key), error)

    def describe(self, key: str) -> str:
        """Return the name of an entry for messages."""
        return f"key {key!r} of collection {self.collection!r}"


class HeldClaim:
    """Claim that was taken, and its lease.

    Attributes:
        key: The key of its entry.
        claim: The content of the entry.
        lease: The time for which it is held.
    """

    def __init__(self, claims: Claims, key: str, claim: Claim, version: str, sent: float) -> None:
        self._claims, self.key, self.claim, self._version = claims, key, claim, version
        self.lease = Lease(claims.seconds, sent, self._renew, f"the lease on {claims.describe(key)}")

    @property
    def description(self) -> str:
        """The name of its entry for messages."""
        return self._claims.describe(self.key)

    async def replace(self, value: object, ttl: float) -> None:
        """Write another value in place of the claim, in one round trip.

        Raises:
            LockLostError: It has lapsed, or another holder has it.
        """
        store, names = self._claims.store, (self._claims.collection, self.key)
        while True:
            self.lease.check()
            version = await store.compare_and_put(*names, value, version=self._version, ttl=ttl)
            if version is not None:
                self._version = version
                return
            entry = await store.get_entry(*names)
            if entry is not None and entry.value == value:
                self._version = entry.version  # an earlier attempt, whose answer was lost
                return
            self._check_entry(entry)

    async def end(self) -> Standing | None:
        """Give the claim back, in one round trip, and return the entry as it is now.

        Raises:
            LockLostError: It has lapsed, or another holder has it.
        """
        claims = self._claims
        if not claims.forgets:
            released = self.claim._replace(owner=_NOBODY, lease=0.0, until=0.0)
            await self.replace(released.value(), claims._kept)
            return Standing(self._version, released)
        self.lease.check()
        names = (claims.collection, self.key)
        while not await claims.store.compare_and_delete(*names, version=self._version):
            self._check_entry(await claims.store.get_entry(*names))
            self.lease.check()
        return None

    def _check_entry(self, entry: Entry | None) -> None:
        """Note the entry's version if it comes from an own write whose answer was lost."""
        claim = None if entry is None else claim_of(entry.value)
        if entry is None or claim is None or claim[:2] != self.claim[:2]:
            raise self.lease.lose()
        self._version = entry.version

    async def _renew(self) -> None:
        claim = self.claim._replace(until=self._claims.clock() + self._claims.seconds)
        await self.replace(claim.value(), self._claims._in_use)


def new_owner() -> str:
    """Return the name of a new owner: each attempt to get a lease is a new owner, also after a fork."""
    return secrets.token_hex(OWNER_BYTES)
