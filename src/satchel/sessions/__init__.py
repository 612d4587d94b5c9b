"""Sessions: data that belongs to a visitor or a conversation, and that expires, on any store with conditional writes.

* A `SessionStore` keeps sessions under keys that the caller chooses, with locks.
"""

from .records import SessionInfo, SessionStatus
from .store import SessionLock, SessionStore

__all__ = ["SessionInfo", "SessionLock", "SessionStatus", "SessionStore"]
