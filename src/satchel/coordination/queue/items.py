"""Records of a queue: the items, numbered in the order of their pushes, and the head, before which all are done.

| key | value |
| --- | --- |
| `{name}/next` | the number of the next item |
| `{name}/head` | `QueueHead`: where the open items begin |
| `{name}/items/{number}` | `Item` |
| `{name}/dead/{number}` | `Item` that has used up its attempts |

Nothing is ever enumerated: every number between the head and the next one is read by its key.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeGuard

import msgspec

from ...entry import Entry
from ...errors import IntegrityError

MOST_NUMBERS = 10**16
"""Keys have 16 digits, so that their order is that of the numbers."""
State = Literal["ready", "taken", "dying", "done", "void", "gone"]


@dataclass(frozen=True, slots=True)
class Item:
    """Item of a queue.

    Attributes:
        state: `ready` to be taken, `taken` by a worker, `dying` on its way to the dead jobs, `done`, `void` if a number
            was drawn but nothing was pushed under it in time, or `gone` from the dead jobs.
        id: The id of the job.
        value: The value of the job, as it is stored.
        attempts: Number of times that the job was taken.
        not_before: Earliest time at which it may be taken, in seconds since the Unix epoch.
        owner: Name of the worker that took it last, another one each time.
        lease: Seconds for which that worker holds it after this record was written.
        error: Type of the exception that ended its last attempt, empty if none did.
    """

    state: State
    id: str = ""
    value: Any = None
    attempts: int = 0
    not_before: float = 0.0
    owner: str = ""
    lease: float = 0.0
    error: str = ""

    @property
    def is_tombstone(self) -> bool:
        """Whether nothing is left to do for the item."""
        return self.state in ("done", "void", "gone")

    def record(self) -> dict[str, Any]:
        """Return the value of its entry."""
        if self.is_tombstone:
            return {"format": 1, "state": self.state, "id": self.id}
        value = self.value
        content = {"base64": base64.b64encode(value).decode()} if type(value) is bytes else {"value": value}
        return {
            "format": 1,
            "state": self.state,
            "id": self.id,
            **content,
            "attempts": self.attempts,
            "not_before": self.not_before,
            "owner": self.owner,
            "lease": self.lease,
            "error": self.error,
        }


_FIELDS = {field.name for field in fields(Item)}


def item_of(entry: Entry, place: str) -> Item:
    """Return the item that an entry holds.

    Raises:
        IntegrityError: It holds something that no queue wrote; `place` names it in the message.
    """
    try:
        record = dict(entry.value)
        if record.pop("format") == 1:
            encoded = record.pop("base64", None)
            if encoded is not None:
                record["value"] = base64.b64decode(encoded, validate=True)
            if record.keys() <= _FIELDS:
                return msgspec.convert(record, Item)
    except (TypeError, ValueError, KeyError, msgspec.ValidationError):
        pass
    raise IntegrityError(f"{place} holds something that no Queue wrote")


@dataclass(frozen=True, slots=True)
class QueueHead:
    """Start of the open items of a queue.

    Attributes:
        head: The first number not known to be done: all items before it are done, except those listed in `behind`.
        swept: The first number whose tombstone may still exist.
        behind: Numbers before the head that are not done: jobs that take long or are delayed.
    """

    head: int = 0
    swept: int = 0
    behind: tuple[int, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the value of its entry."""
        return {"format": 1, "head": self.head, "swept": self.swept, "behind": list(self.behind)}


def is_number(value: object) -> TypeGuard[int]:
    """Return whether this is the number of an item."""
    return type(value) is int and 0 <= value < MOST_NUMBERS


def head_of(entry: Entry | None, place: str) -> QueueHead:
    """Return the head in an entry, or that of a new queue if the entry is absent.

    Raises:
        IntegrityError: It holds something that no queue wrote; `place` names it in the message.
    """
    if entry is None:
        return QueueHead()
    match entry.value:
        case {"format": 1, "head": head, "swept": swept, "behind": list(behind)}:
            if all(map(is_number, (head, swept, *behind))):
                return QueueHead(head, swept, tuple(behind))
    raise IntegrityError(f"{place} holds something that no Queue wrote")
