"""What memoized functions have in common, whether they are awaited or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Generic, ParamSpec, Self, TypeVar

from msgspec import UNSET

from ..._threads import in_thread
from ...coordination.lock import Lock
from ...errors import ConfigurationError
from ..digest import digest as digest_of
from ..walk import Digest
from .anything import ANY, AnyOf
from .calls import Calls
from .query import Query
from .record import FunctionCall
from .run import Asked, Terms
from .target import CallTarget
from .weighing import is_light

P = ParamSpec("P")
R = TypeVar("R")

LateCalls = Calls | Callable[[], Calls]
"""Recorded calls, or a function that returns them at each call."""


class MemoizedBase(Generic[P, R]):
    """Base class of memoized functions.

    Args:
        calls: Where calls are recorded.
        target: The function.
        agreed: How they are recorded.
    """

    __wrapped__: Callable[..., Any]

    def __init__(self, calls: LateCalls, target: CallTarget, agreed: Terms) -> None:
        self._given, self._target, self._terms = calls, target, agreed
        self._instance: Any = UNSET

    def __repr__(self) -> str:
        return f"<memoized {self._target.function!r}>"

    def __digest__(self) -> Digest:
        """Return the digest of the function itself: to memoize it does not change what it returns."""
        return digest_of(self.__wrapped__)

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

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> FunctionCall:
        """Return a call with the arguments that are part of it, defaults included, and without a result."""
        arguments = self._target.part(self._target.bind(self._with_instance(args), kwargs))
        return FunctionCall(self._target.name, arguments, None, self._target.version)

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


def lock_of(calls: Calls, asked: Asked) -> Lock:
    """Return the lock that keeps other processes from running a call meanwhile."""
    return Lock(calls.content.store, asked.key, collection=f"{calls.collection}/locks", keep=0)
