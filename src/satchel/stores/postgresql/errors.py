"""What PostgreSQL and asyncpg report, in satchel's errors.

Their own messages can hold values, and are not passed on.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types

from ...errors import (
    ConfigurationError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)

Answers = tuple[tuple[tuple[str, ...], type[SatchelError], str], ...]

# By the beginning of an SQLSTATE; the first that fits answers.
_BY_STATE: Answers = (
    (("3D000",), ConfigurationError, "there is no such database at {where}: create it, or correct the name"),
    (("28P01",), ConfigurationError, "{where} refuses the password: correct it"),
    (("28",), ConfigurationError, "{where} refuses this user: create the role, or allow it in pg_hba.conf"),
    (("3F000",), ConfigurationError, "the schema of table {table} is not there: CREATE SCHEMA, or correct table_name"),
    (
        ("42501",),
        StoreError,
        (
            "the role may not do this with table {table} at {where}: GRANT SELECT, INSERT, UPDATE, DELETE on it, "
            "and for the first write CREATE on its schema, or create the table beforehand"
        ),
    ),
    (
        ("42703", "42804", "42P10", "42809", "42883", "23502", "23514", "22P02"),
        ConfigurationError,
        (
            "the table {table} at {where} is not as satchel makes it: columns, types or the primary key differ; "
            "give another table_name"
        ),
    ),
    (
        ("26000", "42P05"),
        ConfigurationError,
        "a pooler lost or mixed up a prepared statement: make the pool with statement_cache_size=0",
    ),
    (
        ("25006",),
        StoreError,
        (
            "{where} is read-only or a standby; connect to the primary "
            "(target_session_attrs=read-write in the URL finds it)"
        ),
    ),
    (("53100",), StoreError, "the disk of {where} is full: the write was not made; free some space"),
    (("53300",), StoreUnavailableError, "{where} has no connection left: close some, or raise max_connections"),
    (("53",), StoreUnavailableError, "{where} lacks memory or another resource: try again later"),
    (
        ("57014",),
        StoreTimeoutError,
        "{where} cut the statement off, by its statement_timeout or by hand: the write was not made; try again",
    ),
    (("55P03",), StoreTimeoutError, "a lock on a row was not free within lock_timeout: try again"),
    (("40",), StoreUnavailableError, "{where} undid the statement for another transaction's sake: try again"),
    (("57P", "08"), StoreUnavailableError, "{where} shuts down, starts, or ended the connection: try again later"),
    (("54000",), ValueTooLargeError, "the encoded value is larger than PostgreSQL takes"),
    (("XX001", "XX002"), StoreError, "{where} reports damaged data: see its log, and restore from a backup"),
)


def translate(error: Exception, where: str, table: str, pool: asyncpg.Pool | None = None) -> SatchelError | None:
    """Return the satchel error for one of asyncpg's; None for those that say nothing to a user.

    Args:
        error: The error raised.
        where: What the store calls itself.
        table: The name of its table.
        pool: The caller's pool, if the store uses one.
    """
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        for states, kind, text in _BY_STATE:
            if state.startswith(states):
                return kind(text.format(where=where, table=table))
        return StoreError(f"{where} reports SQLSTATE {state or 'unknown'}; its log has more")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(f"the certificate of {where} is not trusted: give sslrootcert in the URL")
    if isinstance(error, asyncpg.InternalClientError):
        return StoreUnavailableError(f"the connection to {where} failed: try again")
    if isinstance(error, asyncpg.InterfaceError):
        return _interface_error(error, where, pool)
    if type(error) is ConnectionError:  # asyncpg's own, about TLS; those of the system have classes below it
        return ConfigurationError(
            f"{where} speaks no TLS, which sslmode asks for: set ssl = on there, or change sslmode"
        )
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return StoreUnavailableError(f"{where} cannot be reached: check host and port, and that the server runs")
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
        return ConfigurationError(f"{where} has a URL that asyncpg cannot read: correct it")
    return None


def _interface_error(error: asyncpg.InterfaceError, where: str, pool: Any) -> SatchelError:
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return ConfigurationError(f"{where} has a URL or settings that asyncpg cannot use: correct them")
    # asyncpg says these in words alone, so the pool itself is looked at.
    if pool is not None and pool.is_closing():
        return StoreError(f"the pool of {where} has been closed; make a new store")
    if not getattr(pool, "_initialized", True):
        return ConfigurationError("pool must be an open one: pool=await asyncpg.create_pool(...)")
    if pool is not None and getattr(pool, "_loop", None) not in (None, asyncio.get_running_loop()):
        return StoreError(f"the pool of {where} belongs to another event loop; make a pool and a store for this one")
    return StoreUnavailableError(f"the connection to {where} was closed: try again")
