"""`RetryWrapper`: calls that failed are made again a little later (`?wrap=retry(attempts=3)`)."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, ClassVar

from .._checks import check_int, check_seconds, check_seed
from .._forks import random_numbers
from ..clock import seconds
from ..errors import (
    BatchError,
    CircuitOpenError,
    ConfigurationError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    batch_error,
)
from ..protocol import AsyncKeyValue
from ..verbs import BATCHES, BATCHES_OF_READS, CONDITIONAL_WRITES
from .base import BaseWrapper
from .call import Call, Steps
from .composite import gather_batch
from .timeout import OutOfTimeError, in_time

logger = logging.getLogger("satchel")

_SHORTEST = 0.001


class RetryWrapper(BaseWrapper):
    """Wrapper that repeats calls that failed with an error whose `.retryable` is True.

    The pause before each is drawn from 0 to a bound that doubles, up to a maximum ("full jitter": Marc Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A `CircuitOpenError` is retried if the breaker tries
    again within the maximum pause; otherwise it is raised at once.

    A call that failed may still have happened, and then happens twice. The consequences for each verb:

    * Reads, `put`, `put_many`, `touch`: none, except that a write by others in between is overwritten.
    * `delete`, `destroy` and `destroy_collection` may return False, and `delete_many` and `cull` count too few, because
      the first attempt has already removed entries.
    * `put_if_absent`, `compare_and_put` and `compare_and_delete`: if the condition does not hold, the first attempt may
      be the reason. Then the failure is raised, never None or False returned; a version and True are certain.

    In a batch only the keys that failed are sent again. The other keys of a batch of reads are then read again too,
    since an error carries no values. A listing starts again only if it has not yielded a name. A `ttl` counts from the
    call: a later attempt gives what is left of it, and none is made once it is over.

    Args:
        inner: The wrapped store.
        attempts: Maximum number of attempts, from 1 to 100.
        first_pause: The upper bound of the first pause, in seconds.
        max_pause: The upper bound of every pause, in seconds.
        deadline: Seconds for a call with all its attempts and pauses, after which it is cut off; None for no limit.
        sleep: Function that waits for a pause.
        seed: Makes the pauses the same in every run.

    Raises:
        ConfigurationError: An option is out of its range.
    """

    _around_steps: ClassVar[bool] = True

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        attempts: int = 4,
        first_pause: float = 0.05,
        max_pause: float = 2.0,
        deadline: float | None = 30.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        seed: int | None = None,
    ) -> None:
        check_int("attempts", attempts, 1, 100)
        check_seconds("first_pause", first_pause)
        check_seconds("max_pause", max_pause)
        if max_pause < first_pause:
            raise ConfigurationError("max_pause must be at least first_pause")
        if deadline is not None:
            check_seconds("deadline", deadline)
        if not callable(sleep):
            raise ConfigurationError(f"sleep must be an async function of seconds, got {type(sleep).__name__}")
        check_seed(seed)
        self._most, self._first_pause, self._max_pause, self._sleep = attempts, first_pause, max_pause, sleep
        self._deadline = math.inf if deadline is None else deadline
        self._random = random_numbers(seed)
        super().__init__(inner)

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        begun = time.monotonic()
        end = begun + self._deadline
        try:
            try:
                return await in_time(self._deadline, function(*args, **named))
            except StoreError as error:
                failure = error
            call, last = Call(function, args, named), end
            if named.get("ttl") is not None:
                gone = begun + seconds(named["ttl"])
                call, last = Call(partial(_with_rest, function, gone), args, named), min(end, gone)
            return await in_time(end - time.monotonic(), self._attempts(operation, call, last, 1, failure))
        except OutOfTimeError:
            call, said = Call(function, args, named), f"no success within {self._deadline:g} s"
            raise self._own_error(StoreTimeoutError, operation, call, said) from None

    async def _attempts(
        self, operation: str, call: Call, end: float, attempt: int, failure: StoreError | None = None
    ) -> Any:
        """Make a call until it succeeds, or the failure says that it will not; one may be given."""
        doubt: StoreError | None = None
        while True:
            if isinstance(failure, BatchError) and operation in BATCHES:
                return await self._in_parts(operation, call, failure, end, attempt)
            if failure is not None:
                await self._pause(operation, call, failure, end, attempt)
                attempt += 1
                if not isinstance(failure, CircuitOpenError):
                    doubt = doubt or failure
            try:
                answer = await call()
            except StoreError as error:
                failure = error
                continue
            if doubt is not None and not answer and operation in CONDITIONAL_WRITES:
                raise doubt
            return answer

    async def _in_parts(self, operation: str, call: Call, failure: BatchError, end: float, attempt: int) -> Any:
        reads = operation in BATCHES_OF_READS
        collection, keys = call.arguments
        lost = [key for key, error in failure.failed.items() if _is_retryable(error)]
        refused = {key: error for key, error in failure.failed.items() if not _is_retryable(error)}
        if not lost or (reads and refused):
            raise failure
        await self._pause(operation, call, failure.failed[lost[0]], end, attempt, failure)
        rest = [key for key in keys if key not in failure.failed]
        parts: list[tuple[Iterable[str], Awaitable[Any]]]
        parts = [(lost, self._attempts(operation, call.part(lost), end, attempt + 1))]
        if reads and rest:
            parts.append((rest, self._attempts(operation, call.part(rest), end, attempt + 1)))
        elif len(lost) < len(keys):
            parts.append((refused, _settled(batch_error(self, operation, collection, refused) if refused else None)))
        answers = await gather_batch(self, operation, collection, parts)
        if operation == "delete_many":
            return sum(answer or 0 for answer in answers)
        found = {key: value for answer in answers if answer for key, value in answer.items()}
        return {key: found[key] for key in keys if key in found} if reads else None

    async def _pause(
        self, operation: str, call: Call, failure: SatchelError, end: float, attempt: int, *whole: StoreError
    ) -> None:
        """Wait before a further attempt, or raise the failure where there is none."""
        pause = self._random.uniform(0, min(self._max_pause, self._first_pause * 2.0 ** (attempt - 1)))
        waits = failure.retry_after if isinstance(failure, CircuitOpenError) else 0.0
        begun = isinstance(call.function, Steps) and call.function.begun
        late = time.monotonic() + waits + pause >= end
        if attempt >= self._most or not _is_retryable(failure) or begun or late or waits > self._max_pause:
            raise whole[0] if whole else failure
        logger.debug("%r makes %s again in %.3f s, after: %s", self, operation, waits + pause, failure)
        await self._sleep(waits + pause)


def _with_rest(function: Callable[..., Awaitable[Any]], gone: float, *args: Any, **named: Any) -> Awaitable[Any]:
    """Make a call whose entry is to be gone at a moment, with the time that is left until then."""
    return function(*args, **named | {"ttl": max(gone - time.monotonic(), _SHORTEST)})


def _is_retryable(error: SatchelError) -> bool:
    return isinstance(error, StoreError) and error.retryable


async def _settled(failure: BatchError | None) -> None:
    """Stand for the part of a batch that is not made again."""
    if failure is not None:
        raise failure
