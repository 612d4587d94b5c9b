"""`FallbackWrapper`: a second store that answers when the first one fails."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from .._batches import LONG, checked_names, slices
from .._checks import check_bool
from .._threads import Yielder
from .._update import key_lock
from ..errors import BatchError, ConfigurationError, SatchelError, StoreTimeoutError, StoreUnavailableError
from ..names import check_name
from ..protocol import AsyncKeyValue
from ..url.description import Description
from ..verbs import BATCHES, CHANGES, CONDITIONAL_WRITES, DELETES, LISTINGS, PUTS, PUTS_OF_ONE
from .base import BaseWrapper
from .call import Call, Steps
from .composite import CompositeStore, with_own_values

logger = logging.getLogger("satchel")

_DELETES_OF_ONE = DELETES - BATCHES


class FallbackWrapper(CompositeStore):
    """Store that reads from a second store while the first one fails.

    Reads are reads of entries, listings that have not yielded a name yet, and `ping`. A batch that failed in part is
    read from the second store as a whole. If that fails too, its error is raised.

    A write succeeds when the first store has it. Entries in the second are never newer, and can be older: writes may be
    missing there, or have another deadline. Its versions are different, so a conditional write with a version read from
    it does not match.

    Args:
        inner: The first store.
        fallback: The second store. Both are owned: closing this one closes them.
        on: Errors of the first store after which the second is read; in a batch, the errors of all failed keys must be
            among them.
        write_both: Also write accepted writes to the second store; writes of one key then take turns. A failure there
            is logged, and leaves the older entry there. Otherwise something else has to fill it.

    Raises:
        ConfigurationError: One is not a store, or `on` is not a tuple of satchel's errors.
    """

    _around_steps: ClassVar[bool] = True

    def __init__(
        self,
        inner: AsyncKeyValue,
        fallback: AsyncKeyValue,
        *,
        on: tuple[type[SatchelError], ...] = (StoreUnavailableError, StoreTimeoutError),
        write_both: bool = False,
    ) -> None:
        check_bool("write_both", write_both)
        if not isinstance(on, tuple) or not on or not all(isinstance(kind, type) for kind in on):
            raise ConfigurationError("on must be a tuple of satchel's error classes, such as (StoreUnavailableError,)")
        if strange := [kind.__name__ for kind in on if not issubclass(kind, SatchelError)]:
            raise ConfigurationError(f"on takes satchel's error classes, got {', '.join(strange)}")
        self.fallback, self._on = fallback, on
        super().__init__(inner, fallback)
        self._is_narrower, self._write_both = self.max_key_bytes < inner.max_key_bytes, write_both

    def describe(self) -> Description:
        """Return the parts of this stack as data."""
        return BaseWrapper.describe(self)

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        call = Call(function, args, named)
        if self._is_narrower:
            for key in call.all_keys:
                check_name(key, "key", self._limit)
        if operation in CHANGES:
            return await (self._write(operation, call) if self._write_both else call())
        try:
            return await call()
        except SatchelError as error:
            failures = error.failed.values() if isinstance(error, BatchError) else (error,)
            if not isinstance(error, self._on) and not all(isinstance(failure, self._on) for failure in failures):
                raise
            read = getattr(self.fallback, operation)
            if isinstance(function, Steps):
                if function.begun:
                    raise
                function.begin(lambda: read(*args, **named))
            logger.warning("%r: %s is answered by the fallback, after: %s", self, operation, error)
            return await (call() if operation in LISTINGS else read(*args, **named))

    async def _write(self, operation: str, call: Call) -> Any:
        """Write to the first store, and to the second what that took; writes of one key one after the other."""
        if operation in PUTS:
            call = await with_own_values(call)
        yielder = Yielder()
        async with AsyncExitStack() as turns:
            for key in await self._in_order(call.all_keys):
                await yielder.after_item()
                turns.push_async_callback(yielder.after_item)  # to give the turns back takes as long
                collection = check_name(call.collection, "collection")
                await turns.enter_async_context(key_lock(self, collection, key))
            try:
                answer = await call()
            except BatchError as error:
                if operation not in BATCHES:  # what was destroyed in part
                    raise
                await self._copy(operation, call.part(key for key in call.arguments[1] if key not in error.failed))
                raise
            if answer or operation not in CONDITIONAL_WRITES:
                await self._copy(operation, call)
            return answer

    async def _in_order(self, keys: list[Any]) -> list[str]:
        """Return keys in the order in which all callers take their locks, so that two never wait for each other."""
        if len(keys) <= LONG:
            return sorted([check_name(key, "key", self._limit) for key in keys])
        names, turns = await checked_names(keys, self._limit), Yielder()
        runs: list[list[str]] = []
        for part in slices(len(names)):
            runs.append(sorted(names[part]))
            await turns.after_item()
        ordered: list[str] = []
        for name in heapq.merge(*runs):
            ordered.append(name)
            await turns.after_item()
        return ordered

    async def _copy(self, operation: str, call: Call) -> None:
        try:
            if operation in PUTS_OF_ONE:
                await self.fallback.put(call.collection, call.key, call.value, ttl=call.named.get("ttl"))
            elif operation in _DELETES_OF_ONE:
                await self.fallback.delete(call.collection, call.key)
            else:
                await getattr(self.fallback, operation)(*call.arguments, **call.named)
        except SatchelError as error:
            logger.warning("%r: %s did not reach the fallback, which is behind now: %s", self, operation, error)
