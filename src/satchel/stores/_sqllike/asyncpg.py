"""Connections of asyncpg from a URL, which read no files on the event loop."""

from __future__ import annotations

import inspect
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types
from asyncpg.connect_utils import SessionAttribute, SSLMode, _parse_connect_dsn_and_args  # type: ignore[import-untyped]  # as above

from ...backend.network import DEFAULT_TIMEOUT
from ...errors import ConfigurationError

Way = dict[str, Any]
"""Options for `asyncpg.connect`."""


def read(url: str) -> list[Way]:
    """Return the ways to connect, those to try first first. This reads files.

    Raises:
        ConfigurationError: asyncpg refuses the URL.
    """
    try:
        return _read(url)
    except (ValueError, asyncpg.InterfaceError):
        pass  # what it says may show parts of the URL, and so must not be the context of another error
    raise ConfigurationError("the URL of PostgreSQL has a value that asyncpg cannot read: correct it")


def _read(url: str) -> list[Way]:
    nothing = dict.fromkeys(inspect.signature(_parse_connect_dsn_and_args).parameters)
    addresses, found = _parse_connect_dsn_and_args(**(nothing | {"dsn": url}))
    options = {
        "host": [address if isinstance(address, str) else address[0] for address in addresses],
        "port": [5432 if isinstance(address, str) else address[1] for address in addresses],
        "user": found.user,
        "password": lambda: found.password,  # a function: for None it would look for a file again
        "database": found.database,
        "server_settings": found.server_settings,
        "target_session_attrs": found.target_session_attrs,
    }
    encrypted, plain = {"ssl": found.ssl}, {"ssl": False}
    ways = {SSLMode.prefer: [encrypted, plain], SSLMode.allow: [plain, encrypted]}
    return [options | way for way in ways.get(found.sslmode, [encrypted])]


async def connect(ways: list[Way], patience: float | None = None) -> tuple[Any, Way]:
    """Connect in the first way that works; return the connection and that way.

    Args:
        ways: The ways.
        patience: How many seconds the caller has, also for what follows; None for no limit.
    """
    for way in ways[:-1]:
        try:
            return await connect_to(way, patience, statement_cache_size=0), way
        except (OSError, asyncpg.InvalidAuthorizationSpecificationError):
            pass  # a server may take only encrypted connections, or only others
    return await connect_to(ways[-1], patience, statement_cache_size=0), ways[-1]


async def connect_to(way: Way, patience: float | None = None, **options: Any) -> Any:
    """Connect to the first host of a way that answers and is of the kind asked for.

    asyncpg gives all hosts one limit, so that one which is cut off, and says nothing, would leave no time for the
    others. Here each has its share; the one that was connected to is the first to be tried next time.

    Args:
        way: The way; its hosts are put into another order.
        patience: As for `connect`.
        options: Further options for `asyncpg.connect`.
    """
    places = list(zip(way["host"], way["port"], strict=True))
    if len(places) == 1 or way["target_session_attrs"] is SessionAttribute.prefer_standby:
        return await asyncpg.connect(**way, **options)
    share = (DEFAULT_TIMEOUT if patience is None else patience) / (len(places) + 1)
    failures: list[Exception] = []
    for place in places:
        try:
            host, port = place
            connection = await asyncpg.connect(**way | {"host": host, "port": port}, **options, timeout=share)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched) as error:
            failures.append(error)
            continue
        places.remove(place)
        way["host"], way["port"] = zip(place, *places, strict=True)
        return connection
    raise next((error for error in failures if not isinstance(error, OSError)), failures[-1])
