"""The session of a request, as a dependency of FastAPI."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from ...errors import ConfigurationError
from ...sessions import Session


async def get_session(connection: HTTPConnection) -> Session:
    """Return the session of a request or websocket. `CurrentSession` is the annotation that injects it.

    Raises:
        ConfigurationError: The application has no `SessionMiddleware`, or it skips this path.
    """
    session = connection.scope.get("session")
    if not isinstance(session, Session):
        raise ConfigurationError(
            "this request has no session: give the application app.add_middleware(SessionMiddleware, sessions=...), "
            "and let it not skip this path"
        )
    session.mark_accessed()
    return session


CurrentSession = Annotated[Session, Depends(get_session)]
"""Annotation for a parameter of an endpoint that receives the session of its request."""
