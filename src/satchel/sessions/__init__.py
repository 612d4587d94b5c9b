"""Sessions: data that belongs to a visitor or a conversation, and that expires, on any store with conditional writes.

* `Sessions` and `SessionMiddleware` give web services sessions behind a cookie, for Starlette, FastAPI and any ASGI
  application.
* A `SessionStore` keeps sessions under keys that the caller chooses, with locks.
"""

from .middleware import SessionMiddleware
from .records import SessionInfo, SessionStatus
from .session import Session
from .store import SessionLock, SessionStore
from .web import Sessions

__all__ = ["Session", "SessionInfo", "SessionLock", "SessionMiddleware", "SessionStatus", "SessionStore", "Sessions"]
