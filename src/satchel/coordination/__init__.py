"""Coordination: updates, counters, locks and idempotency keys, on any store with conditional writes.

* `update` changes a value without losing other writers' changes; a `Counter` counts with it.
* A `Lock` lets one holder at a time in, and gives it a fencing token.
* `Once` runs a function once for each idempotency key, and gives every caller the result.

Everything is an entry of the store: the same code works over each of them, and through wrappers.
"""

from .counter import Counter, update
from .lock import Lock
from .once import Once

__all__ = ["Counter", "Lock", "Once", "update"]
