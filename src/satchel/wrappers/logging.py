"""`LoggingWrapper`: one log record for each call, without values (`?wrap=logging(level=INFO)`)."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any

from .._checks import check_bool
from .._threads import Yielder
from ..errors import ConfigurationError, StoreError, safe_repr
from ..protocol import AsyncKeyValue
from ..verbs import (
    BATCHES,
    BATCHES_OF_READS,
    CONDITIONAL_WRITES,
    DELETES,
    PUTS_OF_ONE,
    READS,
    READS_OF_VALUES,
    TOUCHES,
)
from ._observed import kind_of, legal, size_of
from .base import BaseWrapper
from .call import MISSING, Call

_HIGHEST_LEVEL = 1000
_LOOKUPS = (READS | DELETES | TOUCHES) - BATCHES - CONDITIONAL_WRITES


class LoggingWrapper(BaseWrapper):
    """Wrapper that logs every call when it has ended: operation, collection, outcome and duration, never a value.

    A call that raised is logged as an error, or as a warning if the same call may succeed later, with the class of the
    error but not its message, which may contain a key. Listings are not logged.

    Args:
        inner: The wrapped store.
        logger: The logger, or its name.
        level: The level of calls that did not raise, or were cancelled, by name or number.
        keys: Log the keys of single-key calls. Keys can be personal data, such as e-mail addresses, so they are omitted
            by default.

    Raises:
        ConfigurationError: The level is unknown, or another option has a wrong type.
    """

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        logger: str | logging.Logger = "satchel.calls",
        level: int | str = "DEBUG",
        keys: bool = False,
    ) -> None:
        if not isinstance(logger, (str, logging.Logger)):
            raise ConfigurationError(f"logger must be a logger or the name of one, got {type(logger).__name__}")
        number = logging.getLevelNamesMapping().get(level) if isinstance(level, str) else level
        if type(number) is not int or not 0 <= number <= _HIGHEST_LEVEL:
            raise ConfigurationError(
                f"level must be the name of a logging level or a number from 0 to {_HIGHEST_LEVEL}, "
                f"got {safe_repr(level)}"
            )
        check_bool("keys", keys)
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._level, self._says_keys = number, keys
        super().__init__(inner)

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        is_logged = self._logger.isEnabledFor(self._level)
        call = Call.of(operation, function, args, named) if is_logged else Call(function, args, named)
        start = perf_counter()
        try:
            outcome = await call()
        except CancelledError:
            self._log(self._level, operation, call, perf_counter() - start, "cancelled")
            raise
        except BaseException as error:
            level = logging.WARNING if isinstance(error, StoreError) and error.retryable else logging.ERROR
            self._log(level, operation, call, perf_counter() - start, "error", error=kind_of(error))
            raise
        if is_logged:
            duration = perf_counter() - start
            found = _found(operation, outcome)
            size = await _size(operation, call, outcome)
            self._log(self._level, operation, call, duration, _said(operation, outcome), found=found, size=size)
        return call.answer(outcome)

    def _log(self, level: int, operation: str, call: Call, duration: float, outcome: str, **more: Any) -> None:
        if not self._logger.isEnabledFor(level):
            return
        is_batch = operation in BATCHES
        collection = legal(call.collection)
        key = legal(call.key) if self._says_keys and not is_batch else None
        names = "".join(f" {name!r}" for name in (collection, key) if name is not None)
        fields = dict.fromkeys(("error", "found", "size")) | more
        fields |= {"operation": operation, "collection": collection, "key": key, "outcome": outcome}
        fields |= {"duration": duration, "count": len(call.arguments[1]) if is_batch else None}
        said = fields["error"] or outcome
        self._logger.log(level, "%s%s: %s in %.6f s", operation, names, said, duration, extra=fields)


def _said(operation: str, outcome: Any) -> str:
    absent = outcome is MISSING if operation == "get" else not outcome
    if operation in _LOOKUPS:
        return "miss" if absent else "hit"
    return "conflict" if operation in CONDITIONAL_WRITES and absent else "ok"


def _found(operation: str, outcome: Any) -> int | None:
    if operation not in BATCHES or operation == "put_many":
        return None
    return outcome if type(outcome) is int else len(outcome)


async def _size(operation: str, call: Call, outcome: Any) -> int | None:
    """Return the bytes of the values that a call put or got; None when it is about none."""
    values: Iterable[Any] = ()
    if operation in PUTS_OF_ONE:
        values = (call.value,)
    elif operation == "put_many":
        values = call.items.values()
    elif operation in BATCHES_OF_READS:
        values = outcome.values()
    elif operation in READS_OF_VALUES and _said(operation, outcome) == "hit":
        values = (outcome,)
    else:
        return None
    size, turns = 0, Yielder()
    for value in values:
        part = await size_of(value)
        size += part
        await turns.after_item()
    return size
