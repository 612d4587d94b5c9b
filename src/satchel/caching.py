"""`cached`: decorator that keeps the results of an async function in a store."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Coroutine, Iterable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from types import NoneType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload
from uuid import UUID
from zoneinfo import ZoneInfo

from ._annotations import result_model
from ._single_flight import SingleFlight, terms
from .clock import TTL
from .collection import Collection
from .errors import ConfigurationError, with_article
from .protocol import AsyncKeyValue

_PLAIN = frozenset({NoneType, bool, int, float, bytes, date, timedelta, Decimal, UUID})
"""No two values of these have the same `repr`, whatever their types."""

_HASH_MARK = "#"
_HASH_LENGTH = len(_HASH_MARK) + 64


class CallKeys:
    """Keys for the calls of one function.

    A key reads `module.qualname(argument=value, ...)`, with the arguments by the function's signature and the defaults
    filled in. One that is too long becomes its own beginning, `#` and the SHA-256 of the whole, and so does not end
    with `)` as the others do.

    Args:
        function: The function.
        limit: Function that returns the longest key, in UTF-8 bytes.
    """

    def __init__(self, function: Callable[..., Any], limit: Callable[[], int]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        self._limit = limit

    def key(self, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call.

        Raises:
            TypeError: The function does not take these arguments.
            ConfigurationError: An argument has no canonical form.
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        parts = [f"{name}={self._argument(name, value)}" for name, value in bound.arguments.items()]
        key = f"{self._name}({', '.join(parts)})"
        limit = self._limit()
        if len(key) * 4 <= limit or len(key.encode()) <= limit:
            return key
        digest = hashlib.sha256(key.encode()).hexdigest()
        return key.encode()[: max(0, limit - _HASH_LENGTH)].decode(errors="ignore") + _HASH_MARK + digest

    def _argument(self, name: str, value: object) -> str:
        try:
            return canonical(value)
        except _NoFormError as error:
            raise ConfigurationError(
                f"argument {name!r} of {self._name} holds {with_article(str(error))}, which cannot be part of a key; "
                "give cached(..., key=) a function that takes the same arguments and returns the key"
            ) from None
        except RecursionError:
            problem = "is nested too deeply, or contains itself"
        except ValueError:  # of more digits than `sys.set_int_max_str_digits` allows
            problem = "holds an int of too many digits"
        raise ConfigurationError(
            f"argument {name!r} of {self._name} {problem}, so it cannot be part of a key; "
            "give cached(..., key=) a function that takes the same arguments and returns the key"
        )


class _NoFormError(Exception):
    """Names the type that has no form."""


def canonical(value: object) -> str:
    """Return a text that is unique to a value, and the same for equal values of one type and order."""
    kind = type(value)
    if kind is str:
        return ascii(value)
    if kind in _PLAIN or (isinstance(value, datetime) and _is_plain(value)):
        return repr(value)
    if isinstance(value, Enum):
        # A flag of bits that have no name has none.
        name = canonical(value.value) if isinstance(value, Flag) else value.name
        return f"{kind.__module__}.{kind.__qualname__}.{name}"
    if kind is list or kind is tuple:
        inside = _joined(value)  # type: ignore[arg-type]  # mypy does not narrow by what a type is
        return f"[{inside}]" if kind is list else f"({inside},)"
    if kind is set or kind is frozenset:
        return f"{kind.__name__}{{{_joined(value, in_order=False)}}}"  # type: ignore[arg-type]  # as above
    if kind is dict:
        pairs = [f"{canonical(name)}: {canonical(item)}" for name, item in value.items()]  # type: ignore[attr-defined]  # as above
        return f"{{{', '.join(sorted(pairs))}}}"
    raise _NoFormError(f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))


def _joined(items: Iterable[object], *, in_order: bool = True) -> str:
    parts = [canonical(item) for item in items]
    return ", ".join(parts if in_order else sorted(parts))


def _is_plain(moment: datetime) -> bool:
    zone = moment.tzinfo
    named = type(zone) is ZoneInfo and zone.key is not None
    return type(moment) is datetime and (zone is None or type(zone) is timezone or named)


# mypy: disable-error-code="overload-overlap"
# Only a class as model determines the type of the results, on purpose.


__all__ = ["Cached", "cached"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")


@overload
def cached(
    store: AsyncKeyValue,
    collection: str,
    *,
    ttl: TTL | None = None,
    key: Callable[..., str] | None = None,
    stale: TTL | None = None,
    early: float | None = None,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Cached[P, R]]: ...
@overload
def cached(
    store: AsyncKeyValue,
    collection: str,
    *,
    ttl: TTL | None = None,
    key: Callable[..., str] | None = None,
    stale: TTL | None = None,
    early: float | None = None,
    model: type[R],
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Cached[P, R]]: ...
@overload
def cached(
    store: AsyncKeyValue,
    collection: str,
    *,
    ttl: TTL | None = None,
    key: Callable[..., str] | None = None,
    stale: TTL | None = None,
    early: float | None = None,
    model: object,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Cached[P, R]]: ...
def cached(
    store: AsyncKeyValue,
    collection: str,
    *,
    ttl: TTL | None = None,
    key: Callable[..., str] | None = None,
    stale: TTL | None = None,
    early: float | None = None,
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
        store: The store. With `stale` or `early` it must be a `SingleFlightWrapper`, which ends background refreshes
            when it closes.
        collection: The collection.
        ttl: After how many seconds, or what `timedelta`, a result expires; None for never.
        key: Function that takes the same arguments and returns the whole key; give each function its own collection
            then. If omitted, the key consists of the function's module and qualified name and all arguments: None,
            bool, int, float, str, bytes, enums, dates, datetimes, timedeltas, decimals, UUIDs, and lists, tuples, dicts
            and sets of them. It is required for other arguments, including a method's `self`.
        stale: Additional time for which a result is served while it is refreshed.
        early: Eagerness to refresh a result before its ttl ends; 1.0 is the best choice.
        model: Type of the results, as for a `Collection`. If omitted, the return annotation is used if it is more than
            plain JSON; `Any` for results that a store accepts as they are.

    Raises:
        ConfigurationError: Options contradict each other, `store` is not a store, or the annotated type cannot be kept.
        InvalidKeyError, InvalidTTLError: The collection or a time is not legal.
    """
    terms(ttl, stale, early)
    if key is not None and not callable(key):
        raise ConfigurationError(f"key must be a function that returns a key, got {type(key).__name__}")
    if inspect.iscoroutinefunction(key):
        raise ConfigurationError("key must be a plain function that returns a key, got an async one")
    Collection(store, collection, model=model)  # it refuses what is not legal
    if (stale is not None or early is not None) and not hasattr(store, "get_or_put"):
        raise ConfigurationError(
            f"stale and early refresh values in the background, which {store!r} would not stop when it closes; "
            "give cached a SingleFlightWrapper around it"
        )
    options = {"ttl": ttl, "stale": stale, "early": early}

    def decorate(function: Callable[P, Coroutine[Any, Any, Any]]) -> Cached[P, Any]:
        return Cached(function, store, _collection_for(function, store, collection, model), key, options)

    return decorate


