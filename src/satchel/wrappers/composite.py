"""`CompositeStore`: base class of stores over several inner stores."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Self

from .._batches import LONG
from .._copies import AT_ONCE, copied, copied_at_once
from .._threads import Yielder
from ..backend.lifecycle import finish_and_close
from ..capability import Capability
from ..errors import BatchError, ConfigurationError, SatchelError, StoreClosedError, batch_error
from ..protocol import AsyncKeyValue, is_store
from ..url.description import Described, Description
from ..verbs import METHODS, NEEDED, SEAMS
from .base import BaseWrapper
from .call import Call


class CompositeStore(BaseWrapper):
    """Base class for stores over several inner stores.

    A subclass overrides `_around`, through which every verb then goes, with the method of the first inner store; or it
    writes the verbs. What it does not write refuses by name. It has a capability when it has all its methods and every
    inner store has it. It owns the inner stores: closing it closes them all.

    Args:
        inners: The inner stores; one that comes twice is pinged and closed once.

    Raises:
        ConfigurationError: There is none, or one of them is no store.
    """

    def __init__(self, *inners: AsyncKeyValue) -> None:
        kinds = [type(inner).__name__ for inner in inners if not is_store(inner)]
        if kinds or not inners:
            raise ConfigurationError(f"{type(self).__name__} goes over stores, got {', '.join(kinds) or 'none'}")
        self.inners = tuple({id(inner): inner for inner in inners}.values())
        lacking = [flag for flag, names in METHODS.items() if not all(map(self._has, names))]
        super().__init__(inners[0], drops=functools.reduce(operator.or_, lacking, Capability.NONE))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.inners))})"

    @property
    def capabilities(self) -> Capability:
        """The capabilities of all inner stores that this one uses."""
        return functools.reduce(operator.and_, [inner.capabilities for inner in self.inners]) & ~self._dropped

    @property
    def max_key_bytes(self) -> int:
        """The longest key, in UTF-8 bytes, that every inner store takes."""
        return min(inner.max_key_bytes for inner in self.inners)

    @property
    def max_value_bytes(self) -> int | None:
        """The largest encoded value that every inner store takes; None for no limit that is known."""
        return min([limit for inner in self.inners if (limit := inner.max_value_bytes) is not None], default=None)

    def describe(self) -> Description:
        """Return the parts of this store as data."""
        return Described.describe(self)

    async def aclose(self) -> None:
        """Finish what is the store's own, and close all inner stores, also when one fails; the first failure is raised.

        Raises:
            StoreClosedError: One has been closed before. Leaving `async with` after that raises nothing.
        """
        await finish_and_close(self._finish, self._close_inners)

    async def __aenter__(self) -> Self:
        for inner in self.inners:
            await inner.__aenter__()
        return self

    async def _close_inners(self) -> None:
        outcomes = await asyncio.gather(*[inner.aclose() for inner in self.inners], return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        for failure in sorted(failures, key=lambda failure: isinstance(failure, StoreClosedError)):
            raise failure

    def _bindings(self) -> dict[str, Callable[..., Any]]:
        """Refuse by name what is not written, and what some inner store cannot do."""
        bound = super()._bindings()
        for verb in SEAMS:
            if not self._has(verb):
                bound[verb] = self._ping_all if verb == "ping" else self._refusal(verb)
            elif verb in NEEDED and NEEDED[verb] not in self._dropped:
                bound[verb] = self._guarded(verb, bound.get(verb) or getattr(self, verb))
        return bound

    def _has(self, verb: str) -> bool:
        return self._overrides("_around") or not self._inherits(verb)

    async def _ping_all(self) -> None:
        await asyncio.gather(*[inner.ping() for inner in self.inners])

    def _guarded(self, operation: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            self._need(operation)
            return method(*arguments, **named)

        return call


async def gather_batch(
    store: object, operation: str, collection: str, parts: Sequence[tuple[Iterable[str], Awaitable[Any]]]
) -> list[Any]:
    """Await the parts of a batch, each with its keys, and return what each gave; failures are those of one batch.

    Raises:
        BatchError: Some parts failed, or some keys of them; what fails all parts alike is raised as it is.
    """
    if len(parts) == 1:
        return [await parts[0][1]]
    outcomes = await asyncio.gather(*[part for _, part in parts], return_exceptions=True)
    failed: dict[str, SatchelError] = {}
    for (keys, _), outcome in zip(parts, outcomes, strict=True):
        if isinstance(outcome, BatchError):
            failed |= outcome.failed
        elif isinstance(outcome, SatchelError):
            failed |= {key: outcome.again() for key in keys}
        elif isinstance(outcome, BaseException):
            raise outcome
    first = outcomes[0]
    if isinstance(first, SatchelError) and not isinstance(first, BatchError) and len(set(map(type, outcomes))) == 1:
        raise first
    if failed:
        raise batch_error(store, operation, collection, failed)
    return outcomes


async def with_own_values(call: Call) -> Call:
    """Return a call with copies of what it puts, so that several stores get the same, whatever the caller changes."""
    arguments, named = call.arguments, call.named
    if len(arguments) == 3:
        collection, key, value = arguments
        twin = copied_at_once(value)
        arguments = (collection, key, twin if twin is not None else await _own(value))
    elif type(call.key) is dict:
        arguments = (call.collection, await _own_items(call.items))
    elif "value" in named:
        named = named | {"value": await _own(named["value"])}
    return Call(call.function, arguments, named)


async def _own_items(items: Mapping[str, Any]) -> dict[str, Any]:
    own, room = dict(items), [AT_ONCE]
    # The caller may change values in a pause: what is small is copied before the first one.
    twins = {key: copied_at_once(value, room) for key, value in islice(own.items(), LONG)}
    turns = Yielder()
    for key, value in own.items():
        twin = twins.get(key)
        own[key] = twin if twin is not None else await _own(value)
        await turns.after_item()
    return own


async def _own(value: Any) -> Any:
    try:
        return await copied(value)
    except Exception:  # it is anybody's object: what cannot be copied, the stores refuse or take as it is
        return value
