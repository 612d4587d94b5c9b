"""`cached`: decorator that keeps the results of an async function in a store."""

# mypy: disable-error-code="overload-overlap"
# Only a class as model determines the type of the results, on purpose.

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, cast, overload

from msgspec import UNSET

from ..clock import TTL
from ..errors import ConfigurationError
from ..tags import TAGS
from .binding import Binding, Place
from .call import CachedCall
from .keys import CallKeys
from .options import LateStore, Lifetime, ResultTTL, check_plain, tag_names

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")


@overload
def cached(
    store: LateStore,
    collection: str,
    *,
    ttl: TTL | Callable[[R], TTL | None] | None = None,
    key: Callable[..., str] | None = None,
    ignore: Iterable[str] = (),
    stale: TTL | None = None,
    early: float | None = None,
    timeout: float | None = None,
    on_error: Literal["raise", "stale"] = "raise",
    when: Callable[[R], object] | None = None,
    tags: Callable[..., Iterable[str]] | None = None,
    tags_collection: str = TAGS,
    model: type[R],
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Cached[P, R]]: ...
@overload
def cached(
    store: LateStore,
    collection: str,
    *,
    ttl: TTL | ResultTTL | None = None,
    key: Callable[..., str] | None = None,
    ignore: Iterable[str] = (),
    stale: TTL | None = None,
    early: float | None = None,
    timeout: float | None = None,
    on_error: Literal["raise", "stale"] = "raise",
    when: Callable[[Any], object] | None = None,
    tags: Callable[..., Iterable[str]] | None = None,
    tags_collection: str = TAGS,
    model: object = None,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Cached[P, R]]: ...
def cached(
    store: LateStore,
    collection: str,
    *,
    ttl: TTL | ResultTTL | None = None,
    key: Callable[..., str] | None = None,
    ignore: Iterable[str] = (),
    stale: TTL | None = None,
    early: float | None = None,
    timeout: float | None = None,
    on_error: Literal["raise", "stale"] = "raise",
    when: Callable[[Any], object] | None = None,
    tags: Callable[..., Iterable[str]] | None = None,
    tags_collection: str = TAGS,
    model: Any = None,
) -> Callable[[Callable[P, Coroutine[Any, Any, Any]]], Cached[P, Any]]:
    """Keep the results of an async function or method in a store, and call it only for missing results.

    Concurrent calls for the same key run the function once. A result of None is kept like any other. An error is not
    kept: it is raised for all waiting callers, and the next call runs the function again. Errors, `stale` and `early`
    are as in `SingleFlightWrapper.get_or_put`.

    ```python
    from satchel import MemoryStore

    store = MemoryStore()

    @cached(store, "films", ttl=3600)
    async def film(number: int) -> dict[str, str]:
        return {"title": f"Film {number}"}

    await film(7)
    await film.invalidate(number=7)
    ```

    Args:
        store: The store, or a plain function that returns it, which is called each time. With `stale`, `early` or
            `timeout` it must be a `SingleFlightWrapper`, which ends work in the background when it closes; what a
            function returns is not checked for that.
        collection: The collection.
        ttl: After how many seconds, or what `timedelta`, a result expires; None for never; or a plain function of the
            result that returns one of these.
        key: Function that takes the same arguments and returns the whole key; give each function its own collection
            then. If omitted, the key consists of the function's module and qualified name and all arguments: None,
            bool, int, float, str, bytes, enums, dates, datetimes, timedeltas, decimals, UUIDs, and lists, tuples, dicts
            and sets of them. Other arguments, including a method's `self`, need `key` or `ignore`.
        ignore: Names of arguments that are not part of the key, such as a method's `self`.
        stale: Additional time for which a result is served while it is refreshed.
        early: Eagerness to refresh a result before its ttl ends; 1.0 is the best choice.
        timeout: Seconds for which a call waits for the function. The function goes on, and its result is kept.
        on_error: What to do in the time of `stale`: with "raise" the result is served at once, and refreshed in the
            background; with "stale" the function is called first, and the result is served only if it fails or takes
            longer than `timeout`.
        when: Plain function of the result that returns whether to keep it.
        tags: Function that takes the same arguments and returns the tags of the result, for `Tags.invalidate`.
        tags_collection: The collection that holds the tags.
        model: Type of the results, as for a `Collection`. If omitted, the return annotation is used if it is more than
            plain JSON; `Any` for results that a store accepts as they are.

    Raises:
        ConfigurationError: Options contradict each other, `store` is not a store, or the annotated type cannot be kept.
        InvalidKeyError, InvalidTTLError: The collection or a time is not legal.
        UnsupportedOperationError: There are tags, and the store has no conditional writes.
    """
    lifetime = Lifetime(ttl, when, stale, early, timeout, on_error)
    check_key(key)
    check_plain("tags", tags)
    ignored = ignored_names(ignore, key)
    in_background = not (stale is None and early is None and timeout is None)
    given = None if tags is None else tags_collection

    def bind() -> Binding:
        return Binding(store, collection, given, in_background=in_background)

    bind().use_model(None, Any if model is None else model)  # it refuses what is not legal

    def decorate(function: Callable[P, Coroutine[Any, Any, Any]]) -> Cached[P, Any]:
        check_async(function, "cached")
        binding = bind()
        binding.use_model(function, model)
        make_key = key or CallKeys(function, binding.max_key_bytes, ignored).key
        return Cached(function, binding, make_key, lifetime, tags)

    return decorate


def check_key(key: object) -> None:
    """Raise ConfigurationError unless the option `key` is a plain function or None."""
    if key is not None and not callable(key):
        raise ConfigurationError(f"key must be a function that returns a key, got {type(key).__name__}")
    if inspect.iscoroutinefunction(key):
        raise ConfigurationError("key must be a plain function that returns a key, got an async one")


