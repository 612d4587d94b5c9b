"""`EventsWrapper`: tells what happens to entries (`?wrap=events`, then `subscribe` in code)."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from .._checks import check_bool, check_clock, check_int
from ..clock import Clock, system_clock
from ..errors import BatchError, ConfigurationError
from ..protocol import AsyncKeyValue
from ._deadlines import Deadlines
from ._events import KINDS, MAY_EMIT, Event, Expired
from ._telling import events_of, events_of_rest
from .base import BaseWrapper
from .call import BATCHES, Call

E = TypeVar("E", bound=Event)
Handler = Callable[[Any], object]

logger = logging.getLogger("satchel")


class EventsWrapper(BaseWrapper):
    """Tells handlers what happens through it, after it has happened and before the call returns.

    * A batch makes one event for each key; one that failed for some keys makes them for the others.
    * Handlers are called one after the other, in the order in which they subscribed, and an async one is awaited: a
      slow one makes the call slow. One that has much to do puts it into a queue of its own.
    * What the caller does not learn makes no event: a write that timed out or was cancelled may have happened.
      Nor does what goes past the wrapper: other processes, `cull`, eviction. A call that is cancelled while its
      handlers run tells no further ones. Concurrent calls about one key may tell of it in another order than it
      happened.
    * `Expired` comes when a call finds an entry absent whose deadline has passed: one that was put or touched through
      this wrapper, or read by `get_entry` or `get_entries`, since somebody subscribed to `Expired`. It comes once, with
      the first such call. If nobody asks for the entry, or something else removed it before, there is no telling.

    Args:
        inner: The store around which this is.
        strict: Let a call raise the first error of its handlers, after all of them, though the operation was carried
            out. Otherwise, and for all further errors, they are logged.
        max_deadlines: Remember so many deadlines for `Expired`, the latest ones.
        clock: The inner store's, if it is not the system's.

    Raises:
        ConfigurationError: An option is out of its range.
    """

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        strict: bool = False,
        max_deadlines: int = 10_000,
        clock: Clock = system_clock,
    ) -> None:
        check_bool("strict", strict)
        check_int("max_deadlines", max_deadlines, 0)
        check_clock(clock)
        self._strict, self._clock = strict, clock
        self._max_deadlines, self._deadlines = max_deadlines, Deadlines(0)
        self._subscriptions: list[tuple[type[Event], Handler]] = []
        self._follows_expiry = False
        self._arrange()
        super().__init__(inner)

    def subscribe(self, kind: type[E], handler: Callable[[E], object]) -> Callable[[], None]:
        """Let a handler be called with each event of a kind, and return a function that ends this.

        Args:
            kind: `Stored`, `Retrieved`, `Deleted`, `Expired` or `Cleared`, or `Event` for all of them.
            handler: Takes the event. What it returns is awaited if it can be.

        Raises:
            ConfigurationError: The kind is no event, or the handler cannot be called.
        """
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise ConfigurationError(f"subscribe takes a class of events, such as Stored or Event, got {kind!r}")
        if not callable(handler):
            raise ConfigurationError(f"a handler must be callable, got {type(handler).__name__}")
        subscription = (kind, handler)
        self._subscriptions.append(subscription)
        self._arrange()

        def unsubscribe() -> None:
            self._subscriptions = [other for other in self._subscriptions if other is not subscription]
            self._arrange()

        return unsubscribe

    def _arrange(self) -> None:
        self._handlers = {
            kind: tuple(handler for wanted, handler in self._subscriptions if issubclass(kind, wanted))
            for kind in KINDS
        }
        wanted = {kind for kind, handlers in self._handlers.items() if handlers}
        self._followed = frozenset(operation for operation, kinds in MAY_EMIT.items() if kinds & wanted)
        if self._follows_expiry is not (Expired in wanted):
            # What is not followed by all operations goes unnoticed when it changes.
            self._follows_expiry = not self._follows_expiry
            self._deadlines = Deadlines(self._max_deadlines if self._follows_expiry else 0)

    async def _around(self, operation: str, call: Call) -> Any:
        if operation not in self._followed:
            return await call()
        now = self._clock()
        try:
            outcome = await call()
        except BatchError as error:
            if operation not in BATCHES:  # what was destroyed in part
                raise
            rest = list(events_of_rest(operation, call, error, self._deadlines, now))
            await self._tell(rest, strict=False)
            raise
        events = list(events_of(operation, call, outcome, self._deadlines, now, self._clock()))
        await self._tell(events, strict=self._strict)
        return outcome

    async def _tell(self, events: list[Event], *, strict: bool) -> None:
        failure: Exception | None = None
        for event in events:
            for handler in self._handlers[type(event)]:
                try:
                    result = handler(event)
                    if inspect.isawaitable(result):
                        await result
                except Exception as error:
                    if strict and failure is None:
                        failure = error
                    else:
                        logger.exception("%r: a handler of %s failed", self, type(event).__name__)
        if failure is not None:
            raise failure
