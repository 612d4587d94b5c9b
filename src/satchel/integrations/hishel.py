"""hishel's cache of HTTP responses, for httpx and ASGI applications, on any store with conditional writes."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec

from .._checks import check_int
from ..capability import Capability
from ..codec import UNDECODABLE
from ..errors import IntegrityError, SatchelError, missing_extra
from ..names import check_name
from ..protocol import AsyncKeyValue, require

try:
    from hishel import AsyncBaseStorage, Entry, Headers, Request, Response
except ModuleNotFoundError as error:
    raise missing_extra("SatchelCacheStorage", "hishel", error) from error

_logger = logging.getLogger("satchel")
_FORMAT = 1
_BUCKET = 16
"""So many hexadecimal digits of a response's identity are those of its request's hash: they name its index."""


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    """Response with its request, as an entry holds it."""

    format: int
    key: str
    method: str
    url: str
    request_headers: dict[str, list[str]]
    status: int
    response_headers: dict[str, list[str]]
    deadline: float | None
    tti: float | None
    body: bytes


class SatchelCacheStorage(AsyncBaseStorage):
    """Storage of hishel's over a satchel store.

    A response with its body is one entry of `{collection}/responses`, and the identities of those that one request may
    get are one of `{collection}`. A response is found once its whole body is there. A store that fails is no failure of
    a request: it goes to the server, and the failure to the log.

    Args:
        store: A store with conditional writes.
        collection: The collection.
        default_ttl: Seconds that a response is kept for; None keeps it until it is removed.
        default_tti: Seconds that one is kept for after its last use; None does not ask when that was.
        max_stream_size: The largest body that is kept, in bytes; it is held in memory meanwhile.

    Raises:
        ConfigurationError: `store` is no store, or `max_stream_size` no int of at least 1.
        InvalidKeyError: `collection` is no name of a collection.
        UnsupportedOperationError: The store has no conditional writes.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        *,
        collection: str = "http-cache",
        default_ttl: float | None = 3600,
        default_tti: float | None = None,
        max_stream_size: int = 10 * 1024 * 1024,
    ) -> None:
        check_int("max_stream_size", max_stream_size, 1)
        super().__init__(default_ttl=default_ttl, default_tti=default_tti, max_stream_size=max_stream_size)
        self._store = require(store, Capability.CONDITIONAL)
        self._index = check_name(collection, "collection")
        self._responses = check_name(f"{collection}/responses", "collection")
        self._limit = min(max_stream_size, store.max_value_bytes or max_stream_size)

    async def create_entry(
        self, request: Request, response: Response, key: str, *, ttl: float | None = None, tti: float | None = None
    ) -> Entry:
        """Return an entry whose stream keeps the response once all of it was read."""
        deadline, tti = self._limits(ttl, tti, time.time())
        identity = UUID(hex=_bucket(key) + secrets.token_hex(16 - _BUCKET // 2))
        stored = _Stored(
            format=_FORMAT,
            key=key,
            method=request.method,
            url=request.url,
            request_headers=dict(request.headers._headers),
            status=response.status_code,
            response_headers=dict(response.headers._headers),
            deadline=deadline,
            tti=tti,
            body=b"",
        )
        stream = self._kept(response.stream, identity, stored)
        return Entry(id=identity, request=request, response=replace(response, stream=stream))

    async def get_entries(self, key: str) -> list[Entry]:
        """Return the entries of a request; none where the store fails."""
        try:
            return await self._entries(key)
        except SatchelError:
            _logger.warning("hishel's cache could not be read, and the request goes to the server", exc_info=True)
            return []

    async def update_headers(self, id: UUID, headers: Headers) -> None:  # noqa: A002  # hishel's name
        """Replace the headers of a response, if it is still there."""
        try:
            entry = await self._store.get_entry(self._responses, id.hex)
            if entry is not None:
                stored = msgspec.structs.replace(_decode(entry.value), response_headers=dict(headers._headers))
                wire = msgspec.msgpack.encode(stored)
                await self._store.compare_and_put(self._responses, id.hex, wire, version=entry.version, ttl=entry.ttl)
        except SatchelError:
            _logger.warning("headers of a response in hishel's cache could not be renewed", exc_info=True)

    async def remove_entry(self, id: UUID) -> None:  # noqa: A002  # hishel's name
        """Remove a response, if it is there."""
        try:
            await self._store.delete(self._responses, id.hex)
        except SatchelError:
            _logger.warning("a response could not be removed from hishel's cache", exc_info=True)

    async def _kept(self, stream: Any, identity: UUID, stored: _Stored) -> AsyncIterator[bytes]:
        parts: list[bytes] | None = []
        size = 0
        async for chunk in stream if stream is not None else _nothing():
            size += len(chunk)
            if parts is not None and size <= self._limit:
                parts.append(chunk)
            else:
                parts = None
            yield chunk
        if parts is not None:
            try:
                await self._publish(identity, msgspec.structs.replace(stored, body=b"".join(parts)))
            except SatchelError:
                _logger.warning("a response could not be put into hishel's cache", exc_info=True)

    async def _publish(self, identity: UUID, stored: _Stored) -> None:
        ttl = self._left(stored)
        if ttl is not None and ttl <= 0:
            return
        await self._store.put(self._responses, identity.hex, msgspec.msgpack.encode(stored), ttl=ttl)
        name = identity.hex[:_BUCKET]
        while True:
            entry = await self._store.get_entry(self._index, name)
            if entry is None:
                record = {"format": _FORMAT, "ids": [identity.hex]}
                done = await self._store.put_if_absent(self._index, name, record, ttl=ttl)
            else:
                # Those that are gone leave the index with the first one that comes after.
                there = await self._store.get_many(self._responses, entry.value["ids"])
                record = {"format": _FORMAT, "ids": [*there, identity.hex]}
                longest = None if ttl is None or entry.ttl is None else max(ttl, entry.ttl)
                done = await self._store.compare_and_put(self._index, name, record, version=entry.version, ttl=longest)
            if done is not None:
                return

    async def _entries(self, key: str) -> list[Entry]:
        index = await self._store.get_entry(self._index, _bucket(key))
        if index is None:
            return []
        found = await self._store.get_entries(self._responses, index.value["ids"])
        entries: list[Entry] = []
        for name, entry in found.items():
            stored = _decode(entry.value)
            if stored.key == key:
                entries.append(_entry(name, stored))
                if stored.tti is not None and entry.ttl is not None and entry.ttl < stored.tti / 2:
                    left = self._left(stored)
                    await self._store.touch(self._responses, name, ttl=left)
                    if left is not None and index.ttl is not None and index.ttl < left:
                        await self._store.touch(self._index, _bucket(key), ttl=left)
        return entries

    def _left(self, stored: _Stored) -> float | None:
        """Return the seconds that a response which is used now is kept for."""
        now = time.time()
        expires = self._expires_at(stored.deadline, stored.tti, now)
        return None if expires is None else expires - now


def _bucket(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_BUCKET]


def _decode(wire: Any) -> _Stored:
    try:
        stored: _Stored = msgspec.msgpack.decode(wire, type=_Stored)
    except (*UNDECODABLE, TypeError):
        raise IntegrityError("an entry among hishel's responses is none that this version of satchel wrote") from None
    return stored


def _entry(name: str, stored: _Stored) -> Entry:
    return Entry(
        id=UUID(hex=name),
        request=Request(stored.method, stored.url, Headers(stored.request_headers)),
        response=Response(stored.status, Headers(stored.response_headers), _once(stored.body)),
    )


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in tuple[bytes, ...]():
        yield chunk
