"""aiohttp's sessions on any satchel store with conditional writes."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from ..capability import Capability
from ..errors import missing_extra
from ..names import check_name
from ..protocol import AsyncKeyValue, require

try:
    from aiohttp import web
    from aiohttp_session import AbstractStorage, Session
except ModuleNotFoundError as error:
    raise missing_extra("SatchelSessionStorage", "aiohttp-session", error) from error

_ID_BYTES = 32
_ID_LENGTH = 43


class _Loaded(Session):
    """Session as it was in the store, with its version."""

    version = ""


class SatchelSessionStorage(AbstractStorage):
    """Storage of aiohttp-session's over a satchel store.

    The cookie holds a random id, and the store keeps a session under the SHA-256 of it, so that a copied store opens no
    session. Ids are made here, never taken from a client. A session that was ended meanwhile, as by a logout in another
    request, is not written again, and a new session removes the one that the cookie named.

    Args:
        store: A store with conditional writes.
        collection: The collection of the sessions.
        **cookie: What `aiohttp_session.AbstractStorage` takes for its cookie, such as `cookie_name`, `max_age` and
            `secure`. `max_age` is the ttl of a session too.

    Raises:
        ConfigurationError: `store` is no store.
        InvalidKeyError: `collection` is no name of a collection.
        UnsupportedOperationError: The store has no conditional writes.
    """

    def __init__(self, store: AsyncKeyValue, *, collection: str = "aiohttp-sessions", **cookie: Any) -> None:
        super().__init__(**cookie)
        self._store = require(store, Capability.CONDITIONAL)
        self._collection = check_name(collection, "collection")

    async def load_session(self, request: web.Request) -> Session:
        """Return the session that the request's cookie names, or a new one."""
        identity = self.load_cookie(request)
        if identity is None or len(identity) != _ID_LENGTH:
            return await self.new_session()
        entry = await self._store.get_entry(self._collection, _key(identity))
        if entry is None:
            return await self.new_session()
        session = _Loaded(identity, data=entry.value, new=False, max_age=self.max_age)
        session.version = entry.version
        return session

    async def save_session(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Save a session that was changed, and set its cookie; an empty one is removed with its cookie."""
        before = self.load_cookie(request)
        if session.identity is None and before is not None and len(before) == _ID_LENGTH:
            await self._store.delete(self._collection, _key(before))
        if session.empty:
            if session.identity is not None:
                await self._store.delete(self._collection, _key(session.identity))
            self.save_cookie(response, "", max_age=session.max_age)
            return
        data = self._get_session_data(session)
        identity = session.identity or secrets.token_urlsafe(_ID_BYTES)
        if session.identity is None:
            await self._store.put(self._collection, _key(identity), data, ttl=session.max_age)
        elif not await self._replace(_key(identity), data, getattr(session, "version", ""), session.max_age):
            self.save_cookie(response, "", max_age=session.max_age)
            return
        self.save_cookie(response, identity, max_age=session.max_age)

    async def _replace(self, key: str, data: object, version: str, ttl: int | None) -> bool:
        """Replace a session, also one that another request changed; return whether there still was one."""
        while await self._store.compare_and_put(self._collection, key, data, version=version, ttl=ttl) is None:
            entry = await self._store.get_entry(self._collection, key)
            if entry is None:
                return False
            version = entry.version
        return True


def _key(identity: str) -> str:
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
