"""`in_sync`: a blocking face of any object that uses the store of a `SyncStore`."""

# mypy: disable-error-code="overload-overlap"
# The overload for functions is deliberately more precise than the one for objects.

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload

from ..collection import Collection
from ..errors import ConfigurationError
from .collection import Listing, SyncCollection
from .entered import Entered
from .store import SyncStore
from .thread import LoopThread

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@overload
def in_sync(thing: Collection[T], store: SyncStore) -> SyncCollection[T]: ...
@overload
def in_sync(thing: Callable[P, Coroutine[Any, Any, R]], store: SyncStore) -> Callable[P, R]: ...
@overload
def in_sync(
    thing: Callable[P, AbstractAsyncContextManager[R]], store: SyncStore
) -> Callable[P, AbstractContextManager[R]]: ...
@overload
def in_sync(thing: Callable[P, AsyncIterator[R]], store: SyncStore) -> Callable[P, Iterator[R]]: ...
@overload
def in_sync(thing: AsyncIterator[R], store: SyncStore) -> Iterator[R]: ...
@overload
def in_sync(thing: object, store: SyncStore) -> Any: ...
def in_sync(thing: Any, store: SyncStore) -> Any:
    """Return a blocking face of a lock, counter, collection or any other object that uses a store.

    Async methods become blocking, async context managers work with `with`, async iterators with `for`; everything else
    is unchanged. Everything runs on the event loop of the `SyncStore`, as its own calls do. A type checker knows the
    types of a collection and of a function, such as one method; the methods of other objects are `Any`.

    ```python
    from satchel.coordination import Counter
    from satchel.sync import SyncStore, in_sync

    with SyncStore("memory://") as store:
        visits = in_sync(Counter(store.inner, "visits"), store)
        visits.increment()
    ```

    Args:
        thing: The object, made with `store.inner`, or a function or method.
        store: The `SyncStore`.

    Raises:
        ConfigurationError: The store is not a `SyncStore`, or the thing is a store or awaitable itself.
    """
    if not isinstance(store, SyncStore):
        raise ConfigurationError(f"in_sync takes the SyncStore as its second argument, got {type(store).__name__}")
    if isinstance(thing, Collection):
        return SyncCollection(store, thing)
    if thing is store.inner or isinstance(thing, SyncStore):
        raise ConfigurationError("the face of a store is the SyncStore itself")
    if inspect.isawaitable(thing) and not hasattr(type(thing), "__aenter__"):  # blobs can be awaited to open them
        if inspect.iscoroutine(thing):
            thing.close()
        raise ConfigurationError("in_sync takes a function, not its result: in_sync(function, store)(...)")
    return _faced(thing, store._thread)


class Face:
    """Blocking face of an object, as made by `in_sync`."""

    def __init__(self, thing: Any, thread: LoopThread) -> None:
        self._thing, self._thread = thing, thread
        self._entered: list[Entered] = []

    def __repr__(self) -> str:
        return f"in_sync({self._thing!r})"

    def __getattr__(self, name: str) -> Any:
        if isinstance(getattr(type(self._thing), name, None), property):  # it may use the running loop
            return _function(getattr, self._thread)(self._thing, name)
        return _faced(getattr(self._thing, name), self._thread)

    def __call__(self, /, *arguments: Any, **named: Any) -> Any:
        """Call the object, and return the blocking face of its result."""
        return _function(self._thing, self._thread)(*arguments, **named)

    def __enter__(self) -> Any:
        if not hasattr(type(self._thing), "__aenter__"):
            raise TypeError(
                f"{self!r} cannot be used in `with`: {type(self._thing).__name__} is not an async context manager"
            )
        entered = Entered(self._thing)
        value = self._thread.carry_out("__aenter__", entered.enter)
        self._entered.append(entered)
        return self if value is self._thing else _faced(value, self._thread)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        entered = self._entered.pop()
        return self._thread.carry_out("__aexit__", functools.partial(entered.leave, kind, error, trace))

    def __iter__(self) -> Iterator[Any]:
        if not hasattr(type(self._thing), "__aiter__"):
            raise TypeError(f"{self!r} cannot be used in `for`: {type(self._thing).__name__} is not an async iterator")
        return _listed(aiter(self._thing), self._thread)


def _faced(value: Any, thread: LoopThread) -> Any:
    """Return the blocking face of an async object; anything else unchanged."""
    if isinstance(value, AsyncIterator):
        return _listed(value, thread)
    if _is_async(type(value)):  # a cached function too, which has methods of its own
        return Face(value, thread)
    return _function(value, thread) if inspect.isroutine(value) else value


def _is_async(kind: type) -> bool:
    """Return whether objects of a class have async methods."""
    if kind.__module__ == "builtins" or issubclass(kind, type):
        return False
    members = [item for owner in kind.__mro__ for item in vars(owner).items()]
    return (
        hasattr(kind, "__aenter__")
        or hasattr(kind, "__aiter__")
        or any(
            inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
            for name, member in members
            if not name.startswith("_") or name == "__call__"
        )
    )


def _function(function: Any, thread: LoopThread) -> Callable[..., Any]:
    name = getattr(function, "__name__", "call")

    async def run(*arguments: Any, **named: Any) -> Any:
        value = function(*arguments, **named)  # plain functions run on the loop too: they may use the running loop
        return await value if inspect.isawaitable(value) else value

    def call(*arguments: Any, **named: Any) -> Any:
        return _faced(thread.carry_out(name, functools.partial(run, *arguments, **named)), thread)

    return functools.wraps(function)(call) if hasattr(function, "__name__") else call


def _listed(items: AsyncIterator[Any], thread: LoopThread) -> Iterator[Any]:
    """Iterate over an async iterator one step at a time: a page would wait for later items. Async items get a face."""
    listing = Listing(items, size=1)
    try:
        while page := thread.carry_out("__anext__", listing.page):
            for item in page:
                yield _faced(item, thread)
    finally:
        thread.post(listing.close)
