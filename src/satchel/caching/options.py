"""Options of cached functions: checked when a function is decorated, and applied to its results."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from .._checks import check_choice, check_seconds
from .._single_flight import Made, terms
from ..clock import TTL, seconds
from ..errors import ConfigurationError
from ..protocol import AsyncKeyValue

LateStore = AsyncKeyValue | Callable[[], AsyncKeyValue]
"""A store, or a function that returns it at each call."""


class ResultTTL(Protocol):
    """Function that returns the time to live of a result."""

    def __call__(self, result: Any, /) -> TTL | None:
        """Return the time to live of a result, None for no expiry."""


class Lifetime:
    """How long results are kept, and which.

    Args:
        ttl: Time to live, or a function of the result that returns it.
        when: Function of the result that returns whether to keep it.
        stale, early: As for `get_or_put`.
        timeout: Seconds for which callers wait.
        on_error: Whether a result in the time of `stale` is only served where the function fails.

    Attributes:
        policy: The terms of what is kept, but the lifetime of a result that has its own.
    """

    def __init__(
        self,
        ttl: TTL | ResultTTL | None,
        when: Callable[[Any], object] | None,
        stale: TTL | None = None,
        early: float | None = None,
        timeout: float | None = None,
        on_error: str = "raise",
    ) -> None:
        check_plain("when", when)
        check_choice("on_error", on_error, ("raise", "stale"))
        if timeout is not None:
            check_seconds("timeout", timeout)
        if on_error == "stale" and stale is None:
            raise ConfigurationError('on_error="stale" needs stale=, the time for which a result is there to be served')
        if callable(ttl):
            check_plain("ttl", ttl)
            policy = terms(1, stale, early)  # of each result another one
        else:
            policy = terms(ttl, stale, early)
        self._ttl: ResultTTL | None = ttl if callable(ttl) else None
        self._when = when
        self.policy = replace(policy, timeout=timeout, is_last_resort=on_error == "stale")

    def of(self, result: object, value: Any) -> Any:
        """Return what a factory returns for a result, with its own lifetime if it has one.

        Args:
            result: The result.
            value: What is kept of it.

        Raises:
            InvalidTTLError: The time to live of the result is not legal.
        """
        if self._ttl is None and self._when is None:
            return value
        lifetime = self.policy.lifetime
        is_kept = self._when is None or bool(plain("when", self._when(result)))
        if self._ttl is not None and is_kept:
            ttl = plain("ttl", self._ttl(result))
            lifetime = None if ttl is None else seconds(seconds(ttl) + self.policy.stale, "ttl and stale together")
        return Made(value, lifetime, is_kept)


def check_plain(option: str, function: object) -> None:
    """Raise ConfigurationError unless an option is a plain function or None."""
    if function is not None and not callable(function):
        raise ConfigurationError(f"{option} must be a function, got {type(function).__name__}")
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"{option} must be a plain function, got an async one")


def plain(option: str, result: Any) -> Any:
    """Return the result of an option's function, or refuse one that is still to be awaited."""
    if inspect.isawaitable(result):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        raise ConfigurationError(f"{option} must be a plain function, got one whose result is still to be awaited")
    return result


def tag_names(tags: Callable[..., Iterable[str]], /, *args: Any, **kwargs: Any) -> tuple[str, ...]:
    """Return the tags of a call, each once.

    Raises:
        ConfigurationError: The function returned one text in place of a list.
    """
    names = plain("tags", tags(*args, **kwargs))
    if isinstance(names, str):
        raise ConfigurationError("tags must return a list of tags, got one str")
    return tuple(dict.fromkeys(names))
