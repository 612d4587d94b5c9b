"""Check of a caller's asyncpg connections for type codecs with which good entries would seem damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types

from ...errors import ConfigurationError


def check_returned(found: Sequence[Any], samples: Sequence[Any], owner: str) -> None:
    """Refuse a connection that returned samples changed, whose owner is the pool or engine named."""
    if [*map(repr, found)] != [*map(repr, samples)]:
        raise refused(owner)


def is_about_data(error: BaseException | None) -> bool:
    """Return whether an error is one of a codec: it may raise anything, asyncpg or the server an error about data."""
    if isinstance(error, (ValueError, asyncpg.DataError)):
        return True
    return not isinstance(error, (OSError, asyncpg.PostgresError, asyncpg.InterfaceError))


def refused(owner: str) -> ConfigurationError:
    """Return the error for a pool or engine with such a codec."""
    return ConfigurationError(
        f"{owner} makes connections with a type codec (asyncpg's set_type_codec) for one of the types that entries "
        "consist of, bytea, text, smallint, integer, bigint and double precision, and good entries would seem damaged: "
        f"give {owner} without it"
    )
