"""`SessionMiddleware`: sessions behind a cookie, for any ASGI application."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal

from .._checks import check_bool, check_choice, check_seconds
from ..errors import ConfigurationError, SessionGoneError, StoreError, with_article
from .session import Session
from .web import Sessions, is_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SAME_SITE = {"lax": "Lax", "strict": "Strict", "none": "None"}
_FAILED = 500
_ENDED = b"The session ended while the request ran."
_DOWN = b"Sessions are unavailable; try again later."
_GRACE_SECONDS = 60
_TRY_LATER = 1013
"""Code with which a websocket is closed while the store is down."""

logger = logging.getLogger("satchel")


class SessionMiddleware:
    """ASGI middleware that gives each request and websocket a session, which only a cookie's id opens.

    `request.session` is a dict, as with Starlette's own middleware, whose data stay on the server. `session.rotate()`
    gives it a new id, `session.end()` ends it; both are plain calls. It is saved before the response begins, and what
    a streamed body changes, at its end.

    ```python
    from fastapi import FastAPI, Request
    from satchel import MemoryStore
    from satchel.sessions import SessionMiddleware, Sessions

    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=Sessions(MemoryStore()))

    @app.post("/login")
    def login(request: Request) -> None:
        request.session["user"] = 1         # once the password was checked; the session gets a new id

    @app.post("/logout")
    def logout(request: Request) -> None:
        request.session.end()
    ```

    * A request that only reads costs one round trip to the store and no write.
    * An endpoint that raises, or answers with a status from 500, saves nothing.
    * A session that ended while the request ran is not written again: what was changed is lost, and the answer is 400.
    * Two different cookies of the name are not trusted: the request has no session.
    * Responses that used the session get `Vary: Cookie` and `Cache-Control: no-store`, unless they say otherwise.

    Args:
        app: The application.
        sessions: The sessions.
        cookie: The name of the cookie. The prefix `__Host-` lets browsers refuse it from other hosts and plain HTTP.
        renew_after: Seconds without renewal after which a session that is in use is renewed, and the age of its
            cookie with it; half of its idle time if that is less.
        rotate_after: Seconds after which a session gets a new id; the old one leads to it for 60 seconds.
        on_error: What happens while the store is down: "refuse" answers 503, "anonymous" goes on with an empty session
            that is not saved.
        skip: Takes the scope, and returns whether the request has no session, as for static files.
        secure: Browsers send the cookie over HTTPS alone. False is for development over HTTP, with another name.
        same_site: When browsers send the cookie with requests from other sites: "lax", "strict" or "none".

    Raises:
        ConfigurationError: An option is not as described.
    """

    def __init__(
        self,
        app: Application,
        *,
        sessions: Sessions,
        cookie: str = "__Host-session",
        renew_after: float = 900,
        rotate_after: float = 3600,
        on_error: Literal["refuse", "anonymous"] = "refuse",
        skip: Callable[[Scope], bool] | None = None,
        secure: bool = True,
        same_site: Literal["lax", "strict", "none"] = "lax",
    ) -> None:
        if not isinstance(sessions, Sessions):
            raise ConfigurationError(f"sessions must be a Sessions, got {with_article(type(sessions))}")
        check_seconds("renew_after", renew_after)
        check_seconds("rotate_after", rotate_after)
        check_choice("on_error", on_error, ("refuse", "anonymous"))
        check_choice("same_site", same_site, _SAME_SITE)
        check_bool("secure", secure)
        if skip is not None and not callable(skip):
            raise ConfigurationError(f"skip must be a function of the scope, got {with_article(type(skip))}")
        _check_cookie(cookie, secure=secure, same_site=same_site)
        self._app, self._sessions, self._skip = app, sessions, skip
        self._renew_after, self._rotate_after, self._refuses = renew_after, rotate_after, on_error == "refuse"
        self._name = cookie.encode("ascii")
        self._attributes = f"; Path=/; HttpOnly{'; Secure' if secure else ''}; SameSite={_SAME_SITE[same_site]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        kind = scope["type"]
        if kind not in ("http", "websocket") or (self._skip is not None and self._skip(scope)):
            await self._app(scope, receive, send)
            return
        session, saves = Session(), True
        id = _id_of(scope, self._name)  # noqa: A001  # it is what the thing is called
        if id is not None:
            try:
                loaded = await self._sessions._load(id, self._renew_after)
                session = session if loaded is None else loaded
            except StoreError as error:
                saves = False
                logger.warning("a session could not be loaded: %s", error)
                if self._refuses:
                    await _refuse(kind, receive, send)
                    return
        scope["session"] = session
        exchange = _Exchange(self, session, id, send, saves=saves)
        if kind == "http":
            await self._app(scope, receive, exchange.send_response)
        else:
            await self._app(scope, exchange.receiving(receive), exchange.send_websocket)
            await exchange.save_late()

    async def _rotate_if_due(self, session: Session) -> None:
        stored = session._stored
        if stored is None:
            return
        age = self._sessions._lifetime.clock() - (stored.record.rotated or stored.record.created)
        if age >= self._rotate_after:
            await self._sessions.rotate(session, grace=_GRACE_SECONDS)

    def _set_cookie(self, session: Session) -> bytes:
        """Return the header that gives the browser the id of a session, or takes it away."""
        stored = session._stored
        if stored is None:
            return self._name + f"=; Max-Age=0{self._attributes}".encode("ascii")
        length = self._sessions._lifetime.length(stored.record)
        age = "" if length is None else f"; Max-Age={math.ceil(length)}"
        return self._name + f"={stored.id}{age}{self._attributes}".encode("ascii")


class _Exchange:
    """One request on its way through a `SessionMiddleware`."""

    def __init__(
        self,
        middleware: SessionMiddleware,
        session: Session,
        id: str | None,  # noqa: A002  # it is what the thing is called
        send: Send,
        *,
        saves: bool,
    ) -> None:
        self._middleware, self._session, self._send = middleware, session, send
        self._loaded = None if session._stored is None else id
        self._saves = saves
        self._begun = self._refused = False

    async def send_response(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            status = message["status"]
            if status >= _FAILED:
                self._saves = False
            if not await self._save(rotates=True):
                return
            self._begun = True
            message = {**message, "headers": self._with_headers(list(message.get("headers", ())))}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            await self.save_late()
        await self._send(message)

    async def send_websocket(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            await self._save(rotates=False)
            self._begun = True
            message = {**message, "headers": self._with_headers(list(message.get("headers", ())))}
        elif message["type"] == "websocket.close":
            await self.save_late()
        await self._send(message)

    def receiving(self, receive: Receive) -> Receive:
        async def receive_and_save() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                await self.save_late()
            return message

        return receive_and_save

    async def _save(self, *, rotates: bool) -> bool:
        """Save before the answer begins, and return whether it may; if not, another answer has been sent."""
        session = self._session
        if not self._saves:
            return True
        try:
            await self._middleware._sessions.save(session)
            if rotates:
                await self._middleware._rotate_if_due(session)
        except SessionGoneError as error:
            changed = session._is_changed() or session._rotating
            session._drop()
            self._saves = False
            if not (rotates and changed):
                return True
            logger.info("a request was refused: %s", error)
            self._refused = True
            await _answer(self._send, 400, _ENDED, self._with_headers([]))
            return False
        except StoreError as error:
            self._saves = False
            logger.warning("a session could not be saved: %s", error)
            if not (rotates and self._middleware._refuses):
                return True
            self._refused = True
            await _answer(self._send, 503, _DOWN)
            return False
        return True

    async def save_late(self) -> None:
        """Save what was changed since the answer began, when no cookie can be set any more."""
        session = self._session
        if not (self._begun and self._saves):
            return
        if _needs_cookie(self._middleware._sessions, session):
            logger.warning("a session was changed so that it needs a new id after the response had begun: not saved")
            return
        try:
            await self._middleware._sessions.save(session)
        except (StoreError, SessionGoneError) as error:
            logger.warning("a session could not be saved at the end of a response: %s", error)

    def _with_headers(self, headers: Headers) -> Headers:
        """Add the cookie where it is new or its age is, and what keeps caches from mixing up visitors."""
        session = self._session
        stored = session._stored
        changed = session.id != self._loaded or (stored is not None and stored.renewed)
        if not self._saves and self._loaded is None:
            changed = False
        if changed:
            headers.append((b"set-cookie", self._middleware._set_cookie(session)))
        if changed or session.accessed:
            _vary_by_cookie(headers)
            if changed or not any(name.lower() == b"cache-control" for name, _ in headers):
                headers = [(name, value) for name, value in headers if name.lower() != b"cache-control"]
                headers.append((b"cache-control", b"no-store"))
        return headers


def _needs_cookie(sessions: Sessions, session: Session) -> bool:
    """Return whether a session can only be saved under a new id."""
    stored = session._stored
    if session._ending or not dict.__len__(session):
        return False
    return stored is None or session._rotating or sessions._user_of(session) != stored.record.user


def _vary_by_cookie(headers: Headers) -> None:
    for position, (name, value) in enumerate(headers):
        if name.lower() == b"vary":
            parts = [part.strip().lower() for part in value.split(b",")]
            if b"*" not in parts and b"cookie" not in parts:
                headers[position] = (name, value + b", Cookie")
            return
    headers.append((b"vary", b"Cookie"))


def _id_of(scope: Scope, name: bytes) -> str | None:
    """Return the id in the cookie of a request; None if it is not formed as one, or two differ."""
    found: bytes | None = None
    for header, value in scope["headers"]:
        if header == b"cookie" and name in value:
            for part in value.split(b";"):
                given, _, text = part.strip().partition(b"=")
                if given == name:
                    if found is not None and found != text:
                        logger.warning("a request has two different cookies of sessions: neither is used")
                        return None
                    found = text
    if found is None or not found.isascii():
        return None
    text = found.decode("ascii")
    return text if is_id(text) else None


async def _refuse(kind: str, receive: Receive, send: Send) -> None:
    """Answer while the store is down."""
    if kind == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": _TRY_LATER})
        return
    await _answer(send, 503, _DOWN)


async def _answer(send: Send, status: int, text: bytes, headers: Headers | None = None) -> None:
    about = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
    more = headers or [(b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*about, *more]})
    await send({"type": "http.response.body", "body": text})


def _check_cookie(cookie: object, *, secure: bool, same_site: str) -> None:
    if not isinstance(cookie, str) or not _NAME.fullmatch(cookie):
        raise ConfigurationError("cookie must be a name of letters, digits and any of !#$%&'*+.^_`|~-")
    if not secure and cookie.lower().startswith(("__host-", "__secure-")):
        raise ConfigurationError("browsers refuse a cookie of this name without secure; give cookie= another name")
    if not secure and same_site == "none":
        raise ConfigurationError('browsers refuse a cookie with same_site="none" without secure')
