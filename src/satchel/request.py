"""Requests to a backend: what is asked, who waits for it, and which of them one sent request answers."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from typing import Any

import msgspec

from .names import Ref


class Operation(enum.Enum):
    """Names what a request does."""

    READ = "read"
    PUT = "put"
    DELETE = "delete"
    PUT_IF = "put_if"
    DELETE_IF = "delete_if"
    TOUCH = "touch"


_MERGING = frozenset({Operation.READ, Operation.PUT, Operation.DELETE})


class Request(msgspec.Struct, eq=False):
    """Is one thing to do for one name.

    Attributes:
        operation: What is to be done.
        ref: The name.
        argument: What the hook gets for it.
        size: How many bytes of payload it has.
        call: Who waits for it; None for a caller whose own task sends it.
        index: Which of that caller's requests it is.
        resends: How often the engine has handed it back.
    """

    operation: Operation
    ref: Ref
    argument: Any = None
    size: int = 0
    call: Call | LoneCall | None = None
    index: int = 0
    resends: int = 0

    @property
    def dropped(self) -> bool:
        """Whether the caller has gone."""
        return self.call is not None and self.call.future.done()


class Call:
    """Collects the outcomes of the requests of one waiting caller."""

    __slots__ = ("future", "missing", "outcomes")

    def __init__(self, count: int) -> None:
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.outcomes: list[Any] = [None] * count
        self.missing = count

    def set(self, index: int, outcome: Any) -> None:
        """Take the outcome of one request."""
        self.outcomes[index] = outcome
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.outcomes)


class LoneCall:
    """Waits for the outcome of one request."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def set(self, _: int, outcome: Any) -> None:
        """Take the outcome."""
        if not self.future.done():
            self.future.set_result(outcome)


def next_run(lane: deque[Request]) -> list[Request]:
    """Take the requests off a lane that one sent request answers; none when all their callers have gone."""
    run: list[Request] = []
    while lane:
        request = lane[0]
        if not request.dropped:
            if run and not _merges(run[0], request):
                break
            run.append(request)
        lane.popleft()
    return run


def _merges(first: Request, request: Request) -> bool:
    # What was handed back has come to its own number of attempts.
    alike = request.operation is first.operation and request.resends == first.resends
    return alike and request.operation in _MERGING


def representative(run: list[Request]) -> Request:
    """Return the request that is sent for all of them."""
    return run[-1] if run[0].operation is Operation.PUT else run[0]
