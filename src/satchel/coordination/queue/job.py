"""`Job` and `DeadJob`: what a queue hands out."""

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
    """How a queue takes a job back."""

    async def done(self) -> None:
        """Record that the work is done."""

    async def failed(self, error: Exception) -> None:
        """Record that an attempt has failed."""

    async def give_back(self) -> None:
        """Let another worker take it, as if it had not been taken."""

    def lost(self, error: LockLostError) -> None:
        """Log that another worker may have it."""

    def unheard(self, error: Exception) -> None:
        """Log what nobody waits for any more."""


class Job(Generic[T]):
    """Piece of work that a worker has taken from a queue: do it within `async with`.

    While the block runs, the job is renewed, so that no other worker takes it. How the block ends says what becomes of
    it:

    * It ends: the job is done.
    * It raises: the job is put back and taken again, or, after `max_attempts`, moved to the dead ones. The error is
      logged with its traceback and goes no further, so that the worker lives on.
    * It is cancelled: the job is given back at once, and the attempt does not count. The cancellation goes on.
    * The job could not be renewed in time: the block is cancelled, and another worker takes the job. `LockLostError` is
      logged and goes no further.

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
    """Job whose attempts are used up.

    Attributes:
        id: The name of the job.
        value: The value that was pushed.
        attempts: Number of attempts that were made.
        error: Name of the type of the last exception; empty where the worker died.
    """

    def __init__(
        self, name: str, value: T, attempts: int, error: str, leave: Callable[[bool], Awaitable[None]]
    ) -> None:
        self.id, self.value, self.attempts, self.error = name, value, attempts, error
        self._leave = leave

    def __repr__(self) -> str:
        return f"DeadJob({self.id!r}, attempts={self.attempts}, error={self.error!r})"

    async def retry(self) -> None:
        """Push the job again, under its id, and take it from the dead ones."""
        await self._leave(True)

    async def discard(self) -> None:
        """Take the job from the dead ones."""
        await self._leave(False)
