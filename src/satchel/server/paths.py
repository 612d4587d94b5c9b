"""Paths: what a request is about, from the path as it was sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from ..errors import InvalidKeyError
from ..names import check_name
from .answers import RequestRefusedError, invalid

_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_FIXED: Final = {
    b"/": "inspector",
    b"/v1": "service",
    b"/v1/": "service",
    b"/v1/c": "collections",
    b"/v1/batch": "batch",
    b"/v1/ping": "ping",
    b"/v1/cull": "cull",
    b"/v1/openapi.json": "openapi",
    b"/metrics": "metrics",
    b"/health": "health",
}
_INSPECTOR: Final = frozenset({b"/inspector.css", b"/inspector.js"})
_ENTRIES: Final = b"/v1/c/"
_CHANGES: Final = b"/v1/watch/"
_BLOBS: Final = b"/v1/b/"


@dataclass(frozen=True, slots=True)
class Resource:
    """What a path names.

    Attributes:
        kind: The resource.
        collection: The collection, if it has one.
        key: The key, if it has one.
        file: The file of the inspector, if it is not the page itself.
    """

    kind: str
    collection: str = ""
    key: str = ""
    file: str = ""


def resource_of(scope: Any) -> Resource:
    """Return what a request is about.

    Raises:
        InvalidKeyError: A name is not percent-encoded UTF-8.
        RequestRefusedError: There is no such path.
    """
    path = _own_path(scope)
    if path.startswith(_ENTRIES):
        collection, slash, key = path[len(_ENTRIES) :].partition(b"/")
        kind = "entry" if slash else "collection"
        return Resource(kind, _decoded(collection, "collection"), _decoded(key, "key"))
    if path.startswith(_BLOBS):
        name, _, key = path[len(_BLOBS) :].partition(b"/")
        return Resource("blob", _decoded(name, "the name of blobs"), check_name(_decoded(key, "key")))
    if path.startswith(_CHANGES) and b"/" not in path[len(_CHANGES) :]:
        return Resource("changes", _decoded(path[len(_CHANGES) :], "collection"))
    if path in _INSPECTOR:
        return Resource("inspector", file=path[1:].decode())
    if path in _FIXED:
        return Resource(_FIXED[path])
    raise RequestRefusedError(
        404, "not_found", "there is no such path; GET /v1/openapi.json lists those that there are"
    )


def query_of(scope: Any, *known: str) -> dict[str, str]:
    """Return the parameters of a query, each of which must be known and be there once."""
    text = scope["query_string"]
    if not text:
        return {}
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise invalid("the query is not percent-encoded UTF-8, or has too many parameters") from None
    found = dict(pairs)
    if len(found) < len(pairs) or not found.keys() <= set(known):
        raise invalid(f"parameters of this query may be, once each: {', '.join(known) or 'none'}")
    return found


def _own_path(scope: Any) -> bytes:
    """Return the path below that where the app is mounted, as it was sent."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    root: str = scope.get("root_path", "")
    if not root:
        return path
    pieces = path.split(b"/")
    depth = root.rstrip("/").count("/") + 1
    if unquote(b"/".join(pieces[:depth]).decode("ascii", "replace")) != root.rstrip("/"):
        raise RequestRefusedError(404, "not_found", "the path at which the server is mounted must be sent unescaped")
    return b"/" + b"/".join(pieces[depth:])


def _decoded(name: bytes, what: str) -> str:
    if b"%" in name:
        if _BROKEN.search(name):
            raise InvalidKeyError(f"{what}: a % must be followed by two hexadecimal digits; write % itself as %25")
        name = unquote_to_bytes(name)
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise InvalidKeyError(f"{what} is not UTF-8; encode it so before percent-encoding it") from None
