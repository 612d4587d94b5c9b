"""`TimeoutWrapper`: a time limit for every call (`?wrap=timeout(seconds=2)`)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator
from types import CoroutineType, coroutine
from typing import Any, ClassVar, TypeVar

from .._checks import check_seconds
from .._contexts import run_in_empty_context
from ..errors import StoreTimeoutError
from ..protocol import AsyncKeyValue
from .base import BaseWrapper
from .call import Call

T = TypeVar("T")


class OutOfTimeError(Exception):
    """`in_time` cut something off."""


@coroutine
def in_time(seconds: float, work: Awaitable[T]) -> Generator[Any, Any, T]:
    """Await work, and cut it off after a number of seconds; infinity is no limit.

    Most calls to a store in memory, or to one that remembers, never wait: the timer is set when one does.

    Raises:
        OutOfTimeError: It was cut off.
    """
    steps: Generator[Any, Any, T]
    steps = work if type(work) is CoroutineType else work.__await__()  # type: ignore[assignment]  # it can be sent to as well
    try:
        waits_for = steps.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a generator's value has no type
    if seconds == math.inf:
        return (yield from _going_on(steps, waits_for))
    return (yield from _limited(seconds, _going_on(steps, waits_for)).__await__())


async def _limited(seconds: float, work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(None) as limit:
            # The loop keeps a timer for a while after it was cancelled, with what it holds.
            run_in_empty_context(limit.reschedule, asyncio.get_running_loop().time() + seconds)
            return await work
    except TimeoutError as error:
        if type(error) is TimeoutError and limit.expired():
            raise OutOfTimeError from None
        raise


@coroutine
def _going_on(steps: Generator[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with what has begun to wait."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # a cancellation, or the end of the generator, is for what waits
                waits_for = steps.throw(error)
            else:
                waits_for = steps.send(sent)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a generator's value has no type


class TimeoutWrapper(BaseWrapper):
    """Wrapper that cuts off every call that takes too long, with a `StoreTimeoutError`.

    Of a listing each step has the time, not the whole. A write that was cut off may or may not have happened; the inner
    store sees to it that it does not land over a later one.

    Args:
        inner: The wrapped store.
        seconds: Limit of one call, including waiting for others.

    Raises:
        ConfigurationError: The seconds are not a number above 0, or more than 100 years.
    """

    _around_steps: ClassVar[bool] = True

    def __init__(self, inner: AsyncKeyValue, *, seconds: float) -> None:
        check_seconds("seconds", seconds)
        self._seconds = seconds
        super().__init__(inner)

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        try:
            return await in_time(self._seconds, function(*args, **named))
        except OutOfTimeError:
            call, said = Call(function, args, named), f"no answer within {self._seconds:g} s"
            raise self._own_error(StoreTimeoutError, operation, call, said) from None