def ignored_names(ignore: Iterable[str], key: object) -> frozenset[str]:
    """Return the names of arguments that are not part of the key.

    Raises:
        ConfigurationError: It is no list of texts, or there is a function for the key.
    """
    if isinstance(ignore, str):
        raise ConfigurationError(f"ignore must be a list of names, got one str; write ignore=({ignore!r},)")
    listed = list(ignore) if isinstance(ignore, Iterable) else [ignore]
    if not all(isinstance(name, str) for name in listed):
        raise ConfigurationError("ignore must be a list of names, each a str")
    names = frozenset(listed)
    if names and key is not None:
        raise ConfigurationError("ignore and key contradict each other: give one of them")
    return names


def check_async(function: Any, decorator: str) -> None:
    """Raise ConfigurationError unless a decorated object is an async function."""
    if not inspect.iscoroutinefunction(function) or not hasattr(function, "__qualname__"):
        raise ConfigurationError(
            f"{decorator} takes an async function, got an object of type {type(function).__name__}"
        )


class Cached(Generic[P, R]):
    """Async function whose results are kept, as made by `cached`.

    `inspect` and type checkers see the function's own name, docstring and signature; `__wrapped__` is the function.
    """

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        binding: Binding,
        key: Callable[..., str],
        lifetime: Lifetime,
        tags: Callable[..., Iterable[str]] | None,
    ) -> None:
        look_like(self, function)
        self._instance: object = None
        self._function, self._binding, self._key = function, binding, key
        self._lifetime, self._tags = lifetime, tags
        self._is_plain = tags is None and not lifetime.policy.stale and lifetime.policy.early is None

    def __repr__(self) -> str:
        return f"<cached {self._function!r}>"

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the kept result for these arguments, or call the function and keep its result.

        Raises:
            TimeoutError: The function took longer than `timeout`, and there is no stale result to serve.
            Exception: What the function raised.
        """
        place = self._binding.place()
        name, policy = place.collection.name, self._lifetime.policy
        if self._is_plain:  # as most are: a hit needs nothing but this
            key, since = self._key(*args, **kwargs), place.flights.ended
            kept = await place.store.get(name, key, UNSET)
            if kept is UNSET:
                make = self._call_with(place, args, kwargs, key).make
                kept = await place.flights.make(name, key, make, policy, since)
            return cast("R", await place.collection._loaded(key, kept))
        call = self._call_with(place, args, kwargs)
        kept = await place.flights.get_or_make(name, call.key, call.make, policy, call.trust)
        return cast("R", await call.result(kept))

    async def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function now, replace the kept result, and return the new one.

        A call of the function that is running is not joined, and its result is not kept.
        """
        place = self._binding.place()
        call = self._call_with(place, args, kwargs)
        kept = await place.flights.refresh(place.collection.name, call.key, call.make, self._lifetime.policy)
        return cast("R", await call.result(kept))

    async def peek(self, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Return the kept result without calling the function; None if there is none, or if it is None."""
        place = self._binding.place()
        call = self._call_with(place, args, kwargs)
        kept = await place.store.get(place.collection.name, call.key, UNSET)
        if kept is UNSET or not (place.tags is None or await call.is_good(kept)):
            return None
        return cast("R", await call.result(kept))

    def key_for(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of a call with these arguments."""
        return self._key(*args, **kwargs)

    async def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments, even one being computed, and return whether there was one."""
        place = self._binding.place()
        return await place.flights.delete(place.collection.name, self._key(*args, **kwargs))

    def _call_with(
        self, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any], key: str | None = None
    ) -> CachedCall:
        tags = () if self._tags is None else tag_names(self._tags, *args, **kwargs)
        function = functools.partial(self._function, *args, **kwargs)
        return CachedCall(place, key or self._key(*args, **kwargs), tags, self._lifetime, function)

    @overload
    def __get__(self, instance: None, owner: type) -> Cached[P, R]: ...
    @overload
    def __get__(self: Cached[Concatenate[Any, Q], R], instance: object, owner: type | None = None) -> Cached[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self._bound_to(instance)

    def _bound_to(self, instance: object) -> Cached[..., R]:
        bound = object.__new__(type(self))
        method = self._function.__get__(instance)
        bound.__dict__ = self.__dict__ | {
            "_function": method,
            "__wrapped__": method,
            "_key": functools.partial(self._key, instance),
            "_tags": None if self._tags is None else functools.partial(self._tags, instance),
            "_instance": instance,
        }
        return bound

    def __reduce__(self) -> Any:
        """Pickle by name, as functions are, and a bound one as an attribute of its object; a copy is itself."""
        name = self._function.__name__
        return self._function.__qualname__ if self._instance is None else (getattr, (self._instance, name))


def look_like(wrapper: Any, function: Any) -> None:
    """Give a decorated function the name, docstring and signature of the function itself."""
    functools.update_wrapper(wrapper, function)
    wrapper.__globals__ = inspect.unwrap(function).__globals__  # there annotations that are texts are looked up
    _mark_as_async(wrapper, function)


def _mark_as_async(wrapper: Any, function: Any) -> None:
    """Make `inspect.iscoroutinefunction` return True."""
    mark = getattr(inspect, "markcoroutinefunction", None)  # new in Python 3.12
    if mark is not None:
        mark(wrapper)
        return
    plain = inspect.unwrap(function)
    for name in ("__defaults__", "__kwdefaults__"):  # Python 3.11 looks at the code of what has these
        setattr(wrapper, name, getattr(plain, name))
    wrapper.__code__ = plain.__code__.replace(co_flags=plain.__code__.co_flags | inspect.CO_COROUTINE)
