"""Blobs in requests and answers: uploads stored, downloads streamed, in ranges and only if changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from fastapi import HTTPException, Response
from fastapi.requests import Request
from fastapi.responses import StreamingResponse

from ...blobs import BlobInfo, Blobs
from ...blobs.data import BlobData
from ...errors import BlobChangedError, BlobExistsError, InvalidKeyError, ValueTooLargeError

_PIECE = 256 * 1024
_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)


async def save_upload(blobs: Blobs, key: str | None, upload: BlobData, **options: Any) -> BlobInfo:
    """Store what a client sends, in constant memory, and answer for what is wrong with it.

    The media type that the client states is not taken over: the end of the key says it, or `content_type=`.

    Args:
        blobs: Where to.
        key: The key; None has one made. One with a part that a client chose should begin with a folder of your own.
        upload: An `UploadFile`, or `request.stream()`.
        **options: Options of `Blobs.put`, such as `if_absent=True`.

    Raises:
        HTTPException: 413 for more than the `max_size` of the blobs, 409 for a blob that exists, 412 for one that was
            changed, 422 for an illegal key.
    """
    try:
        return await blobs.put(key, upload, **options)
    except ValueTooLargeError as error:
        raise HTTPException(413, "The upload is too large.") from error
    except BlobExistsError as error:
        raise HTTPException(409, "There is a blob under this key.") from error
    except BlobChangedError as error:
        raise HTTPException(412, "The blob was changed.") from error
    except InvalidKeyError as error:
        raise HTTPException(422, "The key is not a legal one.") from error


async def blob_response(
    request: Request,
    blobs: Blobs,
    key: str,
    *,
    filename: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer that streams a blob to a client, in constant memory.

    It has an `ETag`, and is 304 for a client that has this version; it is 206 for one range of bytes, and 416 for one
    past the end; for HEAD it has no body. Browsers are told not to guess another media type. What people upload may be
    a page with scripts in it: give a `filename`, which makes browsers save it, or serve it from a domain of its own.

    Args:
        request: The request.
        blobs: Where the blob is.
        key: The key.
        filename: Name under which a browser saves it; without one it may show it.
        headers: More headers, such as `Cache-Control`.

    Raises:
        HTTPException: 404 if there is no blob.
    """
    try:
        info = await blobs.info(key)
    except InvalidKeyError:
        info = None
    if info is None:
        raise HTTPException(404, "There is no such blob.")
    known = {**_headers(info, filename), **(headers or {})}
    if _has_it(request, known["ETag"]):
        return Response(status_code=304, headers={name: text for name, text in known.items() if name != "Content-Type"})
    status, start, end = _wanted(request, info.size, known)
    if status == 416:
        return Response(status_code=status, headers={"Content-Range": f"bytes */{info.size}", "Accept-Ranges": "bytes"})
    if status == 206:
        known["Content-Range"] = f"bytes {start}-{end - 1}/{info.size}"
    known["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=known)
    return StreamingResponse(_content(blobs, info, start, end), status, known)


def _headers(info: BlobInfo, filename: str | None) -> dict[str, str]:
    headers = {
        "ETag": f'"{hashlib.sha256(info.version.encode()).hexdigest()[:32]}"',  # a version may have any characters
        "Last-Modified": format_datetime(info.updated_at, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Type": info.content_type or "application/octet-stream",
        "X-Content-Type-Options": "nosniff",
    }
    if filename is not None:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
    return headers


def _has_it(request: Request, e_tag: str) -> bool:
    """Return whether the client has this version."""
    given = [part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")]
    return request.method in ("GET", "HEAD") and ("*" in given or e_tag in given)


def _wanted(request: Request, size: int, known: Mapping[str, str]) -> tuple[int, int, int]:
    """Return the status of the answer, and where the wanted part begins and ends.

    What is not one range of bytes is for servers to leave aside, as is a range of another version.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    condition = request.headers.get("If-Range")
    first, last = match.groups() if match is not None else ("", "")
    is_reversed = bool(first and last) and int(last) < int(first)
    if not (first or last) or is_reversed or condition not in (None, known["ETag"], known["Last-Modified"]):
        return 200, 0, size
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    return (206, start, end) if start < end else (416, 0, 0)


async def _content(blobs: Blobs, info: BlobInfo, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """Iterate over a part of the version that the headers describe; another one breaks the answer off."""
    async with blobs.open(info.key) as file:
        if file.info.version != info.version:
            raise BlobChangedError(f"the blob {info.key!r} was replaced while it was sent")
        if start:
            await file.seek(start)
        left = end - start
        while left and (piece := await file.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece
