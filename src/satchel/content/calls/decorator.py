"""`memoize`: decorator that records the calls of a function, and runs it only for calls that are not recorded."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

from msgspec import UNSET

from ..._single_flight import Made, terms
from ..._threads import in_thread
from ...caching.decorator import look_like
from ...coordination.lock import Lock
from ...errors import ConfigurationError, KeyMissingError
from ..walk import Digest
from .anything import ANY, AnyOf
from .calls import Calls
from .metadata import MetadataSource, Tagging, check_sources, runtime
from .query import Query
from .record import Call, check_tags
from .run import Asked, Ran, Run, Terms
from .target import Target
from .weighing import is_light

if TYPE_CHECKING:
    from ...sync.store import SyncStore
    from .blocking import SyncMemoized

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

LateCalls = Calls | Callable[[], Calls]
"""Recorded calls, or a function that returns them at each call."""

_FOR_EVER = terms(None, None, None)


class Decorator(Protocol):
    """What `memoize` returns: it takes an async function, or a plain one, which then runs in a worker thread."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Memoized[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Memoized[P, R]: ...


@overload
def memoize(
    calls: LateCalls,
    *,
    version: str | int | None = None,
    ignore: Iterable[str] = (),
    isolate: bool = True,
    name: str | None = None,
    tags: Tagging | None = None,
    metadata: Iterable[MetadataSource] = (runtime,),
    across_processes: bool = False,
    sync: SyncStore,
) -> Callable[[Callable[P, R]], SyncMemoized[P, R]]: ...
@overload
def memoize(
    calls: LateCalls,
    *,
    version: str | int | None = None,
    ignore: Iterable[str] = (),
    isolate: bool = True,
    name: str | None = None,
    tags: Tagging | None = None,
    metadata: Iterable[MetadataSource] = (runtime,),
    across_processes: bool = False,
    sync: None = None,
) -> Decorator: ...
def memoize(
    calls: LateCalls,
    *,
    version: str | int | None = None,
    ignore: Iterable[str] = (),
    isolate: bool = True,
    name: str | None = None,
    tags: Tagging | None = None,
    metadata: Iterable[MetadataSource] = (runtime,),
    across_processes: bool = False,
    sync: SyncStore | None = None,
) -> Any:
    """Record the calls of a function or method, and run it only for calls that are not recorded.

    A call is the same if the function has the same name and version and its arguments the same digests: keyword and
    positional arguments are the same, and defaults are filled in. What the function returns is kept, None included; an
    error is raised, and nothing is recorded. Concurrent first calls in a process run the function once.

    ```python
    from satchel import MemoryStore
    from satchel.content import Calls, ContentStore, memoize

    calls = Calls(ContentStore(MemoryStore()))

    @memoize(calls)
    async def area(width: int, height: int = 1) -> int:
        return width * height

    assert await area(2, 3) == 6
    assert await area(height=3, width=2) == 6      # from the record
    assert await area.contains(2, 3)
    ```

    The result is awaited, whether the function is async or plain: a plain one runs in a worker thread. With `sync`, a
    plain function stays plain, and runs in the thread of its caller.

    Args:
        calls: Where calls are recorded, or a plain function that returns it, which is called each time.
        version: Version of the function: change it when the function would return something else.
        ignore: Names of arguments that are no part of a call, such as a logger or a method's `self`.
        isolate: Whether the function gets copies of its arguments, so that it cannot change those of its caller. What
            is recorded is the same either way: arguments as they were before the call.
        name: Name of the function in the records. If omitted, its module and qualified name; a lambda, and a function
            that uses variables of a function around it, need one.
        tags: Tags of the calls, or a plain function that takes the same arguments and returns them.
        metadata: Sources of facts about each run, such as `runtime`, `environment`, `host` and `git`.
        across_processes: Whether concurrent first calls in several processes run the function once, too, by a lock in
            the store.
        sync: The `SyncStore` whose `inner` store `calls` uses.

    Raises:
        ConfigurationError: An option is not legal, or the function cannot be memoized.
    """
    if not isinstance(calls, Calls) and (not callable(calls) or inspect.iscoroutinefunction(calls)):
        raise ConfigurationError(
            f"memoize takes Calls, or a plain function that returns them, got an object of type {type(calls).__name__}"
        )
    if not callable(tags):
        check_tags(tags or {})
    agreed = Terms(isolate, check_sources(metadata), tags, across_processes)

    def decorate(function: Callable[..., Any]) -> Any:
        _check_function(function)
        target = Target(function, name=name, version=version, ignore=ignore)
        if sync is None:
            return Memoized(calls, target, agreed)
        from .blocking import SyncMemoized  # noqa: PLC0415  # needs threads, which few programs do

        return SyncMemoized(calls, target, agreed, sync)

    return decorate


