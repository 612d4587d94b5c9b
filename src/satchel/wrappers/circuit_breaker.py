"""`CircuitBreakerWrapper`: stop calling a failing store for a while (`?wrap=circuit_breaker(failures=5)`)."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal

from .._checks import check_clock, check_int, check_seconds
from .._forks import watch
from ..clock import Clock
from ..errors import (
    BatchError,
    CircuitOpenError,
    ConfigurationError,
    StoreTimeoutError,
    StoreUnavailableError,
    safe_repr,
)
from ..protocol import AsyncKeyValue
from .base import BaseWrapper
from .call import Call

logger = logging.getLogger("satchel")

_MOST_FAILURES = 1_000_000
_FAILURES = (StoreUnavailableError, StoreTimeoutError)


class CircuitBreakerWrapper(BaseWrapper):
    """Wrapper that refuses calls with `CircuitOpenError`, which has the time of the next try, while the store fails.

    * Closed: every call goes through. When too many fail it opens.
    * Open: every call is refused.
    * Half-open, after a while: a few calls go through, the others are refused. The first that succeeds closes it, one
      that fails opens it again.

    `StoreUnavailableError` and `StoreTimeoutError` are failures, even in a batch or a step of a listing. Any other
    error, and a cancelled call, is neither a failure nor a success: bad input says nothing about the backend.

    Args:
        inner: The wrapped store.
        failures: Number of failures, at most a million, that opens it,
        window: within this number of seconds,
        share: if they are at least this share of the calls, from above 0 to 1.
        reset_after: Seconds for which it stays open.
        probes: Maximum number of concurrent calls while it is half-open.
        clock: Function that returns monotonic seconds.

    Raises:
        ConfigurationError: An option is out of its range.
    """

    _around_steps: ClassVar[bool] = True

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        failures: int = 5,
        window: float = 30.0,
        share: float = 0.5,
        reset_after: float = 10.0,
        probes: int = 1,
        clock: Clock = time.monotonic,
    ) -> None:
        check_int("failures", failures, 1, _MOST_FAILURES)
        check_int("probes", probes, 1)
        check_seconds("window", window)
        check_seconds("reset_after", reset_after)
        if type(share) not in (int, float) or not 0 < share <= 1:
            raise ConfigurationError(f"share must be a number from above 0 to 1, got {safe_repr(share)}")
        check_clock(clock)
        self._failed: deque[tuple[float, int]] = deque(maxlen=failures)
        self._share, self._window, self._reset_after = share, window, reset_after
        self._probes, self._probing, self._clock = probes, 0, clock
        self._calls = 0
        self._opened_at: float | None = None
        self._lock = threading.Lock()  # the calls may be of several event loops, in several threads
        super().__init__(inner)
        watch(self)

    def after_fork(self) -> None:
        """In a child of `fork`: the probes under way are the parent's."""
        self._probing = 0
        self._lock = threading.Lock()

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """What becomes of calls now."""
        if self._opened_at is None:
            return "closed"
        return "open" if self._opened_at + self._reset_after > self._clock() else "half-open"

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        opened_at = self._opened_at
        if opened_at is not None:
            return await self._probe(operation, Call(function, args, named), opened_at)
        self._calls += 1
        try:
            return await function(*args, **named)
        except _FAILURES:
            self._count(opened_at)
            raise
        except BatchError as error:
            if _is_failure(error):
                self._count(opened_at)
            raise

    async def _probe(self, operation: str, call: Call, opened_at: float) -> Any:
        left = max(0.0, opened_at + self._reset_after - self._clock())
        if left or self._probing >= self._probes:
            when = f"in {left:.3g} s" if left else "already, by another call"
            said = f"refused, since the inner store failed; it is tried again {when}"
            raise self._own_error(CircuitOpenError, operation, call, said, retry_after=left)
        self._probing += 1
        try:
            answer = await call()
        except (*_FAILURES, BatchError) as error:
            if _is_failure(error) and self._opened_at == opened_at:
                self._open()
            raise
        finally:
            self._probing -= 1
        if self._opened_at == opened_at:  # or another probe has decided
            with self._lock:
                self._opened_at = None
                self._failed.clear()
            logger.warning("%r is closed again: its inner store answers", self)
        return answer

    def _count(self, opened_at: float | None) -> None:
        """Count a failure of a call that began while this was closed."""
        if self._opened_at != opened_at:
            return
        now = self._clock()
        with self._lock:
            self._failed.append((now, self._calls))
            since, calls = self._failed[0]
            count = len(self._failed)
        if (
            count == self._failed.maxlen
            and now - since <= self._window
            and count >= self._share * (self._calls - calls + 1)
        ):
            self._open()

    def _open(self) -> None:
        self._opened_at = self._clock()
        logger.warning("%r is open for %g s: its inner store fails", self, self._reset_after)


def _is_failure(error: Exception) -> bool:
    if isinstance(error, BatchError):
        return any(map(_is_failure, error.failed.values()))
    return isinstance(error, _FAILURES)
