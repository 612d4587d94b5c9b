"""`Job` and `DeadJob`, which a queue hands out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from ..._shielding import shielded
from ...errors import LockLostError
from ..lease import Lease

T = TypeVar("T")


class Ending(Protocol):
    """Interface by which a job reports its end to its queue."""

    async def done(self) -> None:
        """Record that the work is done."""

    async def failed(self, error: Exception) -> None:
        """Record that an attempt has failed."""

    async def give_back(self) -> None:
        """Let another worker take the job, as if it had not been taken."""

    def lost(self, error: LockLostError) -> None:
        """Log that another worker may have the job."""

    def unheard(self, error: Exception) -> None:
        """Log an error that no caller waits for any more."""


class Job(Generic[T]):
    """Piece of work that a worker has taken from a queue: do it within `async with`.

    While the block runs, the job is renewed, so that no other worker takes it. The end of the block decides the fate of
    the job:

    * The block ends: the job is done.
    * The block raises: the job is put back and taken again or, after `max_attempts`, moved to the dead jobs. The error
      is logged with its traceback and not raised, so that the worker continues.
    * The block is cancelled: the job is given back at once, and the attempt does not count. The cancellation continues.
    * The job could not be renewed in time: the block is cancelled, and another worker takes the job. `LockLostError` is
      logged and not raised.

    Attributes:
        id: Name of the job, the same at each attempt: the idempotency key for its effects.
        value: The value that was pushed.
        attempts: Number of attempts, this one included.
    """

    def __init__(self, name: str, value: T, attempts: int, lease: Lease, ending: Ending) -> None:
        self.id, self.value, self.attempts = name, value, attempts
        self._lease, self._ending = lease, ending
        self._block = lease.kept()

    def __repr__(self) -> str:
        return f"Job({self.id!r}, attempts={self.attempts})"

    @property
    def lost(self) -> bool:
        """Whether another worker may have the job, as far as this process can know."""
        return self._lease.lapsed

    async def __aenter__(self) -> Self:
        self._lease.start()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        ending = self._ending
        try:
            await self._block.__aexit__(kind, error, trace)
            if error is None:
                await shielded(ending.done, ending.unheard)
            elif isinstance(error, Exception):
                await shielded(partial(ending.failed, error), ending.unheard)
            else:
                await shielded(ending.give_back, ending.unheard)
        except LockLostError as loss:
            ending.lost(loss)
            return True
        return error is None or isinstance(error, Exception)


class DeadJob(Generic[T]):
    """Job that has used up its attempts.

    Attributes:
        id: The name of the job.
        value: The value that was pushed.
        attempts: Number of attempts that were made.
        error: Name of the type of the last exception; empty if the worker died.
    """

    def __init__(
        self, name: str, value: T, attempts: int, error: str, leave: Callable[[bool], Awaitable[None]]
    ) -> None:
        self.id, self.value, self.attempts, self.error = name, value, attempts, error
        self._leave = leave

    def __repr__(self) -> str:
        return f"DeadJob({self.id!r}, attempts={self.attempts}, error={self.error!r})"

    async def retry(self) -> None:
        """Push the job again, under its id, and remove it from the dead jobs."""
        await self._leave(True)

    async def discard(self) -> None:
        """Remove the job from the dead jobs."""
        await self._leave(False)
