"""`CallTarget`: a function that is memoized, its name, and what of its arguments makes the digest of a call."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..._threads import in_thread
from ...caching.decorator import ignored_names
from ...errors import ConfigurationError, DigestError
from ..digest import digest_bytes
from ..walk import Digest
from .record import CallDigests, check_target
from .weighing import is_light

R = TypeVar("R")
Digests = dict[str, bytes]
"""Digests of the arguments of a call, by name, as 32 bytes."""


class CallTarget:
    """Function that is memoized.

    Args:
        function: The function.
        name: Its name in the records; None for its module and qualified name.
        version: Its version.
        ignore: Names of the arguments that are no part of a call.

    Attributes:
        function: The function.
        name: Its name in the records.
        version: Its version.
        first: Name of its first argument, which is a method's own object; empty without arguments.

    Raises:
        ConfigurationError: It is no function whose calls can be recorded, its name does not tell it from others, or it
            has no argument of an ignored name.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None,
        version: str | int | None,
        ignore: Iterable[str],
    ) -> None:
        self.function, self.version = function, version
        self.name = _name_of(function) if name is None else name
        check_target(self.name, version)
        self._signature = inspect.signature(function)
        self._ignored = ignored_names(ignore, None)
        parameters = self._signature.parameters
        for ignored in self._ignored:
            if ignored not in parameters:
                raise ConfigurationError(f"ignore names {ignored!r}, which is no argument of {self.name}")
        kinds = {name: parameter.kind for name, parameter in parameters.items()}
        self._lists = tuple(name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL)
        self._dicts = tuple(name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_KEYWORD)
        self._digests = CallDigests(self.name, version, parameters)
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._positional = tuple(name for name, kind in kinds.items() if kind in positional)
        self._by_keyword = frozenset(
            name for name, kind in kinds.items() if kind is not inspect.Parameter.POSITIONAL_ONLY
        ) - {*self._lists, *self._dicts}
        self._defaults = {
            name: parameter.default
            for name, parameter in parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        self._length = len(parameters)
        self.first = next(iter(parameters), "")

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name, with the defaults filled in.

        Raises:
            TypeError: The function does not take these arguments.
        """
        # What `inspect` does takes five times as long; it takes what is not as simple as most calls, and refuses.
        if len(args) <= len(self._positional):
            arguments = dict(zip(self._positional, args, strict=False))
            if not kwargs or (self._by_keyword.issuperset(kwargs) and arguments.keys().isdisjoint(kwargs)):
                arguments = {**self._defaults, **arguments, **kwargs}
                if len(arguments) == self._length:
                    return arguments
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def part(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that are part of the call."""
        return {name: value for name, value in arguments.items() if name not in self._ignored}

    def digests(self, arguments: Mapping[str, Any]) -> Digests:
        """Return the digests of the arguments that are part of the call.

        Raises:
            DigestError: An argument has no digest; the message names it, and the path within it.
        """
        found: Digests = {}
        for name, value in arguments.items():
            if name not in self._ignored:
                try:
                    found[name] = digest_bytes(value)
                except DigestError as error:
                    raise self._refused(name, error) from None
        return found

    def key(self, digests: Digests) -> str:
        """Return the digest of a call."""
        return self._digests.digest(digests)

    def bound(self, arguments: dict[str, Any]) -> inspect.BoundArguments:
        """Return the arguments as the function takes them."""
        return inspect.BoundArguments(self._signature, arguments)

    def call(self, arguments: dict[str, Any]) -> Any:
        """Call the function, and return what it returns."""
        bound = self.bound(arguments)
        return self.function(*bound.args, **bound.kwargs)

    async def filled(self, arguments: Mapping[str, Any], load: Callable[[Digest], Awaitable[Any]]) -> dict[str, Any]:
        """Return the arguments with values in place of digests.

        Raises:
            ConfigurationError: A digest is within an argument, where no value is filled in.
            KeyMissingError: The value of a digest is not saved.
        """

        async def value_of(given: Any) -> Any:
            return await load(given) if isinstance(given, Digest) else given

        filled = dict(arguments)
        for name, given in self.part(arguments).items():
            if name in self._lists:
                filled[name] = tuple([await value_of(item) for item in given])
            elif name in self._dicts:
                filled[name] = {key: await value_of(item) for key, item in given.items()}
            else:
                filled[name] = await value_of(given)
            if await _call(_holds_digest, filled[name]):
                raise ConfigurationError(
                    f"argument {name!r} of {self.name} holds a Digest, which the function would get in place of its "
                    "value; load it first, or pass it as an argument of its own"
                )
        return filled

    def _refused(self, name: str, error: DigestError) -> DigestError:
        return DigestError(
            f"{error.reason}; leave the argument out with ignore= if the result of {self.name} does not depend on it",
            path=f"{name}{error.path.removeprefix('$')}",
        )


async def _call(function: Callable[[Any], R], value: Any) -> R:
    """Return what a function returns for a value; it is called in a worker thread if the value is large."""
    return function(value) if is_light([value]) else await in_thread(function, value)


def _holds_digest(value: object) -> bool:
    left, seen = [value], set[int]()
    while left:
        item = left.pop()
        if isinstance(item, Digest):
            return True
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (list, tuple, set, frozenset)):
            left += item
        elif isinstance(item, dict):
            left += [*item, *item.values()]
        elif not callable(item):
            left += getattr(item, "__dict__", {}).values()
            left += [getattr(item, name, None) for name in getattr(item, "__slots__", ())]
    return False


def _name_of(function: Callable[..., Any]) -> str:
    """Return the module and qualified name of a function.

    Raises:
        ConfigurationError: Other functions have the same.
    """
    name = function.__qualname__
    plain = inspect.unwrap(function)
    if inspect.ismethod(function) or inspect.ismethod(plain):
        raise ConfigurationError(
            f"{name} is bound to an object, which is no part of its calls: decorate the method in its class, or give "
            "name= if the object makes no difference to the result"
        )
    # `super()` uses `__class__`, which the qualified name tells already.
    closed_over = [name for name in plain.__code__.co_freevars if name != "__class__"]
    if closed_over:
        raise ConfigurationError(
            f"{name} uses {closed_over[0]!r} of the function around it, which is no part of its calls: make that an "
            "argument, or give name= if it makes no difference to the result"
        )
    if plain.__name__ == "<lambda>":
        raise ConfigurationError("a lambda has no name of its own; give it one with memoize(..., name=)")
    return f"{_module_of(function)}.{name}"


def _module_of(function: Callable[..., Any]) -> str:
    """Return the module of a function; that of a script is the same whether it is run or imported."""
    module = function.__module__
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name.removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return module if file is None else Path(file).stem
