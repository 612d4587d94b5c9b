"""`TimeoutWrapper`: a time limit for every call (`?wrap=timeout(seconds=2)`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from .._checks import check_seconds
from ..errors import StoreTimeoutError
from ..protocol import AsyncKeyValue
from ._time_limit import OutOfTimeError, in_time
from .base import BaseWrapper
from .call import Call


class TimeoutWrapper(BaseWrapper):
    """Cuts off every call that takes too long, with a `StoreTimeoutError`.

    Of a listing each step has the time, not the whole. A write that was cut off may or may not have happened; the inner
    store sees to it that it does not land over a later one.

    Args:
        inner: The store around which this is.
        seconds: What one call may take, waiting for others included.

    Raises:
        ConfigurationError: The seconds are not a number above 0, or more than 100 years.
    """

    _around_steps: ClassVar[bool] = True

    def __init__(self, inner: AsyncKeyValue, *, seconds: float) -> None:
        check_seconds("seconds", seconds)
        self._seconds = seconds
        super().__init__(inner)

    async def _carry_out(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        try:
            return await in_time(self._seconds, function(*args, **named))
        except OutOfTimeError:
            call, said = Call(function, args, named), f"no answer within {self._seconds:g} s"
            raise self._own_error(StoreTimeoutError, operation, call, said) from None
