"""What stores over a network share: one way to be told where the server is, and requests that keep nobody's context."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from .._contexts import task_in_empty_context
from ..errors import ConfigurationError, safe_repr, with_article

T = TypeVar("T")

_NO_HOST = frozenset("/@?# ")

DEFAULT_TIMEOUT = 10.0
"""Default limit of a request in seconds: nothing waits forever."""


def check_one_way(way: str, given: object, **others: object) -> None:
    """Refuse options that say a second time where the server is.

    Args:
        way: The name of the option that says everything, such as `client` or `url`.
        given: Its value; None when it was not given.
        **others: The options that it excludes; None for those that were not given.

    Raises:
        ConfigurationError: It was given, and one of the others too.
    """
    twice = [name for name, value in others.items() if value is not None]
    if given is not None and twice:
        raise ConfigurationError(f"{way} excludes {', '.join(twice)}: it says already where the server is")


def check_texts(**options: object) -> None:
    """Refuse options that are given, but not as a `str`, or an empty one. The message does not show them.

    Raises:
        ConfigurationError: There is one.
    """
    for name, value in options.items():
        if value is not None and (not isinstance(value, str) or not value):
            what = "an empty one" if value == "" else with_article(type(value))
            raise ConfigurationError(f"{name} must be a str that is not empty, got {what}")


def check_host(host: object) -> None:
    """Refuse what is given as a host and is none, such as a URL: the store would show it.

    Raises:
        ConfigurationError: It is none.
    """
    check_texts(host=host)
    if isinstance(host, str) and _NO_HOST.intersection(host):
        raise ConfigurationError("host must be the name or the address of one host; a URL is given as url")


def check_port(port: object) -> None:
    """Refuse what is given as a port and is none.

    Raises:
        ConfigurationError: It is none.
    """
    if port is not None and (type(port) is not int or not 0 < port < 2**16):
        raise ConfigurationError(f"port must be an int of 1 to 65535, got {safe_repr(port)}")


async def in_empty_context(request: Coroutine[Any, Any, T]) -> T:
    """Await a request in an empty context: the connections that it opens would keep the caller's variables alive."""
    return await task_in_empty_context(request)
