"""Which events a call makes, and which deadlines it tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..clock import NEVER, TTL, deadline_after, seconds
from ..entry import Entry
from ..errors import BatchError
from ..names import Ref, check_name
from ._deadlines import Deadlines
from ._events import Cleared, Deleted, Event, Expired, Retrieved, Stored
from ._observed import WRITES
from .call import MISSING, Call

_DELETES = frozenset({"delete", "compare_and_delete"})


def events_of(
    operation: str, call: Call, outcome: Any, deadlines: Deadlines, started: float, ended: float
) -> Iterator[Event]:
    """Give the events of a call that succeeded, and bring the deadlines up to date."""
    if operation == "destroy":
        deadlines.forget_all()
        if outcome:
            yield Cleared(None)
        return
    collection = check_name(call.collection, "collection")
    if operation == "destroy_collection":
        deadlines.forget_all(collection)
        if outcome:
            yield Cleared(collection)
    elif operation == "put_many":
        yield from _stored(collection, list(call.items), call, deadlines, started)
    elif operation == "delete_many":
        yield from _deleted(collection, call.keys, outcome, deadlines, ended)
    elif operation in ("get_many", "get_entries"):
        for key in call.keys:
            yield from _read((collection, key), outcome.get(key, MISSING), deadlines, ended)
    else:
        yield from _events_of_one(
            operation, (collection, check_name(call.key, "key")), call, outcome, deadlines, started, ended
        )


def events_of_rest(
    operation: str, call: Call, error: BatchError, deadlines: Deadlines, started: float
) -> Iterator[Event]:
    """Give the events of those keys of a batch of writes that did not fail."""
    collection = check_name(call.collection, "collection")
    keys = [key for key in call.arguments[1] if key not in error.failed]
    if operation == "put_many":
        yield from _stored(collection, keys, call, deadlines, started)
    elif operation == "delete_many":
        yield from _deleted(collection, keys, None, deadlines, started)


def _events_of_one(
    operation: str, ref: Ref, call: Call, outcome: Any, deadlines: Deadlines, started: float, ended: float
) -> Iterator[Event]:
    if operation in WRITES:
        if operation == "put_if_absent" and outcome is not None and deadlines.take_if_past(ref, ended):
            yield Expired(*ref)
        if operation == "put" or outcome is not None:
            yield from _stored(ref[0], [ref[1]], call, deadlines, started)
    elif operation in ("get", "get_entry"):
        yield from _read(ref, MISSING if operation == "get_entry" and outcome is None else outcome, deadlines, ended)
    elif outcome and operation in _DELETES:
        deadlines.forget(ref)
        yield Deleted(*ref)
    elif outcome and operation == "touch":
        deadlines.remember(ref, deadline_after(call.named.get("ttl"), started))
    elif not outcome and operation != "compare_and_delete" and deadlines.take_if_past(ref, ended):
        yield Expired(*ref)


def _stored(collection: str, keys: list[str], call: Call, deadlines: Deadlines, started: float) -> Iterator[Event]:
    ttl: TTL | None = call.named.get("ttl")
    deadline, length = deadline_after(ttl, started), None if ttl is None else seconds(ttl)
    for key in keys:
        deadlines.remember((collection, key), deadline)
        yield Stored(collection, key, length)


def _deleted(
    collection: str, keys: list[str], count: int | None, deadlines: Deadlines, ended: float
) -> Iterator[Event]:
    for key in keys:
        if count == 0:
            if deadlines.take_if_past((collection, key), ended):
                yield Expired(collection, key)
        else:
            deadlines.forget((collection, key))
            yield Deleted(collection, key, existed=True if count == len(keys) else None)


def _read(ref: Ref, found: Any, deadlines: Deadlines, ended: float) -> Iterator[Event]:
    if found is not MISSING:
        if type(found) is Entry:
            deadlines.remember(ref, NEVER if found.expires_at is None else found.expires_at.timestamp())
        yield Retrieved(*ref)
    elif deadlines.take_if_past(ref, ended):
        yield Expired(*ref)