def _collection_for(function: Any, store: AsyncKeyValue, name: str, model: Any) -> Collection[Any]:
    if model is not None:
        return Collection(store, name, model=model)
    return Collection(store, name, model=result_model(function))


class Cached(Generic[P, R]):
    """Async function whose results are kept, as made by `cached`.

    `inspect` and type checkers see the function's own name, docstring and signature; `__wrapped__` is the function.
    """

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        store: AsyncKeyValue,
        collection: Collection[Any],
        key: Callable[..., str] | None,
        options: dict[str, Any],
    ) -> None:
        if not inspect.iscoroutinefunction(function) or not hasattr(function, "__qualname__"):
            raise ConfigurationError(f"cached takes an async function, got an object of type {type(function).__name__}")
        functools.update_wrapper(self, function)
        _mark_as_async(self, function)
        self._instance: object = None
        self._function, self._collection, self._options = function, collection, options
        self._key = key or CallKeys(function, lambda: store.max_key_bytes).key
        flights: Any = store if hasattr(store, "get_or_put") else SingleFlight(store)
        self._get_or_put, self._delete = flights.get_or_put, flights.delete

    def __repr__(self) -> str:
        return f"<cached {self._function!r}>"

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the kept result for these arguments, or call the function and keep its result."""
        key = self._key(*args, **kwargs)

        async def make() -> Any:
            return await self._collection._dumped(key, await self._function(*args, **kwargs))

        plain = await self._get_or_put(self._collection.name, key, make, **self._options)
        return cast("R", await self._collection._loaded(key, plain))

    def key_for(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of a call with these arguments."""
        return self._key(*args, **kwargs)

    async def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments, even one being computed, and return whether there was one."""
        removed: bool = await self._delete(self._collection.name, self._key(*args, **kwargs))
        return removed

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
            "_instance": instance,
        }
        return bound

    def __reduce__(self) -> Any:
        """Pickle by name, as functions are, and a bound one as an attribute of its object; a copy is itself."""
        name = self._function.__name__
        return self._function.__qualname__ if self._instance is None else (getattr, (self._instance, name))


def _mark_as_async(wrapper: Any, function: Any) -> None:
    """Make `inspect.iscoroutinefunction` return True."""
    mark = getattr(inspect, "markcoroutinefunction", None)  # new in Python 3.12
    if mark is not None:
        mark(wrapper)
        return
    for name in ("__code__", "__defaults__", "__kwdefaults__"):  # Python 3.11 looks at the code of what has these
        setattr(wrapper, name, getattr(function, name))
