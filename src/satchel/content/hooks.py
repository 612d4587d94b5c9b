"""Hooks: what stands for the values of a class that has no rule of its own.

A hook is found by `register_hook`, by the method `__digest__` of the class, or by an entry point of another package.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import RLock, local
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ConfigurationError, DigestError
from .builtin import BUILT_IN
from .functions import FUNCTIONS
from .walk import Digest, Rule, Walk, digest_of_type

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
GROUP = "satchel.digests"
"""The group of entry points; the name of each is the top-level package whose types it has hooks for."""

FIXED: dict[type, Rule] = {**BUILT_IN, **FUNCTIONS, Digest: lambda value, _: bytes.fromhex(value)}
"""The rules of the types that no hook changes."""

changing = RLock()
"""Held while hooks are registered or looked for."""
_hooks: dict[type, Callable[[Any], object]] = {}
_on_change: list[Callable[[], None]] = []
_asked: set[str] = set()
_running = local()


def register_hook(kind: type[T], function: Callable[[T], object]) -> None:
    """Give the values of a class, and of classes derived from it, digests.

    The digest of such a value is made of the name of its class and of what the function returns. If that is a `Digest`,
    it is the digest itself. A class's own `__digest__` does the same for values whose class is your own. A later hook
    for the same class replaces the earlier one.

    Args:
        kind: The class.
        function: Returns what stands for a value: anything that has a digest, and that is equal for equal values only.

    Raises:
        ConfigurationError: The class is one of Python's with a digest that is fixed.
    """
    if not isinstance(kind, type):
        raise ConfigurationError("a digest hook is registered for a class")
    if kind in FIXED or kind is object:
        raise ConfigurationError(f"the digests of {kind.__name__} are fixed; register a hook for a class of your own")
    if not callable(function):
        raise ConfigurationError(f"the digest hook of {kind.__name__} is not callable")
    with changing:
        _hooks[kind] = function
        for react in _on_change:
            react()


def on_change(react: Callable[[], None]) -> None:
    """Call a function whenever a hook is registered."""
    _on_change.append(react)


def rule_by_hook(kind: type) -> Rule | None:
    """Return the rule by the hook of a class, or of the nearest class that it is derived from; None without a hook."""
    for base in kind.__mro__:
        _ask_package(base.__module__.partition(".")[0])
    for base in kind.__mro__[:-1]:
        function = _hooks.get(base)
        if function is None and "__digest__" in vars(base):
            function = _call_method
        if function is not None:
            return _rule(function)
    return None


def _call_method(value: Any) -> object:
    return value.__digest__()


def _rule(function: Callable[[Any], object]) -> Rule:
    def rule(value: object, walk: Walk) -> bytes:
        stand_in = _call(function, value)
        if type(stand_in) is Digest:
            return bytes.fromhex(stand_in)
        return walk.descend(value, lambda _, __: b"hook:" + digest_of_type(type(value)) + walk.digest(stand_in))

    return rule


def _call(function: Callable[[Any], object], value: object) -> object:
    _running.depth = getattr(_running, "depth", 0) + 1
    try:
        return function(value)
    except DigestError as error:
        raise DigestError(error.reason) from error
    except Exception as error:
        name = type(value).__name__
        raise DigestError(f"the digest hook of {name} raised {type(error).__name__}") from error
    finally:
        _running.depth -= 1


def is_in_hook() -> bool:
    """Return whether this thread is running a hook."""
    return getattr(_running, "depth", 0) > 0


def _ask_package(name: str) -> None:
    """Load the hooks that other packages have for the types of a package, once."""
    if name in _asked or name == "builtins":
        return
    for point in installed_hooks():
        if point.name == name:
            _load(point)
    _asked.add(name)


def _load(point: EntryPoint) -> None:
    try:
        point.load()()
    except Exception as error:
        raise ConfigurationError(
            f"{point.value}, which the entry point {point.name} of {GROUP} names, failed: {type(error).__name__}"
        ) from error


@cache
def installed_hooks() -> tuple[EntryPoint, ...]:
    """Return the entry points of all packages. They are looked for once, as modules are when they are imported."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # it takes long to import, and few need it

    return tuple(entry_points(group=GROUP))
