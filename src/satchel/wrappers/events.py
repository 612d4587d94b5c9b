"""`EventsWrapper`: notify handlers of changes (`?wrap=events`, then `subscribe` in code)."""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from .._checks import check_bool, check_clock, check_int
from ..clock import NEVER, TTL, Clock, deadline_after, seconds, system_clock
from ..entry import Entry
from ..errors import BatchError, ConfigurationError
from ..names import Ref, check_name
from ..protocol import AsyncKeyValue
from ..verbs import (
    BATCHES,
    BATCHES_OF_READS,
    DELETES,
    DESTROYS,
    PUTS,
    PUTS_OF_ONE,
    READS,
    READS_OF_VALUES,
    TOUCHES,
)
from .base import BaseWrapper
from .call import MISSING, Call


@dataclass(frozen=True, slots=True)
class Event:
    """Base class of events; subscribe to it for all of them."""


@dataclass(frozen=True, slots=True)
class Stored(Event):
    """A value was put under a key.

    Attributes:
        collection: The collection.
        key: The key.
        ttl: The seconds after which the caller lets it expire; None for never.
    """

    collection: str
    key: str
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Retrieved(Event):
    """A value or an entry was read and found."""

    collection: str
    key: str


@dataclass(frozen=True, slots=True)
class Deleted(Event):
    """An entry was removed.

    Attributes:
        collection: The collection.
        key: The key.
        existed: True; None for each key of a batch of which only some were there, as it does not say which.
    """

    collection: str
    key: str
    existed: bool | None = True


@dataclass(frozen=True, slots=True)
class Expired(Event):
    """A call found an entry absent whose time to live, as far as the wrapper knew it, had ended."""

    collection: str
    key: str


@dataclass(frozen=True, slots=True)
class Cleared(Event):
    """A collection that held something was destroyed or, with None, the store."""

    collection: str | None


KINDS: tuple[type[Event], ...] = (Stored, Retrieved, Deleted, Expired, Cleared)
MAY_EMIT: dict[str, frozenset[type[Event]]] = {
    **dict.fromkeys(PUTS, frozenset({Stored, Expired})),
    **dict.fromkeys(READS | TOUCHES, frozenset({Expired})),
    **dict.fromkeys(READS_OF_VALUES, frozenset({Retrieved, Expired})),
    **dict.fromkeys(DELETES, frozenset({Deleted, Expired})),
    **dict.fromkeys(DESTROYS, frozenset({Cleared, Expired})),
}
"""The events that each operation may emit, or for which it has to be followed."""


class KnownDeadlines:
    """Deadlines of a limited number of entries, those that were seen last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._deadlines: OrderedDict[Ref, float] = OrderedDict()

    def remember(self, ref: Ref, deadline: float) -> None:
        """Remember an entry's deadline, or forget it when there is none any more."""
        self._deadlines.pop(ref, None)
        if deadline != NEVER:
            self._deadlines[ref] = deadline
            if len(self._deadlines) > self._most:
                self._deadlines.popitem(last=False)

    def forget(self, ref: Ref) -> None:
        """Forget an entry."""
        self._deadlines.pop(ref, None)

    def forget_all(self, collection: str | None = None) -> None:
        """Forget all entries, or those of one collection."""
        kept = {ref: at for ref, at in self._deadlines.items() if collection is not None and ref[0] != collection}
        self._deadlines = OrderedDict(kept)

    def take_if_past(self, ref: Ref, now: float) -> bool:
        """Return whether an entry is known to have expired by now, and then forget it."""
        if self._deadlines.get(ref, NEVER) > now:
            return False
        del self._deadlines[ref]
        return True


def events_of(
    operation: str, call: Call, outcome: Any, deadlines: KnownDeadlines, started: float, ended: float
) -> Iterator[Event]:
    """Yield the events of a call that succeeded, and bring the deadlines up to date."""
    if operation == "destroy":
        deadlines.forget_all()
        if outcome:
            yield Cleared(None)
        return
    collection = check_name(call.collection, "collection")
    if operation == "destroy_collection":
        deadlines.forget_all(collection)
        if outcome:
            yield Cleared(collection)
    elif operation == "put_many":
        yield from _stored(collection, list(call.items), call, deadlines, started)
    elif operation == "delete_many":
        yield from _deleted(collection, call.keys, outcome, deadlines, ended)
    elif operation in BATCHES_OF_READS:
        for key in call.keys:
            yield from _read((collection, key), outcome.get(key, MISSING), deadlines, ended)
    else:
        yield from _events_of_one(
            operation, (collection, check_name(call.key, "key")), call, outcome, deadlines, started, ended
        )


