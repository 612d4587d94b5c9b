"""`OnErrorWrapper`: behaviour of a failing store (`?wrap=on_error(policy=lenient)`)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, Literal

from .._checks import check_choice, check_clock, check_int
from ..backend.record import Record
from ..clock import Clock, system_clock
from ..codec import Codec
from ..errors import BatchError, QueueFullError, SatchelError, StoreError, batch_error
from ..names import check_name, check_ref
from ..protocol import AsyncKeyValue
from ..verbs import CHANGES, CORE
from ._queued_writes import QueuedWrites
from .base import BaseWrapper
from .call import MISSING, Call, Steps

logger = logging.getLogger("satchel")

_ANSWERS: dict[str, Callable[[], Any]] = {
    "get": lambda: MISSING,
    "get_entry": lambda: None,
    "exists": lambda: False,
    "get_many": dict,
    "get_entries": dict,
    "put": lambda: None,
    "put_many": lambda: None,
    "delete": lambda: False,
    "delete_many": lambda: 0,
}
"""Results of the lenient policy for a failing store. For other verbs any result would be wrong."""

_WRITES = CORE & CHANGES


class OnErrorWrapper(BaseWrapper):
    """Wrapper that decides the result of a call that fails with a retryable `StoreError`.

    * `strict`: it raises.
    * `lenient`: it is logged and counted. Reads miss, `put` and `put_many` do nothing, `delete` returns False and
      `delete_many` 0; older entries stay stored. All other verbs raise: the result of a conditional write is not known,
      and half a listing would look complete.
    * `lazy`: a failed `put`, `put_many`, `delete` or `delete_many` is queued in memory, and sent in order when another
      call succeeds, by `flush` and on closing. The queue is lost if the process ends before that. Until then `get`,
      `get_many` and `exists` find them; a queued `delete` returns True only if a put was queued. Verbs that need the
      store itself (entries with versions, conditional writes, listings) first send the queued writes that concern them,
      and raise if that fails.

    All other errors raise with each: bad input, damaged entries, a wrong password.

    Args:
        inner: The wrapped store.
        policy: `strict`, `lenient` or `lazy`.
        max_queued: Maximum number of keys with queued writes; a further one raises `QueueFullError`.
        codec: Encodes queued values; JSON by default. Pass the inner store's own if it supports more than JSON.
        clock: Function that returns seconds since the Unix epoch; queued writes keep their deadlines.

    Attributes:
        failures: Number of suppressed failures by operation.

    Raises:
        ConfigurationError: An option is not known, or out of its range.
    """

    _around_steps: ClassVar[bool] = True

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        policy: Literal["strict", "lenient", "lazy"] = "strict",
        max_queued: int = 10_000,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        policies = {"strict": self._strictly, "lenient": self._leniently, "lazy": self._lazily}
        check_choice("policy", policy, policies)
        check_int("max_queued", max_queued, 1)
        check_clock(clock)
        self.failures: Counter[str] = Counter()
        self._clock = clock
        self._policy = policies[policy]
        self._queue = QueuedWrites(inner, self.__repr__, most=max_queued, codec=codec, clock=clock)
        super().__init__(inner)

    @property
    def queued(self) -> int:
        """Of how many keys a write waits."""
        return len(self._queue.waiting)

    async def flush(self) -> None:
        """Send the writes that wait, and return when there is none.

        Raises:
            StoreError: The inner store still fails; the rest goes on waiting.
            SatchelError: The inner store refused a write for what it is: that one is lost, which was logged.
        """
        await self._queue.flush()

    async def _finish(self) -> None:
        await self._queue.finish()

    def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Coroutine[Any, Any, Any]:
        return self._policy(operation, Call(function, args, named))

    async def _strictly(self, _: str, call: Call) -> Any:
        return await call()

    async def _leniently(self, operation: str, call: Call) -> Any:
        while True:
            try:
                return await call()
            except StoreError as error:
                if operation not in _ANSWERS or not error.retryable:
                    raise
                failed = error.failed if isinstance(error, BatchError) else {}
                self._let_pass(operation, error)
            rest = [key for key in call.all_keys if key not in failed] if failed else []
            if not rest or operation in _WRITES:
                own = Call.of(operation, call.function, call.arguments, call.named)
                return own.answer(_ANSWERS[operation]())
            call = call.part(rest)  # their values were lost with the error

    def _let_pass(self, operation: str, error: SatchelError) -> None:
        self.failures[operation] += 1
        logger.warning("%r: %s failed: %s", self, operation, error)

    async def _lazily(self, operation: str, call: Call) -> Any:
        call = Call.of(operation, call.function, call.arguments, call.named)
        if operation in _WRITES:
            return await self._write(operation, call)
        if not self._queue.waiting or operation == "ping":
            answer = await call()
        elif operation in ("get", "exists", "get_many"):
            answer = await self._read(operation, call)
        else:
            if self._is_about_queued(call):
                await self._queue.settle()
            answer = await call()
        if self._queue.waiting:
            self._queue.flush_soon()
        return call.answer(answer)

    def _queued(self, call: Call) -> dict[str, Record | None]:
        """Return what waits of the keys of a call."""
        if not self._queue.waiting:
            return {}
        collection = check_name(call.collection, "collection")
        refs = {key: (collection, check_name(key, "key", self._limit)) for key in call.all_keys}
        return {key: self._queue.waiting[ref] for key, ref in refs.items() if ref in self._queue.waiting}

    def _is_about_queued(self, call: Call) -> bool:
        if isinstance(call.function, Steps) and call.function.begun:
            return False
        return not call.all_keys or bool(self._queued(call))

    async def _read(self, operation: str, call: Call) -> Any:
        queued = self._queued(call)
        if not queued:
            return await call()
        if operation == "exists":
            return self._queue.lives(queued[call.key])
        values = {key: await self._queue.value(record, MISSING) for key, record in queued.items()}
        if operation == "get":
            return values[call.key]
        rest = [key for key in call.all_keys if key not in queued]
        found = values | (await call.part(rest)() if rest else {})
        return {key: found[key] for key in call.all_keys if found.get(key, MISSING) is not MISSING}

    async def _write(self, operation: str, call: Call) -> Any:
        """Write what has nothing waiting for its key; let wait what has, and what fails."""
        now, queued = self._clock(), self._queued(call)
        if not queued:
            try:
                answer = await call()
            except StoreError as error:
                return await self._let_wait(operation, call, now, {}, None, self._failed(operation, error, call))
            if self._queue.waiting:
                self._queue.flush_soon()
            return answer
        # What cannot be stored is refused before anything is written.
        changes = {key: await self._change(operation, call, key, now) for key in queued}
        direct, answer, failed = [key for key in call.all_keys if key not in queued], None, dict[str, SatchelError]()
        if direct:
            try:
                answer = await call.part(direct)()
            except StoreError as error:
                failed = self._failed(operation, error, call.part(direct))
        waited = sum(self._queue.lives(record) for record in queued.values())
        answer = bool(waited) if operation == "delete" else (answer or 0) + waited
        answer = await self._let_wait(operation, call, now, changes, answer, failed)
        if not failed:
            self._queue.flush_soon()
        return answer

    def _failed(self, operation: str, error: StoreError, call: Call) -> dict[str, SatchelError]:
        """Return the errors of the keys of a write that failed; raise one that lets nothing wait."""
        if not isinstance(error, BatchError) and not error.retryable:
            raise error
        self._let_pass(operation, error)
        return error.failed if isinstance(error, BatchError) else dict.fromkeys(call.all_keys, error)

    async def _let_wait(
        self,
        operation: str,
        call: Call,
        now: float,
        changes: dict[str, Record | None],
        answer: Any,
        failed: dict[str, SatchelError],
    ) -> Any:
        """Queue changes and what failed, and return what the call answers."""
        for key, failure in failed.items():
            if isinstance(failure, StoreError) and failure.retryable:
                changes[key] = await self._change(operation, call, key, now)
        refused = {key: failure for key, failure in failed.items() if key not in changes}
        for key, record in changes.items():
            try:
                self._queue.add(check_ref(call.collection, key, self._limit), record)
            except QueueFullError as full:
                full.__cause__ = failed.get(key)
                refused[key] = full
        if refused:
            batch = isinstance(call.key, (list, dict))
            raise batch_error(self, operation, call.collection, refused) if batch else next(iter(refused.values()))
        if operation.startswith("put"):
            return None
        return answer or _ANSWERS[operation]()

    async def _change(self, operation: str, call: Call, key: str, now: float) -> Record | None:
        if operation.startswith("delete"):
            return None
        value = call.items[key] if operation == "put_many" else call.value
        return await self._queue.record(value, call.named.get("ttl"), now)
