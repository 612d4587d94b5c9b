"""The OpenAPI document: the interface of `docs/rest.md` for programs."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from .. import __version__
from .._rest import API
from .answers import BYTES, JSON

_Part = dict[str, Any]
_TEXT: Final = {"type": "string"}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 4096}
_TTL: Final = {"type": "number", "exclusiveMinimum": 0, "maximum": 3155760000}
_MOMENT: Final = {"type": "string", "format": "date-time"}
_LINES: Final = "application/x-ndjson"
_ANYTHING: _Part = {}
_BINARY: Final = {"type": "string", "format": "binary"}


@cache
def document() -> _Part:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "satchel", "version": API, "description": f"A key-value store, by satchel {__version__}."},
        "security": [{}, {"token": []}],
        "paths": {
            "/v1": {"get": _operation("Show what the server can do", {200: _json(_SERVICE, "What it can do")})},
            "/v1/c": _collections(),
            "/v1/c/{collection}": _collection(),
            "/v1/c/{collection}/{key}": _entry(),
            "/v1/batch": _batch(),
            "/v1/b/{name}/{key}": _blob(),
            "/v1/watch/{collection}": {
                "parameters": [_COLLECTION],
                "get": _operation(
                    "Watch a collection",
                    {200: _answer("Server-sent events", {"text/event-stream": _object(event=_TEXT, data=_TEXT)})},
                    [_PREFIX],
                ),
            },
            "/v1/ping": {"get": _operation("Ask the store for an answer", {204: _empty("It answers")})},
            "/v1/cull": {
                "post": _operation(
                    "Reclaim the space of expired entries",
                    {200: _json(_object(culled={"type": "integer"}), "How many there were")},
                    _REPEATED,
                )
            },
            "/v1/openapi.json": {"get": _open("Return this document", {200: _json({"type": "object"}, "It")})},
            "/metrics": {
                "get": _operation("Count calls", {200: _answer("Counts for Prometheus", {"text/plain": _TEXT})})
            },
            "/health": {"get": _open("Show health", {200: _json(_object(status=_TEXT), "The store answers")})},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR, "Operation": _OPERATION, "Result": _RESULT},
            "responses": {"Error": _answer("An error", {JSON: {"$ref": "#/components/schemas/Error"}})},
        },
    }


def _object(**properties: _Part) -> _Part:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _array(items: _Part, most: int | None = None) -> _Part:
    return {"type": "array", "items": items} | ({} if most is None else {"maxItems": most})


def _or_null(schema: _Part) -> _Part:
    return {"anyOf": [schema, {"type": "null"}]}


def _answer(description: str, content: _Part) -> _Part:
    return {"description": description, "content": {kind: {"schema": schema} for kind, schema in content.items()}}


def _json(schema: _Part, description: str) -> _Part:
    return _answer(description, {JSON: schema})


def _empty(description: str) -> _Part:
    return {"description": description}


def _operation(summary: str, answers: dict[int, _Part], parameters: list[_Part] | None = None) -> _Part:
    """Return an operation; what is not among its answers is an error."""
    responses: _Part = {str(status): answer for status, answer in answers.items()}
    responses["default"] = {"$ref": "#/components/responses/Error"}
    name = "".join(word.capitalize() for word in summary.split())
    return {"operationId": name, "summary": summary, "parameters": parameters or [], "responses": responses}


def _open(summary: str, answers: dict[int, _Part]) -> _Part:
    return {**_operation(summary, answers), "security": []}


def _parameter(place: str, name: str, schema: _Part, description: str, *, required: bool = False) -> _Part:
    about = {"name": name, "in": place, "schema": schema, "description": description}
    return about | ({"required": True} if required else {})


_ERROR: Final = {
    **_object(error=_TEXT, message=_TEXT, retryable={"type": "boolean"}),
    "additionalProperties": _ANYTHING,
}
_SERVICE: Final = _object(
    api={"const": int(API)},
    version=_TEXT,
    instance=_TEXT,
    capabilities=_array(_TEXT),
    max_key_bytes={"type": "integer"},
    max_value_bytes={"type": ["integer", "null"]},
    read_only={"type": "boolean"},
    prefix=_TEXT,
    inspector_writes={"type": "boolean"},
    limits=_object(
        max_body={"type": "integer"},
        max_batch={"type": "integer"},
        max_page={"type": "integer"},
        remember_seconds={"type": "number"},
        timeout={"type": "number"},
    ),
)
_IN_BASE64: Final = {"type": "string", "contentEncoding": "base64", "format": "byte"}


def _named(op: str, **more: _Part) -> _Part:
    """Return the schema of one kind of operation; `more` is optional."""
    schema = _object(op={"const": op}, collection=_NAME, key=_NAME)
    schema["properties"] |= more
    return {**schema, "additionalProperties": False}


def _with(schema: _Part, *required: str) -> _Part:
    return {**schema, "required": [*schema["required"], *required]}


_LIFE: Final = {"ttl": _or_null(_TTL)}
_IF_ABSENT: Final = {"if_absent": {"type": "boolean"}}
_IF_VERSION: Final = {"if_version": _TEXT}
_OPERATION: Final = {
    "oneOf": [
        _named("get"),
        _named("info"),
        _named("exists"),
        _with(_named("put", value=_ANYTHING, **_LIFE, **_IF_ABSENT), "value"),
        _with(_named("put", value=_ANYTHING, **_LIFE, **_IF_VERSION), "value", "if_version"),
        _with(_named("put", value=_ANYTHING, expires_at=_MOMENT, **_IF_ABSENT), "value", "expires_at"),
        _with(_named("put", value=_ANYTHING, expires_at=_MOMENT, **_IF_VERSION), "value", "expires_at", "if_version"),
        _with(_named("put", bytes=_IN_BASE64, **_LIFE, **_IF_ABSENT), "bytes"),
        _with(_named("put", bytes=_IN_BASE64, **_LIFE, **_IF_VERSION), "bytes", "if_version"),
        _with(_named("put", bytes=_IN_BASE64, expires_at=_MOMENT, **_IF_ABSENT), "bytes", "expires_at"),
        _with(_named("put", bytes=_IN_BASE64, expires_at=_MOMENT, **_IF_VERSION), "bytes", "expires_at", "if_version"),
        _named("delete", **_IF_VERSION),
        _with(_named("touch", **_LIFE), "ttl"),
        _with(_named("touch", expires_at=_MOMENT), "expires_at"),
    ]
}
_DESCRIBED: Final = _object(
    version=_TEXT,
    updated_at=_MOMENT,
    expires_at=_or_null(_MOMENT),
    ttl=_or_null({"type": "number"}),
    size={"type": "integer"},
)
_DESCRIBED["properties"] |= {"value": _ANYTHING, "bytes": _IN_BASE64}
_RESULT: Final = {
    "anyOf": [
        _object(entry=_or_null(_DESCRIBED)),
        _object(done={"type": "boolean"}),
        _object(version=_or_null(_TEXT)),
        _object(error=_TEXT, message=_TEXT, retryable={"type": "boolean"}, status={"type": "integer"}),
    ]
}
_COLLECTION: Final = _parameter("path", "collection", _NAME, "The collection", required=True)
_KEY: Final = _parameter("path", "key", _NAME, "The key, percent-encoded", required=True)
_REQUEST_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}
_REPEATED: Final = [
    _parameter("header", "Satchel-Request-Id", _REQUEST_ID, "A new id for every change, with which it can be repeated"),
    _parameter("header", "Satchel-Retry", _TEXT, "The Satchel-Instance to which the change was first sent"),
]
_ENTRY_LIFE: Final = [
    _parameter("header", "Satchel-TTL", {"anyOf": [_TTL, {"const": "none"}]}, "Seconds to live"),
    _parameter("header", "Satchel-Expires-At", _MOMENT, "The deadline, instead of Satchel-TTL"),
]
_ALL: Final = _parameter("query", "all", {"const": "1"}, "Confirms it", required=True)
_PREFIX: Final = _parameter("query", "prefix", {"type": "string", "maxLength": 4096}, "Only names that begin with it")
_RANGE: Final = _parameter("header", "Range", _TEXT, "A part of the content, such as bytes=0-999")
_PAGES: Final = [
    _PREFIX,
    _parameter("query", "after", {"type": "string", "maxLength": 4096}, "Only names that sort after it"),
    _parameter("query", "limit", {"type": "integer", "minimum": 1, "maximum": 10**15 - 1}, "At most this many names"),
]


def _collections() -> _Part:
    page = _object(collections=_array(_TEXT), next=_or_null(_TEXT))
    return {
        "get": _operation("List the collections", {200: _listing(page)}, _PAGES),
        "delete": _operation("Remove everything", {204: _empty("Removed"), 404: _missing()}, [_ALL, *_REPEATED]),
    }


def _collection() -> _Part:
    page = _object(keys=_array(_TEXT), next=_or_null(_TEXT))
    answer = {200: _listing({"anyOf": [page, _object(count={"type": "integer"})]})}
    count = _parameter("query", "count", {"const": "1"}, "Count the keys instead; with prefix alone")
    return {
        "parameters": [_COLLECTION],
        "get": _operation("List the keys", answer, [*_PAGES, count]),
        "delete": _operation("Remove a collection", {204: _empty("Removed"), 404: _missing()}, [_ALL, *_REPEATED]),
    }


def _listing(page: _Part) -> _Part:
    return _answer("A page of names, or a stream of them", {JSON: page, _LINES: _TEXT})


def _missing() -> _Part:
    return {"$ref": "#/components/responses/Error"}


def _entry() -> _Part:
    value = _answer("The value", {JSON: _ANYTHING, BYTES: _BINARY})
    value["headers"] = {name: {"schema": _TEXT} for name in ("ETag", "Satchel-Updated-At", "Satchel-Size")}
    if_match = _parameter("header", "If-Match", _TEXT, "The version that the entry must have, in quotes")
    if_none = _parameter("header", "If-None-Match", _TEXT, "With *: only if there is no entry")
    known = _parameter("header", "If-None-Match", _TEXT, "The version that the client has, in quotes")
    read = {200: value, 206: value, 304: _empty("The client has it"), 404: _missing(), 416: _missing()}
    head = {status: _empty("As GET, without a body") for status in read}
    write = _operation(
        "Store a value",
        {201: _empty("Stored; there was none"), 204: _empty("Stored"), 412: _missing()},
        [if_match, if_none, *_ENTRY_LIFE, *_REPEATED],
    )
    write["requestBody"] = {
        "required": True,
        "content": {JSON: {"schema": _ANYTHING}, BYTES: {"schema": _BINARY}},
    }
    look = _operation("Look at an entry", head, [known])
    look["responses"]["default"] = _empty("An error, whose code is in Satchel-Error")
    return {
        "parameters": [_COLLECTION, _KEY],
        "get": _operation("Read a value", read, [known, _RANGE]),
        "head": look,
        "put": write,
        "patch": _operation(
            "Give an entry a new deadline", {204: _empty("Done"), 404: _missing()}, [*_ENTRY_LIFE, *_REPEATED]
        ),
        "delete": _operation(
            "Remove an entry",
            {204: _empty("Removed"), 404: _missing(), 412: _missing()},
            [if_match, *_REPEATED],
        ),
    }


def _batch() -> _Part:
    results = _object(results=_array({"$ref": "#/components/schemas/Result"}))
    post = _operation("Carry out many operations", {200: _json(results, "One result for each")}, _REPEATED)
    operations = _object(operations=_array({"$ref": "#/components/schemas/Operation"}, 1000))
    post["requestBody"] = {
        "required": True,
        "content": {JSON: {"schema": {**operations, "additionalProperties": False}}},
    }
    return {"post": post}


def _blob() -> _Part:
    content = _answer("The content, or a part of it", {"*/*": _BINARY})
    answers = {200: content, 206: content, 304: _empty("The client has it"), 404: _missing(), 416: _missing()}
    known = _parameter("header", "If-None-Match", _TEXT, "The version that the client has, in quotes")
    signature = [
        _parameter("query", name, _TEXT, "A part of the signature", required=True)
        for name in ("expires", "method", "signature")
    ]
    look = _open("Look at a blob", {status: _empty("As GET, without a body") for status in answers})
    look["responses"]["default"] = _empty("An error, whose code is in Satchel-Error")
    return {
        "parameters": [_parameter("path", "name", _NAME, "The name of the blobs", required=True), _KEY],
        "get": {**_open("Read a blob", answers), "parameters": [known, _RANGE, *signature]},
        "head": {**look, "parameters": [known, *signature]},
    }
