"""Requests to the REST interface: each has an answer, and it is never that the server failed."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from satchel import MemoryStore
from satchel.server import create_app
from tests.fuzz.harness import run

INPUTS = 400
TOKENS = [
    *(b"GET ", b"HEAD ", b"PUT ", b"PATCH ", b"POST ", b"DELETE ", b"/v1/c/", b"/v1/batch", b"/v1/watch/", b"/v1/b/"),
    *(
        b"?limit=",
        b"&after=",
        b"&prefix=",
        b"?glob=",
        b"%00",
        b"%ff",
        b"%",
        b"/",
        b"%2F",
        b"\n",
        b"\n\n",
        b"nan",
        b"-1",
    ),
    *(b"satchel-ttl: ", b"if-match: ", b'if-none-match: "', b"range: bytes=", b"content-type: application/json"),
    *(b"content-type: application/octet-stream", b"accept: application/x-ndjson", b"satchel-request-id: ", b"*", b"0"),
    *(
        b'{"op": "put"',
        b'"key": ',
        b'"value": ',
        b'"ttl": ',
        b"1e400",
        b"[" * 200,
        b'"\\ud800"',
        b"null",
        b"-",
        b"9" * 30,
    ),
    *(b"content-encoding: ", b"content-length: ", b"accept-encoding: gzip", b"host: ", b"authorization: Bearer "),
]


def seeds() -> Sequence[bytes]:
    operations = [
        {"op": "put", "collection": "a", "key": "k", "value": 1, "ttl": 5},
        {"op": "get", "collection": "a", "key": "k"},
    ]
    operations += [{"op": op, "collection": "a", "key": "k"} for op in ("exists", "delete", "touch", "get_entry")]
    return [
        b"GET /v1/c/a/k\naccept: application/json\n\n",
        b"GET /v1/c/a/raw\nrange: bytes=1-3\nif-none-match: *\n\n",
        b'PUT /v1/c/a/new%2Fkey\ncontent-type: application/json\nsatchel-ttl: 60\nif-none-match: *\n\n{"a": [1, null]}',
        b"PUT /v1/c/a/raw\ncontent-type: application/octet-stream\nsatchel-request-id: 0123456789abcdef\n\nbytes",
        b"PATCH /v1/c/a/k\nsatchel-ttl: 5\n\n",
        b'DELETE /v1/c/a/k\nif-match: "00112233445566778899aabbccddeeff"\n\n',
        b"GET /v1/c/a?limit=2&prefix=k&after=j\n\n",
        b"GET /v1/c/a?glob=k*\naccept: application/x-ndjson\n\n",
        b"GET /v1/c\n\n",
        b"DELETE /v1/c/a\n\n",
        b"GET /v1/watch/a\n\n",
        b"GET /v1/b/photos/cat\n\n",
        b"POST /v1/batch\ncontent-type: application/json\n\n" + json.dumps({"operations": operations}).encode(),
        b"POST /v1/cull\n\n",
        b"GET /metrics\n\n",
        b"GET /v1/openapi.json\n\n",
    ]


def check(data: bytes) -> None:
    run(ask(data))


async def ask(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    pairs = [line.partition(b":") for line in lines]
    headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs if name.strip()]
    if not any(name == b"host" for name, _ in headers):
        headers.append((b"host", b"localhost"))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method.decode("latin-1").upper(),
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with MemoryStore() as store:
        await store.put("a", "k", {"name": "Ada"})
        await store.put("a", "raw", b"raw bytes")
        await create_app(store, max_body=4096)(scope, receive, send)
    begins = [message for message in sent if message["type"] == "http.response.start"]
    assert len(begins) == 1
    status = begins[0]["status"]
    content = b"".join(message.get("body", b"") for message in sent[1:])
    assert 200 <= status < 600
    assert status != 500, content
    if status >= 400 and scope["method"] != "HEAD":
        assert json.loads(content)["error"]
