"""`Memoized`: function whose calls are recorded, and that is awaited."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, overload

from msgspec import UNSET

from ..._single_flight import Made, terms
from ..._threads import in_thread
from ...caching.decorator import look_like
from ...errors import KeyMissingError
from .anything import ANY, AnyOf
from .base import LateCalls, MemoizedBase, lock_of
from .calls import Calls
from .query import Query
from .run import Asked, Ran, Run, Terms
from .target import CallTarget

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

_FOR_EVER = terms(None, None, None)


class Memoized(MemoizedBase[P, R]):
    """Function whose calls are recorded, as made by `memoize`: it is awaited.

    `inspect` and type checkers see the function's own name, docstring and signature; `__wrapped__` is the function.
    A `Digest` given as an argument stands for the saved value: it is loaded when the function is to run.
    """

    def __init__(self, calls: LateCalls, target: CallTarget, agreed: Terms) -> None:
        super().__init__(calls, target, agreed)
        look_like(self, target.function)

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the recorded result of this call, or run the function and record the call.

        Raises:
            DigestError, SerializationError: An argument has no digest or cannot be saved, and the function did not
                run; or it ran, and what it returned cannot be saved.
            Exception: What the function raised.
        """
        calls, asked = self._calls(), await self._asked_later(args, kwargs)
        flights = calls._flights
        since = flights.ended
        found = await calls._result_of(asked.key)
        if found is UNSET:
            found = await self._made(calls, asked, since)
        return cast("R", found)

    async def load(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the recorded result of a call.

        Raises:
            KeyMissingError: The call is not recorded, or its result is gone.
        """
        found = await self._calls()._result_of((await self._asked_later(args, kwargs)).key)
        if found is UNSET:
            raise KeyMissingError(f"no result of this call of {self.call_name} is recorded")
        return cast("R", found)

    async def contains(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Return whether a call is recorded, and its result is there."""
        return await self._calls().contains((await self._asked_later(args, kwargs)).key)

    async def rerun(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function even if the call is recorded, and record what it returns now."""
        ran = await self._run(self._calls(), await self._asked_later(args, kwargs))
        return cast("R", ran.result)

    def query(
        self,
        args: Mapping[str, Any] | AnyOf = ANY,
        *,
        result: Any = ANY,
        tags: Mapping[str, Any] | AnyOf = ANY,
        since: datetime | float | None = None,
    ) -> Query:
        """Return the recorded calls of this function that match, as `Calls.query` does; of all its versions."""
        return self._query(args, result, tags, since)

    async def _made(self, calls: Calls, asked: Asked, since: int) -> Any:
        """Return the result of a call that is not recorded; one run serves all that ask for it meanwhile."""
        own: list[Any] = []

        async def make() -> Made:
            ran = await self._run_once(calls, asked)
            own.append(ran.result)
            return Made(None if ran.is_recorded else Ran(ran.result, is_recorded=False), None, is_kept=False)

        async def trust(value: Any) -> bool:
            return type(value) is Ran or await calls.contains(asked.key)

        made = await calls._flights.make(calls.collection, asked.key, make, _FOR_EVER, since, trust)
        if own:
            return own[0]
        if type(made) is Ran:
            return copy.deepcopy(made.result)
        found = await calls._result_of(asked.key)
        return (await self._run(calls, asked)).result if found is UNSET else found

    async def _run_once(self, calls: Calls, asked: Asked) -> Ran:
        """Run the function, under a lock if there may be other processes, one of which may have recorded the call."""
        if not self._terms.across_processes:
            return await self._run(calls, asked)
        async with lock_of(calls, asked):
            found = await calls._result_of(asked.key)
            return await self._run(calls, asked) if found is UNSET else Ran(found, is_recorded=True)

    async def _run(self, calls: Calls, asked: Asked) -> Ran:
        run = Run(calls, self._target, asked, self._terms)
        await run.prepare(self._instance)
        try:
            if inspect.iscoroutinefunction(self._target.function):
                result = await self._target.call(run.arguments)
            else:
                result = await in_thread(self._target.call, run.arguments)
        except BaseException:
            run.fail()
            raise
        return await run.finish(result)

    @overload
    def __get__(self, instance: None, owner: type) -> Memoized[P, R]: ...
    @overload
    def __get__(
        self: Memoized[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> Memoized[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self._bound_to(instance)
