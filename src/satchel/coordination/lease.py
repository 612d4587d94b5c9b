"""`Lease`: a hold for a limited time, renewed while it is needed. Locks, permits, terms and jobs are leases."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from .._shielding import in_background
from ..errors import LockLostError

_RENEWALS = 3
"""Number of renewals within the length of a lease."""
_RETRIES = 12
"""Number of attempts within the length of a lease after a renewal has failed."""


class Lease:
    """Hold for a limited time, counted on the clock of the event loop.

    The time counts from before a request was sent, never from its answer, so it ends for the holder no later than for
    others, who saw the entry afterwards.

    Args:
        length: Seconds for which the lease holds without being renewed.
        sent: Time of the event loop before the request that started the lease was sent.
        renew: Function that writes the renewal. It raises `LockLostError` if another holder has the lease now; after
            any other error it is called again.
        what: Name of the lease in messages, such as "the lease on key 'a' of collection 'locks'".

    Attributes:
        deadline: When it lapses.
    """

    def __init__(self, length: float, sent: float, renew: Callable[[], Awaitable[None]], what: str) -> None:
        self.deadline = sent + length
        self._length, self._write_renewal, self._what = length, renew, what
        self._renewing: asyncio.Task[None] | None = None
        self._limit: asyncio.Timeout | None = None
        self._trouble: Exception | None = None
        self._lost = False

    @property
    def lapsed(self) -> bool:
        """Whether the lease was lost, as far as this process can know."""
        return self._lost or loop_time() >= self.deadline

    def start(self) -> None:
        """Start renewing the lease."""
        self._renewing = in_background(self._renew_until_lapsed())

    def stop(self) -> None:
        """Stop renewing the lease."""
        if self._renewing is not None:
            self._renewing.cancel()

    def check(self) -> None:
        """Raise `LockLostError` if it has lapsed."""
        if self.lapsed:
            raise self._loss() from self._trouble

    def lose(self) -> LockLostError:
        """Mark the lease as lost to another holder, and return the error to raise."""
        self._lost = True
        return self._loss()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Hold the lease for the length of a block. If it lapses, the block is cancelled and ends in `LockLostError`.

        Cancellations from outside and errors of the block pass through unchanged.
        """
        limit = self._limit = asyncio.timeout_at(self.deadline)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self.lose() from self._trouble or error
        finally:
            self._limit = None
            self.stop()

    async def renew(self) -> None:
        """Renew the lease now.

        Raises:
            LockLostError: It has lapsed, or another holder has it.
            StoreError: The backend failed; the lease holds until its deadline.
        """
        self.check()
        sent = loop_time()
        await self._write_renewal()
        self.check()  # a late answer does not revive the lease
        self.deadline = sent + self._length
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(self.deadline)

    def _loss(self) -> LockLostError:
        return LockLostError(
            f"{self._what} was lost: it was not renewed within {self._length:g} s, or another holder has it"
        )

    async def _renew_until_lapsed(self) -> None:
        pause = self._length / _RENEWALS
        while not self.lapsed:
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout_at(self.deadline):
                    await self.renew()
                self._trouble, pause = None, self._length / _RENEWALS
            except LockLostError:
                break
            except Exception as error:  # whatever the error, there is time to try again until the lease lapses
                self._trouble = error
                pause = self._length / _RETRIES
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(loop_time())


def loop_time() -> float:
    """Return the time of the running event loop: monotonic, and of this process alone."""
    return asyncio.get_running_loop().time()


def check_timeout(timeout: object) -> None:
    """Raise ValueError unless the value is a number of seconds, 0 or above, or None."""
    if timeout is not None and (type(timeout) not in (int, float) or not 0 <= timeout < math.inf):  # type: ignore[operator]  # the type was just compared
        raise ValueError(f"timeout must be a number of seconds, 0 or above, or None, got {timeout!r}")
