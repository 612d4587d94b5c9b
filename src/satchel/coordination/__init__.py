"""Coordination: updates, counters, locks and idempotency keys, on any store with conditional writes.

* `update` changes a value without losing other writers' changes; a `Counter` counts with it.
* A `Lock` lets one holder at a time in, and gives it a fencing token.
* `Once` carries out what has an idempotency key once, and gives every caller the result.

Everything is an entry of the store: the same code works over each of them, and through wrappers.
"""

from .counter import Counter, update
from .lock import Lock
from .once import Busy, Claimed, Once, Recorded

__all__ = ["Busy", "Claimed", "Counter", "Lock", "Once", "Recorded", "update"]