class MemoizedBase(Generic[P, R]):
    """Base class of memoized functions.

    Args:
        calls: Where calls are recorded.
        target: The function.
        agreed: How they are recorded.
    """

    def __init__(self, calls: LateCalls, target: Target, agreed: Terms) -> None:
        self._given, self._target, self._terms = calls, target, agreed
        self._instance: Any = UNSET

    def __repr__(self) -> str:
        return f"<memoized {self._target.function!r}>"

    @property
    def call_name(self) -> str:
        """Name of the function in the records."""
        return self._target.name

    def digest(self, /, *args: P.args, **kwargs: P.kwargs) -> Digest:
        """Return the digest of a call, recorded or not.

        Raises:
            DigestError: An argument has no digest.
        """
        return Digest(self._asked(args, kwargs).key)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Return a call with the arguments that are part of it, defaults included, and without a result."""
        arguments = self._target.part(self._target.bind(self._with_instance(args), kwargs))
        return Call(self._target.name, arguments, None, self._target.version)

    def _calls(self) -> Calls:
        given = self._given
        if isinstance(given, Calls):
            return given
        found = given()
        if not isinstance(found, Calls):
            raise ConfigurationError(
                f"the function given to memoize must return Calls, got an object of type {type(found).__name__}"
            )
        return found

    def _asked(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Asked:
        target = self._target
        arguments = target.bind(self._with_instance(args), kwargs)
        digests = target.digests(arguments)
        return Asked(arguments, digests, target.key(digests))

    async def _asked_later(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Asked:
        """Do what `_asked` does, in a worker thread if it may take long."""
        target = self._target
        arguments = target.bind(self._with_instance(args), kwargs)
        if is_light(target.part(arguments).values()):
            digests = target.digests(arguments)
        else:
            digests = await in_thread(target.digests, arguments)
        return Asked(arguments, digests, target.key(digests))

    def _with_instance(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args if self._instance is UNSET else (self._instance, *args)

    def _query(
        self,
        args: Mapping[str, Any] | AnyOf,
        result: Any,
        tags: Mapping[str, Any] | AnyOf,
        since: datetime | float | None,
    ) -> Query:
        if self._instance is not UNSET and self._target.first in self._target.part({self._target.first: None}):
            args = {self._target.first: self._instance, **({} if args is ANY else args)}
        return self._calls().query(fn=self.call_name, args=args, result=result, tags=tags, since=since)

    def _bound_to(self, instance: object) -> Self:
        bound = object.__new__(type(self))
        bound.__dict__ = self.__dict__ | {"_instance": instance, "__wrapped__": self._target.function.__get__(instance)}
        return bound

    def __reduce__(self) -> Any:
        """Pickle by name, as functions are, and a bound one as an attribute of its object; a copy is itself."""
        function = self._target.function
        return function.__qualname__ if self._instance is UNSET else (getattr, (self._instance, function.__name__))


class Memoized(MemoizedBase[P, R]):
    """Function whose calls are recorded, as made by `memoize`: it is awaited.

    `inspect` and type checkers see the function's own name, docstring and signature; `__wrapped__` is the function.
    A `Digest` given as an argument stands for the saved value: it is loaded when the function is to run.
    """

    def __init__(self, calls: LateCalls, target: Target, agreed: Terms) -> None:
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
        flights = calls.flights
        since = flights.ended
        found = await calls.result_of(asked.key)
        if found is UNSET:
            found = await self._made(calls, asked, since)
        return cast("R", found)

    async def load(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the recorded result of a call.

        Raises:
            KeyMissingError: The call is not recorded, or its result is gone.
        """
        found = await self._calls().result_of((await self._asked_later(args, kwargs)).key)
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

        made = await calls.flights.make(calls.collection, asked.key, make, _FOR_EVER, since, trust)
        if own:
            return own[0]
        if type(made) is Ran:
            return copy.deepcopy(made.result)
        found = await calls.result_of(asked.key)
        return (await self._run(calls, asked)).result if found is UNSET else found

    async def _run_once(self, calls: Calls, asked: Asked) -> Ran:
        """Run the function, under a lock if there may be other processes, one of which may have recorded the call."""
        if not self._terms.across_processes:
            return await self._run(calls, asked)
        async with lock_of(calls, asked):
            found = await calls.result_of(asked.key)
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


def lock_of(calls: Calls, asked: Asked) -> Lock:
    """Return the lock that keeps other processes from running a call meanwhile."""
    return Lock(calls.content.store, asked.key, collection=f"{calls.collection}/locks", keep=0)


def _check_function(function: Any) -> None:
    if not callable(function) or not hasattr(function, "__name__") or isinstance(function, type):
        raise ConfigurationError(f"memoize takes a function, got an object of type {type(function).__name__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"{function.__name__} is a generator, whose items are gone once they are read; return a list"
        )
