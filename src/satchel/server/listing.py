"""Collections and their keys: pages, streams, counts, and removing all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, cast

import msgspec
from starlette.responses import Response, StreamingResponse

from .._batches import in_order
from .._threads import Yielder
from ..names import check_after, check_name, check_prefix
from ..protocol import SupportsEverything
from .answers import error_fields, invalid, json_answer
from .entries import absent
from .exchange import Exchange
from .fields import refuse_conditions

LINES: Final = "application/x-ndjson"
MAX_PAGE: Final = 10_000
_PAGE: Final = 1_000
_AT_ONCE: Final = 500
"""Number of names sent at once in a stream."""
_encode = msgspec.json.Encoder().encode


async def keys(store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `GET` of a collection."""
    query = exchange.query("prefix", "after", "limit", "count")
    collection, prefix = check_name(exchange.resource.collection, "collection"), check_prefix(query.get("prefix", ""))
    if "count" in query:
        if query["count"] != "1" or not query.keys() <= {"count", "prefix"}:
            raise invalid("count must be 1, and goes with prefix alone")
        return json_answer({"count": await store.count(collection, prefix=prefix)})
    after = check_after(query.get("after"))
    limit = _limit(query.get("limit"))
    if _wants_lines(exchange):
        return await _stream(store.keys(collection, prefix=prefix, after=after, limit=limit))
    most = _page(limit)
    listing = store.keys(collection, prefix=prefix, after=after or "", limit=most + 1)
    async with aclosing(cast("AsyncGenerator[str]", listing)):
        names = [name async for name in listing]
    return _page_answer("keys", names, most)


async def collections(store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `GET` of the collections."""
    query = exchange.query("prefix", "after", "limit")
    prefix, after = check_prefix(query.get("prefix", "")), check_after(query.get("after"))
    limit = _limit(query.get("limit"))

    def listing() -> AsyncIterator[str]:
        return _chosen(store.collections(), (exchange.access.prefix, prefix))

    if _wants_lines(exchange):
        return await _stream(_first(listing(), limit) if after is None else in_order(listing, after, limit))
    most = _page(limit)
    names = [name async for name in in_order(listing, after or "", most + 1)]
    return _page_answer("collections", names, most)


async def clear(store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `DELETE` of a collection."""
    await _check_all(exchange)
    if not await store.destroy_collection(exchange.resource.collection):
        raise absent()
    return Response(None, 204)


async def clear_store(store: SupportsEverything, exchange: Exchange) -> Response:
    """Answer `DELETE` of the collections."""
    exchange.access.check_everything()
    await _check_all(exchange)
    if not await store.destroy():
        raise absent()
    return Response(None, 204)


async def _check_all(exchange: Exchange) -> None:
    refuse_conditions(exchange)
    if exchange.query("all").get("all") != "1":
        raise invalid("this removes every entry; if that is meant, add ?all=1")
    await exchange.no_body()


def _wants_lines(exchange: Exchange) -> bool:
    return LINES in exchange.headers.get("accept", "")


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 15 or int(text) < 1:
        raise invalid("limit must be a whole number of at least 1")
    return int(text)


def _page(limit: int | None) -> int:
    return _PAGE if limit is None else min(limit, MAX_PAGE)


def _page_answer(what: str, names: list[str], most: int) -> Response:
    return json_answer({what: names[:most], "next": names[most - 1] if len(names) > most else None})


async def _stream(names: AsyncIterator[str]) -> Response:
    """Return a stream of names. What fails before the first one is raised, and gets a status of its own."""
    first = await anext(names, None)
    return StreamingResponse(_lines(first, names), media_type=LINES)


async def _lines(first: str | None, names: AsyncIterator[str]) -> AsyncIterator[bytes]:
    count = 0
    lines: list[bytes] = []
    turns = Yielder()
    try:
        async with aclosing(cast("AsyncGenerator[str]", names)):
            if first is not None:
                count = 1
                lines.append(_encode(first))
                async for name in names:
                    count += 1
                    lines.append(_encode(name))
                    if len(lines) == _AT_ONCE:
                        yield b"\n".join(lines) + b"\n"
                        lines = []
                        await turns.after_item()
        end: dict[str, object] = {"end": count}
    except Exception as error:  # the status has been sent: the last line says what happened
        end = error_fields(error)[1]
    yield b"\n".join([*lines, _encode(end)]) + b"\n"


async def _chosen(names: AsyncIterator[str], prefixes: tuple[str, ...]) -> AsyncIterator[str]:
    async with aclosing(cast("AsyncGenerator[str]", names)):
        async for name in names:
            if all(name.startswith(prefix) for prefix in prefixes):
                yield name


async def _first(names: AsyncIterator[str], limit: int | None) -> AsyncIterator[str]:
    count = 0
    async with aclosing(cast("AsyncGenerator[str]", names)):
        async for name in names:
            yield name
            count += 1
            if count == limit:
                return
