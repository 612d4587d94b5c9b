"""How an entry becomes an Elasticsearch document, and back.

A document has the names and the header of an entry as fields, and its value in one of two:

* `value`: a JSON object as it is, searchable, where Elasticsearch is sure to give it back the same,
* `payload`: the encoded value in base64, for all others.

The checksum is that of the encoded value, so that an object that came back different would be refused, not returned.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec

from ...backend.hooks import UNPROCESSED, Unprocessed
from ...backend.record import Record
from ...clock import NEVER
from ...codec import JsonCodec
from ...errors import IntegrityError, SatchelError
from ...names import Escaping, Ref
from .errors import MISSING_INDEX, failure

FORMAT = 1
NOT_OURS = "the document under this name is not one that satchel wrote; remove it, or choose another index_prefix"
"""Advice for a document that is not an entry."""

MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "_meta": {"satchel_format": FORMAT},
    "properties": {
        "collection": {"type": "keyword"},
        "key": {"type": "keyword"},
        "deadline": {"type": "double"},
        "updated_at": {"type": "double"},
        "version": {"type": "keyword", "index": False, "doc_values": False},
        "codec": {"type": "integer", "index": False, "doc_values": False},
        "checksum": {"type": "long", "index": False, "doc_values": False},
        "value": {"type": "flattened", "depth_limit": 100, "ignore_above": 1024},
        "payload": {"type": "binary"},
    },
}
HEAD = [name for name in MAPPING["properties"] if name not in ("value", "payload")]
"""The fields of an entry without its value."""
NEEDED_TYPES = {"collection": "keyword", "key": "keyword", "deadline": "double"}
"""The types that listing and expiry depend on."""

_NAME = Escaping(max_bytes=255)  # two of them and a colon: an _id has at most 512 bytes
_LARGEST_OBJECT = 16 * 1024  # Lucene takes terms of 32,766 bytes: a name's path and a text of the value
_encode = msgspec.json.Encoder().encode


Guard = dict[str, int | str]
"""Condition of a change: the document is unchanged since it was read, or has a lower `_version`."""


class Document(msgspec.Struct):
    """Entry as Elasticsearch holds it."""

    collection: str
    key: str
    version: str
    updated_at: float
    deadline: float | None
    codec: int
    checksum: int
    value: Any = msgspec.UNSET
    payload: bytes | msgspec.UnsetType = msgspec.UNSET


class State(msgspec.Struct):
    """State of a document, as needed for a change.

    Attributes:
        guard: Makes a change conditional on the document being the one that was looked at.
        version: The version of the entry; None where the document is no entry.
        deadline: The deadline of the entry.
    """

    guard: Guard
    version: str | None
    deadline: float

    def lives(self, now: float) -> bool:
        """Return whether the entry has not expired."""
        return self.deadline > now


def document_id(ref: Ref) -> str:
    """Return the `_id` of an entry; no two entries have the same."""
    return f"{_NAME.escape(ref[0])}:{_NAME.escape(ref[1])}"


def is_searchable(record: Record) -> bool:
    """Return whether a value is a JSON object that can be indexed as it is."""
    payload = record.payload
    return (
        record.codec == JsonCodec.number
        and len(payload) <= _LARGEST_OBJECT
        and payload.startswith(b"{")
        and b"\\u0000" not in payload  # no name in an indexed object may have a NUL
    )


def document(ref: Ref, record: Record, *, searchable: bool) -> bytes:
    """Return an entry as the JSON of its document."""
    return _encode(
        Document(
            collection=ref[0],
            key=ref[1],
            version=record.version,
            updated_at=record.updated_at,
            deadline=None if record.deadline == NEVER else record.deadline,
            codec=record.codec,
            checksum=record.checksum or 0,
            value=msgspec.Raw(record.payload) if searchable else msgspec.UNSET,
            payload=msgspec.UNSET if searchable else record.payload,
        )
    )


def deadline_only(deadline: float) -> bytes:
    """Return the JSON of an update that sets a deadline and nothing else."""
    return _encode({"doc": {"deadline": None if deadline == NEVER else deadline}})


def record_of(ref: Ref, source: Any) -> Record | IntegrityError:
    """Return the entry in a document's source, an error if it is none."""
    try:
        found = msgspec.convert(source, Document)
    except msgspec.ValidationError:
        return IntegrityError(NOT_OURS)
    payload = _encode(found.value) if found.payload is msgspec.UNSET else found.payload
    if (found.collection, found.key) != ref or (found.value is msgspec.UNSET) == (found.payload is msgspec.UNSET):
        return IntegrityError(NOT_OURS)
    deadline = NEVER if found.deadline is None else found.deadline
    return Record(payload, found.codec, found.version, found.updated_at, deadline, checksum=found.checksum)


def head_of(ref: Ref, source: Any) -> Record | IntegrityError:
    """Return the entry in the source of a document that was read without its value: the record has an empty one."""
    return record_of(ref, source | {"payload": ""})


def state_of(found: Any) -> State:
    """Return the state of a document that `_mget` found."""
    source = found.get("_source", {})
    version, deadline = source.get("version"), source.get("deadline", math.nan)
    ours = isinstance(version, str) and (deadline is None or isinstance(deadline, (int, float)))
    return State(
        guard={"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]},
        version=version if ours else None,
        deadline=NEVER if deadline is None or not ours else deadline,
    )


_REJECTED = "es_rejected_execution_exception"


class Changed(enum.Enum):
    """Type of `CHANGED`."""

    CHANGED = "changed"


CHANGED: Final = Changed.CHANGED
"""Of an action: not done, because the document is not, or no longer, the one that it was for."""

Result = None | SatchelError | Literal[Changed.CHANGED, Unprocessed.UNPROCESSED]
"""Result of an action: None for done."""

Answer = tuple[int, str]
"""The server's answer to an action: a status, and the type of the error, if any."""


class Action(msgspec.Struct):
    """One item of a bulk request.

    Attributes:
        kind: `index`, `create`, `update` or `delete`.
        ref: The names of the entry.
        guard: What the document must be for the action to be carried out.
        record: What to write, for `index` and `create`.
        deadline: What to set, for `update`.
    """

    kind: str
    ref: Ref
    guard: Guard = {}
    record: Record | None = None
    deadline: float = 0

    def lines(self, *, searchable: bool) -> Iterable[bytes]:
        """Return its lines in the body of the request."""
        yield msgspec.json.encode({self.kind: {"_id": document_id(self.ref), **self.guard}})
        if self.record is not None:
            yield document(self.ref, self.record, searchable=searchable and is_searchable(self.record))
        elif self.kind == "update":
            yield deadline_only(self.deadline)


class _Overtaking:
    """Guards that let only the later of two puts through, whenever they arrive."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> Guard:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return {"version": self._last, "version_type": "external"}


unless_overtaken = _Overtaking()
"""Returns the guard for the puts that are sent now: an earlier one that arrives after them is not carried out."""


def lines_of(actions: Sequence[Action], searchable: bool) -> list[bytes]:
    """Return the body of a bulk request; with searchable, values as they are where that can be."""
    return [line for action in actions for line in action.lines(searchable=searchable)]


def result_of(action: Action, status: int, kind: str) -> Result:
    """Return the meaning of the server's answer to an action."""
    if status < 300:
        return None
    if kind == _REJECTED or (kind == MISSING_INDEX and action.record is not None):
        return UNPROCESSED  # in the second case the index is there, but this node has not heard of it yet
    return CHANGED if status in (404, 409) else failure(status, kind)
