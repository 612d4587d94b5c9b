"""Sending requests to a backend's hooks, and what comes back: one outcome for each request, never an exception."""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from .coalesce import Operation, Request
from .envelope import Record
from .errors import SatchelError, StoreError, StoreTimeoutError, StoreUnavailableError

if TYPE_CHECKING:
    from .base import BaseStore


class Unprocessed(enum.Enum):
    """Is the type of `UNPROCESSED`."""

    UNPROCESSED = "unprocessed"


UNPROCESSED: Final = Unprocessed.UNPROCESSED
"""A hook gives this for an item that the engine handed back; the base sends it again a little later."""

Outcome = Record | None | SatchelError | Literal[Unprocessed.UNPROCESSED]
"""What `_read` gives for each item: a record, None for nothing there, or the error of this item alone."""

_RESENDS = 6
_FIRST_PAUSE = 0.05
# Of the others, a second one could be told that the first was not done.
_SAFE_TO_RESEND = frozenset({Operation.READ, Operation.PUT, Operation.TOUCH})


async def send(store: BaseStore, requests: list[Request]) -> Sequence[Any]:
    """Carry out requests with distinct names, those of each operation together."""
    operation = requests[0].operation
    if len(requests) == 1 or all(request.operation is operation for request in requests):
        return await _send_alike(store, operation, requests)
    outcomes: list[Any] = [None] * len(requests)
    groups: dict[Operation, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.operation, []).append(index)
    for kind, members in groups.items():
        for index, outcome in zip(members, await _send_alike(store, kind, [requests[i] for i in members]), strict=True):
            outcomes[index] = outcome
    return outcomes


async def _send_alike(store: BaseStore, operation: Operation, requests: list[Request]) -> Sequence[Any]:
    outcomes = await _attempt(store, operation, requests)
    pause = _FIRST_PAUSE
    for _ in range(_RESENDS):
        again = [index for index, outcome in enumerate(outcomes) if outcome is UNPROCESSED]
        if not again:
            return outcomes
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # spreads load, hides nothing
        pause *= 2
        outcomes = list(outcomes)
        for index, outcome in zip(again, await _attempt(store, operation, [requests[i] for i in again]), strict=True):
            outcomes[index] = outcome
    busy = StoreUnavailableError(f"{store!r} kept handing this item back; it is overloaded, try again later")
    return [busy if outcome is UNPROCESSED else outcome for outcome in outcomes]


async def _attempt(store: BaseStore, operation: Operation, requests: list[Request]) -> Sequence[Any]:
    try:
        outcomes = await _call_hook(store, operation, requests)
    except Exception as error:
        failure = translated(store, error, operation.value)
        if len(requests) == 1 or operation not in _SAFE_TO_RESEND or getattr(failure, "retryable", False):
            return [failure] * len(requests)
        # One bad item can fail a whole batch: halved until it is alone, it fails only its own caller.
        half = len(requests) // 2
        first = await _attempt(store, operation, requests[:half])
        return [*first, *await _attempt(store, operation, requests[half:])]
    if not isinstance(outcomes, Sequence) or len(outcomes) != len(requests):
        given = f"{len(outcomes)} outcomes" if isinstance(outcomes, Sequence) else f"a {type(outcomes).__name__}"
        flaw = f"{type(store).__name__}: the {operation.value} hook gave {given} for {len(requests)} items"
        return [StoreError(flaw)] * len(requests)
    return outcomes


async def _call_hook(store: BaseStore, operation: Operation, requests: list[Request]) -> Sequence[Any]:
    refs = [request.ref for request in requests]
    now = store.clock()
    match operation:
        case Operation.READ:
            return await store._read(refs)
        case Operation.PUT:
            return await store._write([(request.ref, request.argument) for request in requests])
        case Operation.DELETE:
            return await store._delete(refs, now)
        case Operation.PUT_IF:
            return await store._put_if([(request.ref, *request.argument) for request in requests], now)
        case Operation.DELETE_IF:
            return await store._delete_if([(request.ref, request.argument) for request in requests], now)
        case Operation.TOUCH:
            return await store._touch([(request.ref, request.argument) for request in requests], now)


def translated(store: BaseStore, error: Exception, operation: str) -> SatchelError:
    """Return the satchel error for what a hook raised, with that as its cause."""
    if isinstance(error, SatchelError):
        return error
    failure = store._translate(error)
    if failure is None:
        said = type(error).__name__  # what a driver says may hold a value or a secret
        if isinstance(error, TimeoutError):
            failure = StoreTimeoutError(f"{store!r} did not answer in time ({operation})")
        elif isinstance(error, OSError):
            failure = StoreUnavailableError(f"{store!r} cannot be reached ({operation}: {said})")
        else:
            failure = StoreError(f"{store!r} failed ({operation}: {said})")
    failure.__cause__ = error
    return failure
