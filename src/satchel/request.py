"""Requests to a backend: what is asked, who waits for it, and which of them one sent request answers."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from typing import Any

import msgspec

from .names import Ref


class Operation(enum.Enum):
    """Names what a request does."""

    READ = "read"
    READ_HEAD = "read_head"
    PUT = "put"
    DELETE = "delete"
    PUT_IF = "put_if"
    DELETE_IF = "delete_if"
    TOUCH = "touch"


_MERGING = frozenset({Operation.READ, Operation.READ_HEAD, Operation.PUT, Operation.DELETE})


class Request(msgspec.Struct, eq=False):
    """Is one thing to do for one name.

    Attributes:
        operation: What is to be done.
        ref: The name.
        argument: What the hook gets for it.
        size: How many bytes of payload it has.
        future: What its caller waits for; None for a caller whose own task sends it.
        call: The same caller's other requests with it; None for a caller with this one alone.
        index: Which of that caller's requests it is.
        resends: How often the engine has handed it back.
    """

    operation: Operation
    ref: Ref
    argument: Any = None
    size: int = 0
    future: asyncio.Future[Any] | None = None
    call: Call | None = None
    index: int = 0
    resends: int = 0

    @property
    def dropped(self) -> bool:
        """Whether the caller has gone."""
        return self.future is not None and self.future.done()

    def answer(self, outcome: Any) -> None:
        """Give the caller the outcome."""
        if self.call is not None:
            self.call.set(self.index, outcome)
        elif self.future is not None and not self.future.done():
            self.future.set_result(outcome)


class Call:
    """Collects the outcomes of the requests of one waiting caller.

    Args:
        requests: What the caller asks for.
    """

    __slots__ = ("future", "missing", "outcomes")

    def __init__(self, requests: Sequence[Request]) -> None:
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.missing = len(requests)
        self.outcomes: list[Any] = [None] * self.missing
        for index, request in enumerate(requests):
            request.future, request.call, request.index = self.future, self, index

    def set(self, index: int, outcome: Any) -> None:
        """Take the outcome of one request."""
        self.outcomes[index] = outcome
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.outcomes)


def next_run(lane: list[Request]) -> list[Request]:
    """Take the requests off a lane that one sent request answers; none when all their callers have gone."""
    run: list[Request] = []
    taken = 0
    for request in lane:
        if not request.dropped:
            if run and not _merges(run[0], request):
                break
            run.append(request)
        taken += 1
    del lane[:taken]
    return run


def _merges(first: Request, request: Request) -> bool:
    # What was handed back has come to its own number of attempts.
    alike = request.operation is first.operation and request.resends == first.resends
    return alike and request.operation in _MERGING


def representative(run: list[Request]) -> Request:
    """Return the request that is sent for all of them."""
    return run[-1] if run[0].operation is Operation.PUT else run[0]
