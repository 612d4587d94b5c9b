"""Coordination: locks, queues, counters, rate limits and the like, on any store with conditional writes.

* `update` changes a value without losing other writers' changes; a `Counter` counts with it.
* A `Lock` admits one holder at a time, and gives it a fencing token. A `Semaphore` admits a number of holders. A
  `Leader` leads while no other process does.
* A `Queue` hands jobs to workers, at least once.
* A `RateLimit` admits a number of hits in a time, for each key.
* `Once` runs a function once for each idempotency key, and gives every caller the result.

Their state is kept in entries of the store, so the same code works over every store, and through wrappers.
"""

from .counter import Counter, update
from .leader import Leader, Term
from .lock import Lock
from .once import Busy, Claimed, Once, Recorded
from .queue import DeadJob, Job, Queue
from .rate_limit import RateLimit, Verdict
from .semaphore import Permit, Semaphore

__all__ = [
    "Busy",
    "Claimed",
    "Counter",
    "DeadJob",
    "Job",
    "Leader",
    "Lock",
    "Once",
    "Permit",
    "Queue",
    "RateLimit",
    "Recorded",
    "Semaphore",
    "Term",
    "Verdict",
    "update",
]
