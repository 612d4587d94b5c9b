"""Where the server of a URL is, and how to sign in there, as options for asyncpg.

asyncpg would look for `~/.pgpass` and certificates on the event loop at every connection. Here it does so once, in a
worker thread, and then is told everything.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any
from urllib.parse import unquote

import asyncpg  # type: ignore[import-untyped]  # it has no types
from asyncpg.connect_utils import SSLMode, _parse_connect_dsn_and_args  # type: ignore[import-untyped]  # as above

from .._url_parts import check_options, read_port
from ..backend.network import split_url
from ..errors import ConfigurationError

Way = dict[str, Any]
"""Options for `asyncpg.connect`."""


def check_url(url: str, known: Collection[str]) -> None:
    """Refuse a URL whose parts or options are wrong; asyncpg would take an option that it does not know for a setting.

    Args:
        url: The URL.
        known: The options that it may have.

    Raises:
        ConfigurationError: Something is wrong. The message shows nothing that may be a part of a secret.
    """
    parts, _ = split_url(url)
    for name, text in check_options(parts.query, known, "a URL of PostgreSQL"):
        if name == "port":
            for port in unquote(text).split(","):
                read_port(port)


def read(url: str) -> list[Way]:
    """Return the ways to connect, those to try first first. This reads files.

    Raises:
        ConfigurationError: asyncpg refuses the URL.
    """
    try:
        return _read(url)
    except (ValueError, asyncpg.InterfaceError):
        pass  # what it says may show parts of the URL, and so must not be the context of another error
    raise ConfigurationError("the URL of PostgreSQLStore has a value that asyncpg cannot read: correct it")


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


async def connect(ways: list[Way]) -> tuple[Any, Way]:
    """Connect in the first way that works; return the connection and that way."""
    for way in ways[:-1]:
        try:
            return await asyncpg.connect(**way, statement_cache_size=0), way
        except (OSError, asyncpg.InvalidAuthorizationSpecificationError):
            pass  # a server may take only encrypted connections, or only others
    return await asyncpg.connect(**ways[-1], statement_cache_size=0), ways[-1]
