"""Blobs under signed addresses: one opens one blob for a while, without a token."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .._rest import quote_version
from ..errors import BlobMissingError
from .answers import BYTES, RequestRefusedError
from .entries import absent
from .exchange import Exchange, client_is_gone
from .fields import is_known, range_of, timestamp

if TYPE_CHECKING:  # they need an extra of their own
    from ..blobs import BlobInfo, BlobReader, Blobs, UrlSigner

_PIECE: Final = 256 * 1024
_TEXT: Final = re.compile(r"[\x20-\x7e]+")
_SAFE: Final = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
"""What a browser may do with a blob: it has the server's own name, so a page in it must not run scripts."""


@dataclass(frozen=True)
class SignedBlobs:
    """Set of blobs that a server gives to clients with an address that was signed for it.

    Args:
        blobs: The blobs. For their `url_for`, they have `base_url=` and the same signer.
        signer: Checks the addresses.
    """

    blobs: Blobs
    signer: UrlSigner


async def read(shared: Mapping[str, SignedBlobs], exchange: Exchange) -> Response:
    """Answer `GET` and `HEAD` of a blob.

    Raises:
        RequestRefusedError: The address is not signed for this, or there is no such blob.
    """
    found = shared.get(exchange.resource.collection)
    key = exchange.resource.key
    if found is None:
        raise RequestRefusedError(404, "not_found", "there are no blobs of this name on this server")
    exchange.query("expires", "method", "signature")
    if not found.signer.allows(key, exchange.scope["query_string"].decode(), method=exchange.method):
        raise RequestRefusedError(403, "forbidden", "this address is not signed for this, or no longer; get a new one")
    info = await found.blobs.info(key)
    if info is None:
        raise absent()
    headers = _headers(info)
    if is_known(exchange, info.version):
        return Response(None, 304, headers)
    if exchange.method == "HEAD":
        return Response(None, 200, {**headers, "Content-Length": str(info.size)})
    span = range_of(exchange, info.size)
    return BlobStream(found.blobs, info, span, headers)


class BlobStream(StreamingResponse):
    """Answer with the content of a blob, in pieces, all of one version.

    Args:
        blobs: The blobs.
        info: The blob.
        span: The first byte and the one after the last; None for all.
        headers: The headers.
    """

    def __init__(self, blobs: Blobs, info: BlobInfo, span: tuple[int, int] | None, headers: Mapping[str, str]) -> None:
        self._blobs, self._info = blobs, info
        self._start, self._end = span or (0, info.size)
        length = {"Content-Length": str(self._end - self._start)}
        if span is not None:
            length["Content-Range"] = f"bytes {self._start}-{self._end - 1}/{info.size}"
        super().__init__((), 200 if span is None else 206, {**headers, **length})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the content, while the client is there."""
        gone = asyncio.ensure_future(client_is_gone(receive))
        try:
            async with self._blobs.open(self._info.key) as reader:
                if reader.info.version != self._info.version:
                    raise RequestRefusedError(503, "store_unavailable", "the blob was replaced just now; ask again")
                await reader.seek(self._start)
                await self._pass_on(reader, gone, send)
        except BlobMissingError:
            raise absent() from None
        finally:
            gone.cancel()

    async def _pass_on(self, reader: BlobReader, gone: asyncio.Future[None], send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        left = self._end - self._start
        while left and not gone.done():
            piece = await reader.read(min(left, _PIECE))
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _headers(info: BlobInfo) -> dict[str, str]:
    kind = info.content_type or ""
    headers = {
        "Content-Type": kind if _TEXT.fullmatch(kind) else BYTES,
        "ETag": quote_version(info.version),
        "Satchel-Updated-At": timestamp(info.updated_at),
        "Accept-Ranges": "bytes",
        "Content-Security-Policy": _SAFE,
    }
    if info.expires_at is not None:
        headers["Satchel-Expires-At"] = timestamp(info.expires_at)
    return headers
