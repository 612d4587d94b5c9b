"""One entry: `GET`, `HEAD`, `PUT`, `PATCH` and `DELETE`."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from .._rest import quote_version
from .._threads import offload
from ..codec import LARGE, JsonCodec
from ..entry import Entry
from ..errors import SerializationError
from ..protocol import SupportsEverything
from .answers import BYTES, JSON, RequestRefusedError, invalid
from .exchange import Exchange
from .fields import condition_of, is_known, range_of, refuse_conditions, timestamp, ttl_of

_codec: Final = JsonCodec()


async def read(store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `GET` and `HEAD`."""
    exchange.query()
    if "if-match" in exchange.headers:
        raise invalid("reading takes no If-Match; compare the ETag of the answer")
    entry = await store.get_entry(exchange.resource.collection, exchange.resource.key)
    if entry is None:
        raise absent()
    headers = _headers(entry)
    if is_known(exchange, entry.version):
        return Response(None, 304, headers)
    kind, body = await encoded(entry.value)
    part = range_of(exchange, len(body)) if exchange.method == "GET" else None
    if part is None:
        return Response(body, 200, headers, media_type=kind)
    headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{len(body)}"
    return Response(body[part[0] : part[1]], 206, headers, media_type=kind)


async def write(store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `PUT`."""
    exchange.query()
    condition = condition_of(exchange, absent=True)
    _, ttl = ttl_of(exchange)
    kind = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, BYTES):
        raise RequestRefusedError(
            415, "unsupported_media_type", f"send Content-Type: {JSON} or {BYTES}; the latter is bytes"
        )
    body = await exchange.body()
    value = body if kind == BYTES else await decoded(body)
    collection, key = exchange.resource.collection, exchange.resource.key
    if condition is None:
        await store.put(collection, key, value, ttl=ttl)
        return Response(None, 204)
    if condition.version is None:
        version = await store.put_if_absent(collection, key, value, ttl=ttl)
    else:
        version = await store.compare_and_put(collection, key, value, version=condition.version, ttl=ttl)
    if version is None:
        raise _precondition_failed()
    return Response(None, 201 if condition.version is None else 204, {"ETag": quote_version(version)})


async def touch(store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `PATCH`."""
    exchange.query()
    refuse_conditions(exchange)
    given, ttl = ttl_of(exchange)
    if not given:
        raise invalid("PATCH gives an entry a new deadline: send Satchel-TTL, or Satchel-Expires-At")
    await exchange.no_body()
    if not await store.touch(exchange.resource.collection, exchange.resource.key, ttl=ttl):
        raise absent()
    return Response(None, 204)


async def delete(store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `DELETE`."""
    exchange.query()
    condition = condition_of(exchange, absent=False)
    await exchange.no_body()
    collection, key = exchange.resource.collection, exchange.resource.key
    if condition is None or condition.version is None:
        if not await store.delete(collection, key):
            raise absent()
    elif not await store.compare_and_delete(collection, key, version=condition.version):
        raise _precondition_failed()
    return Response(None, 204)


def absent() -> RequestRefusedError:
    """Return the answer that there is nothing of this name."""
    return RequestRefusedError(404, "absent", "there is no such entry or collection; GET /v1/c lists the collections")


async def decoded(body: bytes) -> Any:
    """Return the value of a JSON body.

    Raises:
        SerializationError: It is not JSON that a store keeps.
    """
    try:
        return _codec.decode(body) if len(body) < LARGE else await offload(_codec.decode, body)
    except RecursionError:
        raise SerializationError("the JSON is nested too deeply; flatten it") from None
    except (ValueError, msgspec.MsgspecError) as error:  # in some releases neither is derived from the other
        raise SerializationError(f"the body is not JSON: {error}") from None


async def encoded(value: Any) -> tuple[str, bytes]:
    """Return the content type and the body of a value.

    Raises:
        SerializationError: It is neither bytes nor JSON.
    """
    if type(value) is bytes:
        return BYTES, value
    body = _codec.encode_if_small(value)
    return JSON, body if body is not None else await offload(_codec.encode, value)


def _headers(entry: Entry) -> dict[str, str]:
    headers = {
        "ETag": quote_version(entry.version),
        "Satchel-Updated-At": timestamp(entry.updated_at),
        "Satchel-Size": str(entry.size),
        "Accept-Ranges": "bytes",
    }
    if entry.expires_at is not None:
        headers["Satchel-Expires-At"] = timestamp(entry.expires_at)
        headers["Satchel-TTL"] = format(entry.ttl or 0.0, ".6f")
    return headers


def _precondition_failed() -> RequestRefusedError:
    return RequestRefusedError(
        412, "precondition_failed", "the condition does not hold; read the entry again and decide anew"
    )
