"""`memoize`: decorator that records the calls of a function, and runs it only for calls that are not recorded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from ..._checks import check_bool
from ...errors import ConfigurationError
from .base import LateCalls
from .calls import Calls
from .memoized import Memoized
from .metadata import MetadataSource, Tagging, check_sources, check_tags, runtime
from .run import Terms
from .target import CallTarget

if TYPE_CHECKING:
    from ...sync.store import SyncStore
    from .blocking import SyncMemoized

P = ParamSpec("P")
R = TypeVar("R")


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
        sync: The `SyncStore` with whose `inner` store `calls` was made.

    Raises:
        ConfigurationError: An option is not legal, or the function cannot be memoized.
    """
    _check_calls(calls)
    check_bool("isolate", isolate)
    check_bool("across_processes", across_processes)
    if inspect.iscoroutinefunction(tags):
        raise ConfigurationError("tags must be a plain function or a dict, got an async function")
    if not callable(tags):
        check_tags(tags or {})
    agreed = Terms(isolate, check_sources(metadata), tags, across_processes)

    def decorate(function: Callable[..., Any]) -> Any:
        _check_function(function)
        target = CallTarget(function, name=name, version=version, ignore=ignore)
        if sync is None:
            return Memoized(calls, target, agreed)
        from .blocking import SyncMemoized  # noqa: PLC0415  # needs threads, which few programs do

        return SyncMemoized(calls, target, agreed, sync)

    return decorate


def _check_calls(calls: Any) -> None:
    if isinstance(calls, Calls):
        return
    if not callable(calls) or inspect.iscoroutinefunction(calls):
        raise ConfigurationError(
            f"memoize takes Calls, or a plain function that returns them, got an object of type {type(calls).__name__}"
        )
    try:
        inspect.signature(calls).bind()
    except TypeError:
        raise ConfigurationError(
            "memoize takes Calls, or a function without arguments that returns them; write @memoize(calls)"
        ) from None
    except ValueError:  # a function in C may have no signature
        pass


def _check_function(function: Any) -> None:
    if isinstance(function, (staticmethod, classmethod)):
        raise ConfigurationError(f"put @{type(function).__name__} above @memoize, which takes the function itself")
    plain = inspect.unwrap(function) if callable(function) else function
    if not (inspect.isfunction(plain) or inspect.ismethod(plain)) or isinstance(function, (type, partial)):
        raise ConfigurationError(
            f"memoize takes a function that is written in Python, got an object of type {type(function).__name__}"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"{function.__name__} is a generator, whose items are gone once they are read; return a list"
        )
