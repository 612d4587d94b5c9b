"""Sending requests to a backend's hooks, and what comes back: one outcome for each request, never an exception."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from ._shortage import shortage
from .errors import SatchelError, StoreError, StoreTimeoutError, StoreUnavailableError, with_article
from .request import Operation, Request

if TYPE_CHECKING:
    from .base import BaseStore

# Of the others, a second one could be told that the first was not done.
_SAFE_TO_RESEND = frozenset({Operation.READ, Operation.READ_HEAD, Operation.PUT, Operation.TOUCH})


async def send(store: BaseStore, requests: list[Request]) -> Sequence[Any]:
    """Carry out requests with distinct names, those of each operation together."""
    operation = requests[0].operation
    if len(requests) > 1 and [True for request in requests if request.operation is not operation]:
        return await _send_by_operation(store, requests)
    return await _attempt(store, operation, requests)


async def _send_by_operation(store: BaseStore, requests: list[Request]) -> Sequence[Any]:
    outcomes: list[Any] = [None] * len(requests)
    groups: dict[Operation, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.operation, []).append(index)
    for members in groups.values():
        for index, outcome in zip(members, await send(store, [requests[i] for i in members]), strict=True):
            outcomes[index] = outcome
    return outcomes


async def _attempt(store: BaseStore, operation: Operation, requests: list[Request]) -> Sequence[Any]:
    try:
        called = _hook_call(store, operation, requests)
        outcomes = await (called if store._timeout is None else store._in_time(called))
    except Exception as error:
        failure = translated(store, error, operation.value)
        if len(requests) == 1 or operation not in _SAFE_TO_RESEND or getattr(failure, "retryable", False):
            return [failure] * len(requests)
        # One bad item can fail a whole batch: halved until it is alone, it fails only its own caller.
        half = len(requests) // 2
        first = await _attempt(store, operation, requests[:half])
        return [*first, *await _attempt(store, operation, requests[half:])]
    if not isinstance(outcomes, (list, tuple, Sequence)) or len(outcomes) != len(requests):
        given = f"{len(outcomes)} outcomes" if isinstance(outcomes, Sequence) else with_article(type(outcomes))
        flaw = f"{type(store).__name__}: the {operation.value} hook gave {given} for {len(requests)} items"
        return [StoreError(flaw)] * len(requests)
    return outcomes


def _hook_call(store: BaseStore, operation: Operation, requests: list[Request]) -> Awaitable[Sequence[Any]]:
    if operation is Operation.READ:
        return store._read([request.ref for request in requests])
    if operation is Operation.READ_HEAD:
        return store._read_heads([request.ref for request in requests])
    if operation is Operation.PUT:
        return store._write([(request.ref, request.argument) for request in requests])
    now = store.clock()
    if operation is Operation.DELETE:
        return store._delete([request.ref for request in requests], now)
    if operation is Operation.PUT_IF:
        return store._put_if([(request.ref, *request.argument) for request in requests], now)
    if operation is Operation.DELETE_IF:
        return store._delete_if([(request.ref, request.argument) for request in requests], now)
    return store._touch([(request.ref, request.argument) for request in requests], now)


def translated(store: BaseStore, error: Exception, operation: str) -> SatchelError:
    """Return the satchel error for what a hook raised, with that as its cause."""
    if isinstance(error, SatchelError):
        return error
    failure: SatchelError | None = shortage(error)  # whatever the driver makes of it
    failure = failure or store._translate(error)
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
