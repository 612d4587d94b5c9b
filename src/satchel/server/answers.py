"""Answers: JSON, values, and errors as `docs/rest.md` lists them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from .._rest import ERRORS
from ..errors import CircuitOpenError, SatchelError, StoreError

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"

_log = logging.getLogger("satchel.server")
_encode = msgspec.json.Encoder().encode
_CODES: Final = {kind: (code, status) for code, (status, kind) in ERRORS.items()}


class RequestRefusedError(Exception):
    """Signal that a request is refused, with the answer to it.

    Args:
        status: The HTTP status.
        code: The code, as `docs/rest.md` lists it.
        message: What was wrong, and what to do.
        headers: Further headers.
        **more: Further fields of the body.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})
        self.more = more

    def fields(self) -> dict[str, object]:
        """Return the JSON body."""
        retryable = self.status in (408, 503)
        return {"error": self.code, "message": str(self), "retryable": retryable, **self.more}


def invalid(message: str) -> RequestRefusedError:
    """Return the refusal of a malformed request."""
    return RequestRefusedError(400, "invalid_request", message)


def overloaded(what: str) -> RequestRefusedError:
    """Return the refusal of a request that would exceed a limit of the server."""
    headers = {"Retry-After": "1"}
    return RequestRefusedError(503, "overloaded", f"{what}; nothing was carried out, try again", headers, retry_after=1)


def json_answer(content: object, status: int = 200) -> Response:
    """Return an answer with a JSON body."""
    return Response(_encode(content), status, media_type=JSON)


def error_answer(error: Exception) -> Response:
    """Return the answer for anything that was raised while a request was carried out."""
    status, fields = error_fields(error)
    headers = {"Satchel-Error": str(fields["error"])}
    if isinstance(error, RequestRefusedError):
        headers |= error.headers
    return Response(_encode(fields), status, headers, media_type=JSON)


def error_fields(error: Exception) -> tuple[int, dict[str, object]]:
    """Return the status and the JSON body for an error."""
    if isinstance(error, RequestRefusedError):
        return error.status, error.fields()
    if isinstance(error, SatchelError):
        for kind in type(error).__mro__:
            if kind in _CODES:
                code, status = _CODES[kind]
                return status, {"error": code, "message": str(error), **_details(error)}
    # The message and the locals of a foreign error may hold a value: only where it came from is logged.
    places = "".join(traceback.format_tb(error.__traceback__))
    _log.error("a request failed with %s\n%s", type(error).__name__, places)
    message = "the server failed to carry out this request; its log says where"
    return 500, {"error": "internal", "message": message, "retryable": False}


def _details(error: SatchelError) -> dict[str, Any]:
    if not isinstance(error, StoreError):
        return {"retryable": False}
    details: dict[str, Any] = {"retryable": error.retryable}
    for name in ("operation", "collection", "key"):
        if about := getattr(error, name):
            details[name] = about
    if isinstance(error, CircuitOpenError):
        details["retry_after"] = error.retry_after
    return details
