"""`SyncMemoized`: plain function whose calls are recorded over a `SyncStore`, called without `await`."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, overload

from msgspec import UNSET

from ...errors import ConfigurationError, KeyMissingError
from ...sync.face import in_sync
from ...sync.store import SyncStore
from .anything import ANY, AnyOf
from .base import LateCalls, MemoizedBase, lock_of
from .calls import Calls
from .flights import ThreadFlights
from .run import Asked, Ran, Run, Terms
from .target import CallTarget

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")


class SyncMemoized(MemoizedBase[P, R]):
    """Plain function whose calls are recorded over a `SyncStore`, as made by `memoize(..., sync=)`.

    It blocks while the store is asked, and the function runs in the thread of its caller. Threads that make the same
    first call wait for one of them to run it.
    """

    def __init__(self, calls: LateCalls, target: CallTarget, agreed: Terms, sync: SyncStore) -> None:
        if not isinstance(sync, SyncStore):
            raise ConfigurationError(f"sync takes a SyncStore, got an object of type {type(sync).__name__}")
        if inspect.iscoroutinefunction(target.function):
            raise ConfigurationError(
                f"{target.name} is async, so it must be awaited: leave sync= out, or make it a plain function"
            )
        if isinstance(calls, Calls) and calls.content.store is not sync.inner:
            raise ConfigurationError(f"{calls!r} are over another store than {sync!r}; make them with sync.inner")
        super().__init__(calls, target, agreed)
        functools.update_wrapper(self, target.function)
        self._sync, self._flights = sync, ThreadFlights[Ran](target.name)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the recorded result of this call, or run the function and record the call.

        Raises:
            DigestError, SerializationError: An argument has no digest or cannot be saved, and the function did not
                run; or it ran, and what it returned cannot be saved.
            Exception: What the function raised.
        """
        calls, asked = self._calls(), self._asked(args, kwargs)
        found = self._wait(calls._result_of, asked.key)
        while found is UNSET:
            with self._flights.lead(asked.key) as land:
                if land is not None:
                    ran = self._run_once(calls, asked)
                    land(ran)
                    found = ran.result
            if land is None:
                ended = self._flights.wait(asked.key)
                if ended is None or ended.is_recorded:
                    found = self._wait(calls._result_of, asked.key)
                else:
                    found = copy.deepcopy(ended.result)
        return cast("R", found)

    def load(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the recorded result of a call.

        Raises:
            KeyMissingError: The call is not recorded, or its result is gone.
        """
        found = self._wait(self._calls()._result_of, self._asked(args, kwargs).key)
        if found is UNSET:
            raise KeyMissingError(f"no result of this call of {self.call_name} is recorded")
        return cast("R", found)

    def contains(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Return whether a call is recorded, and its result is there."""
        return self._wait(self._calls().contains, self._asked(args, kwargs).key)

    def rerun(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function even if the call is recorded, and record what it returns now."""
        return cast("R", self._run(self._calls(), self._asked(args, kwargs)).result)

    def query(
        self,
        args: Mapping[str, Any] | AnyOf = ANY,
        *,
        result: Any = ANY,
        tags: Mapping[str, Any] | AnyOf = ANY,
        since: datetime | float | None = None,
    ) -> Any:
        """Return the blocking face of a `Query` of the recorded calls of this function, of all its versions."""
        return in_sync(self._query(args, result, tags, since), self._sync)

    def _wait(self, function: Callable[Q, Coroutine[Any, Any, T]], *args: Q.args, **kwargs: Q.kwargs) -> T:
        return self._sync._thread.carry_out(self.call_name, functools.partial(function, *args, **kwargs))

    def _run_once(self, calls: Calls, asked: Asked) -> Ran:
        """Run the function, unless another thread or process has just recorded the call."""
        lock = in_sync(lock_of(calls, asked), self._sync) if self._terms.across_processes else nullcontext()
        with lock:
            found = self._wait(calls._result_of, asked.key)
            return self._run(calls, asked) if found is UNSET else Ran(found, is_recorded=True)

    def _run(self, calls: Calls, asked: Asked) -> Ran:
        run = Run(calls, self._target, asked, self._terms)
        self._wait(run.prepare, self._instance)
        try:
            result = self._target.call(run.arguments)
        except BaseException:
            run.fail()
            raise
        return self._wait(run.finish, result)

    @overload
    def __get__(self, instance: None, owner: type) -> SyncMemoized[P, R]: ...
    @overload
    def __get__(
        self: SyncMemoized[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> SyncMemoized[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self._bound_to(instance)
