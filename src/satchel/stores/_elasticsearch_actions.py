"""`Action`: one item of a bulk request, how it is sent, and what came of it."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from ..backend.hooks import UNPROCESSED, Unprocessed
from ..backend.record import Record
from ..errors import SatchelError
from ..names import Ref
from ._elasticsearch_documents import Guard, deadline_only, document, document_id, is_searchable
from ._elasticsearch_errors import MISSING_INDEX, failure

_REJECTED = "es_rejected_execution_exception"


class Changed(enum.Enum):
    """Is the type of `CHANGED`."""

    CHANGED = "changed"


CHANGED: Final = Changed.CHANGED
"""Of an action: not done, because the document is not, or no longer, the one that it was for."""

Result = None | SatchelError | Literal[Changed.CHANGED, Unprocessed.UNPROCESSED]
"""What came of an action: None for done."""

Answer = tuple[int, str]
"""What the server says of an action: a status, and the type of the error or nothing."""


class Action(msgspec.Struct):
    """Is one item of a bulk request.

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
    """Makes guards that only the later one of two puts gets past, whenever they arrive."""

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
    """Return what the server's answer to an action means."""
    if status < 300:
        return None
    if kind == _REJECTED or (kind == MISSING_INDEX and action.record is not None):
        return UNPROCESSED  # in the second case the index is there, but this node has not heard of it yet
    return CHANGED if status in (404, 409) else failure(status, kind)
