"""Lets Elasticsearch's client talk to a compatible server: `python elasticsearch_proxy.py LISTEN_PORT TARGET_PORT`.

The client speaks to nothing that does not say in a header that it is Elasticsearch, and it names content types in a
form of its vendor's, which other servers do not know. The emulator has two things under other names than Elasticsearch:
points in time, and the field type `flattened`. All that is put right here, on loopback; the rest passes as it is.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import signal
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from typing import Any

HOST = "127.0.0.1"
LONGEST_HEAD = 256 * 1024
PIECE = 256 * 1024

_VENDOR = re.compile(rb"application/vnd\.elasticsearch\+(json|x-ndjson)\s*;\s*compatible-with=(\d+)", re.IGNORECASE)
_PLAIN = re.compile(rb"(\r\ncontent-type:\s*)application/(json|x-ndjson)[^\r]*", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_GZIP = re.compile(rb"\r\ncontent-encoding:\s*gzip", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:\s*close", re.IGNORECASE)
_OPEN_PIT = re.compile(rb"POST (/[^/? ]+)/_pit\?")
_CLOSE_PIT = re.compile(rb"DELETE /_pit ")
_CREATE_INDEX = re.compile(rb"PUT /[^_/? ][^/? ]* ")
_PRODUCT = b"X-Elastic-Product: Elasticsearch\r\n"
_LOST = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


def request_head(head: bytes) -> bytes:
    """Return the head of a request as the target understands it."""
    return _VENDOR.sub(rb"application/\1", head)


def renamed(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return a request in the emulator's words."""
    if _GZIP.search(head):
        head, body = _GZIP.sub(b"", head), gzip.decompress(body)
    if _CLOSE_PIT.match(head):
        head, body = _CLOSE_PIT.sub(b"DELETE /_search/point_in_time ", head), _edited(body, _pit_ids)
    elif _CREATE_INDEX.match(head):
        body = _edited(body, _flat_objects)
    else:
        head = _OPEN_PIT.sub(rb"POST \1/_search/point_in_time?", head)
    return _LENGTH.sub(b"\r\ncontent-length: %d" % len(body), head), body


def _edited(body: bytes, edit: Any) -> bytes:
    return json.dumps(edit(json.loads(body))).encode() if body else body


def _pit_ids(body: dict[str, Any]) -> dict[str, Any]:
    return {"pit_id": [body["id"]]}


def _flat_objects(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") == "flattened":
        return {"type": "flat_object"}
    return {name: _flat_objects(inner) for name, inner in part.items()}


def response_head(head: bytes, asked: bytes) -> bytes:
    """Return the head of a response as the client wants it."""
    version = _VENDOR.search(asked)
    if version is not None:
        form = rb"\1application/vnd.elasticsearch+\2;compatible-with=" + version[2]
        head = _PLAIN.sub(form, head)
    if _PRODUCT.lower() in head.lower():
        return head
    line, end, rest = head.partition(b"\r\n")
    return line + end + _PRODUCT + rest


async def pass_body(head: bytes, source: StreamReader, sink: StreamWriter) -> None:
    """Pass the body on that belongs to a head."""
    if _CHUNKED.search(head):
        size = -1
        while size:
            line = await source.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            sink.write(line)
            await pass_bytes(size + 2, source, sink)
    elif (length := _LENGTH.search(head)) is not None:
        await pass_bytes(int(length[1]), source, sink)


async def whole_body(head: bytes, source: StreamReader) -> bytes:
    """Return the body of a head with a length."""
    length = _LENGTH.search(head)
    return await source.readexactly(int(length[1])) if length else b""


async def pass_bytes(count: int, source: StreamReader, sink: StreamWriter) -> None:
    """Pass so many bytes on."""
    while count:
        piece = await source.readexactly(min(count, PIECE))
        sink.write(piece)
        await sink.drain()
        count -= len(piece)


async def exchange(client: tuple[StreamReader, StreamWriter], target: tuple[StreamReader, StreamWriter]) -> bool:
    """Pass one request and its response on; say whether another may follow."""
    asked = await client[0].readuntil(b"\r\n\r\n")
    if any(form.match(asked) for form in (_OPEN_PIT, _CLOSE_PIT, _CREATE_INDEX)):
        head, body = renamed(asked, await whole_body(asked, client[0]))
        target[1].write(request_head(head) + body)
    else:
        target[1].write(request_head(asked))
        await pass_body(asked, client[0], target[1])
    answered = await target[0].readuntil(b"\r\n\r\n")
    if _OPEN_PIT.match(asked):
        body = (await whole_body(answered, target[0])).replace(b'"pit_id"', b'"id"')
        answered = _LENGTH.sub(b"\r\ncontent-length: %d" % len(body), answered)
        client[1].write(response_head(answered, asked) + body)
    else:
        client[1].write(response_head(answered, asked))
        status = answered.split(None, 2)[1]
        if not asked.startswith(b"HEAD ") and status not in (b"204", b"304"):
            await pass_body(answered, target[0], client[1])
    await client[1].drain()
    return not (_CLOSE.search(asked) or _CLOSE.search(answered))


async def serve(reader: StreamReader, writer: StreamWriter, port: int) -> None:
    """Serve one connection of a client, over one of its own to the target."""
    ends = [writer]
    try:
        target = await asyncio.open_connection(HOST, port, limit=LONGEST_HEAD)
        ends.append(target[1])
        while await exchange((reader, writer), target):
            pass
    except _LOST:
        pass  # one end has gone: the other one learns it by losing its connection
    finally:
        for end in ends:
            end.close()


async def main(listen: int, target: int) -> None:
    """Serve until a signal ends it."""
    ended = asyncio.Event()
    for end in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(end, ended.set)

    async def accept(reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # by the end of the process
            await serve(reader, writer, target)

    await asyncio.start_server(accept, HOST, listen, limit=LONGEST_HEAD)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
