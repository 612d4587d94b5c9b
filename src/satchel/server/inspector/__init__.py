"""The inspector: a page that shows what a store has, over the REST interface. Its files are beside this module."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from starlette.responses import Response

from ...protocol import SupportsEverything
from ..exchange import Exchange

_KINDS: Final = {
    "index.html": "text/html; charset=utf-8",
    "inspector.css": "text/css; charset=utf-8",
    "inspector.js": "text/javascript; charset=utf-8",
}
_FILES: Final = {name: files(__name__).joinpath(name).read_bytes() for name in _KINDS}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


async def page(_store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `GET` of the page, or of the file that is named behind it. It holds nothing of the store."""
    exchange.query()
    name = exchange.resource.file or "index.html"
    return Response(_FILES[name], 200, _HEADERS, media_type=_KINDS[name])