def events_of_rest(
    operation: str, call: Call, error: BatchError, deadlines: KnownDeadlines, started: float
) -> Iterator[Event]:
    """Yield the events of those keys of a batch of writes that did not fail."""
    collection = check_name(call.collection, "collection")
    keys = [key for key in call.arguments[1] if key not in error.failed]
    if operation == "put_many":
        yield from _stored(collection, keys, call, deadlines, started)
    elif operation == "delete_many":
        yield from _deleted(collection, keys, None, deadlines, started)


def _events_of_one(
    operation: str, ref: Ref, call: Call, outcome: Any, deadlines: KnownDeadlines, started: float, ended: float
) -> Iterator[Event]:
    if operation in PUTS_OF_ONE:
        if operation == "put_if_absent" and outcome is not None and deadlines.take_if_past(ref, ended):
            yield Expired(*ref)
        if operation == "put" or outcome is not None:
            yield from _stored(ref[0], [ref[1]], call, deadlines, started)
    elif operation in READS_OF_VALUES:
        yield from _read(ref, MISSING if operation == "get_entry" and outcome is None else outcome, deadlines, ended)
    elif outcome and operation in DELETES:
        deadlines.forget(ref)
        yield Deleted(*ref)
    elif outcome and operation in TOUCHES:
        deadlines.remember(ref, deadline_after(call.named.get("ttl"), started))
    elif not outcome and operation != "compare_and_delete" and deadlines.take_if_past(ref, ended):
        yield Expired(*ref)


def _stored(collection: str, keys: list[str], call: Call, deadlines: KnownDeadlines, started: float) -> Iterator[Event]:
    ttl: TTL | None = call.named.get("ttl")
    deadline, length = deadline_after(ttl, started), None if ttl is None else seconds(ttl)
    for key in keys:
        deadlines.remember((collection, key), deadline)
        yield Stored(collection, key, length)


def _deleted(
    collection: str, keys: list[str], count: int | None, deadlines: KnownDeadlines, ended: float
) -> Iterator[Event]:
    for key in keys:
        if count == 0:
            if deadlines.take_if_past((collection, key), ended):
                yield Expired(collection, key)
        else:
            deadlines.forget((collection, key))
            yield Deleted(collection, key, existed=True if count == len(keys) else None)


def _read(ref: Ref, found: Any, deadlines: KnownDeadlines, ended: float) -> Iterator[Event]:
    if found is not MISSING:
        if type(found) is Entry:
            deadlines.remember(ref, NEVER if found.expires_at is None else found.expires_at.timestamp())
        yield Retrieved(*ref)
    elif deadlines.take_if_past(ref, ended):
        yield Expired(*ref)


E = TypeVar("E", bound=Event)
Handler = Callable[[Any], object]

logger = logging.getLogger("satchel")


class EventsWrapper(BaseWrapper):
    """Wrapper that reports each change and read to handlers, after it has happened and before the call returns.

    * A batch makes one event for each key; one that failed for some keys makes them for the others.
    * Handlers are called one after the other, in the order in which they subscribed, and an async one is awaited: a
      slow one makes the call slow. A handler with much work should put the event into its own queue.
    * Results that the caller does not learn cause no event: a write that timed out or was cancelled may have happened.
      Neither do changes that bypass the wrapper: other processes, `cull`, eviction. If a call is cancelled while its
      handlers run, later handlers are not called. Events of concurrent calls for one key may arrive in another order.
    * `Expired` comes when a call finds an entry absent whose deadline has passed: one that was put or touched through
      this wrapper, or read by `get_entry` or `get_entries`, since somebody subscribed to `Expired`. It is emitted once,
      by the first such call. An entry that is not read again expires without an event.

    Args:
        inner: The wrapped store.
        strict: Make a call raise the first error of its handlers, after all of them have run, although the operation
            was carried out. All other errors are logged.
        max_deadlines: Number of deadlines remembered for `Expired`, the latest ones.
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
        self._max_deadlines, self._deadlines = max_deadlines, KnownDeadlines(0)
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
            self._deadlines = KnownDeadlines(self._max_deadlines if self._follows_expiry else 0)

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        if operation not in self._followed:
            return await function(*args, **named)
        call = Call.of(operation, function, args, named)
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
        return call.answer(outcome)

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
