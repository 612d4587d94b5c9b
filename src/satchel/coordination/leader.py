"""`Leader`: one process among many that leads for a term, until it leaves or dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..clock import TTL
from ..protocol import AsyncKeyValue
from .lock import Lock


class Term:
    """Time in which one process leads, within the block of `Leader.term`.

    Attributes:
        fencing_token: Number that is higher than those of all earlier terms, so that the resources that the leader
            writes to can refuse an earlier leader.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self.fencing_token = lock.fencing_token

    def __repr__(self) -> str:
        return f"Term(fencing_token={self.fencing_token}, lost={self.lost})"

    @property
    def lost(self) -> bool:
        """Whether the term is over, as far as this process can know; for work that a cancellation does not reach."""
        return not (self._lock.held and self._lock.fencing_token == self.fencing_token)


class Leader:
    """Candidate that leads while no other process does.

    Every process makes a `Leader` of the same name and runs its work in terms. One of them enters its block; the others
    wait. When the leader leaves its block, another one enters at once. When it dies, another one enters `ttl` seconds
    after the others last saw the leader renew its term.

    ```python
    from satchel import MemoryStore
    from satchel.coordination import Leader

    leader = Leader(MemoryStore(), "cron")
    async with leader.term() as term:      # wait to be elected
        assert not term.lost
    ```

    It is built on `Lock` and has the same guarantees. A block whose term could not be renewed in time is cancelled and
    ends in `LockLostError`. A process that was stopped may continue for a moment beside the next leader, so pass
    `term.fencing_token` to every resource that must have only one writer.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        name: The name of the office, a key.
        ttl: How long a term holds without being renewed, in seconds or as a `timedelta`.
        collection: The collection that holds it.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        InvalidKeyError, InvalidTTLError: A name or the ttl is not legal.
    """

    def __init__(self, store: AsyncKeyValue, name: str, *, ttl: TTL = 15, collection: str = "leaders") -> None:
        self._lock = Lock(store, name, ttl=ttl, collection=collection)

    def __repr__(self) -> str:
        return repr(self._lock).replace("Lock(", "Leader(", 1)

    @property
    def leading(self) -> bool:
        """Whether this object leads, as far as this process can know."""
        return self._lock.held

    @asynccontextmanager
    async def term(self) -> AsyncIterator[Term]:
        """Wait to be elected, and lead for the length of a block.

        Raises:
            LockLostError: The term could not be renewed in time, and the block was cancelled: campaign again.
            StoreError: The backend failed.
        """
        async with self._lock as lock:
            yield Term(lock)
