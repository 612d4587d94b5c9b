"""Which store a command means: a URL, a name from `satchel.toml`, or the default."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from .._threads import in_thread
from ..errors import ConfigurationError, unknown
from ..url import OpenedStore, open_store
from .outcome import UsageError

FILE = Path("satchel.toml")


async def opened(place: str | None) -> OpenedStore:
    """Return the store of a URL or a name; by default, that of `SATCHEL_URL` or of the table `[satchel]`.

    Raises:
        ConfigurationError: There is none. The message does not quote the argument, which may contain a secret.
    """
    store = await in_thread(_opened, place)  # it reads files, and imports the driver
    if (glide := sys.modules.get("glide")) is not None:  # its core logs to standard output, amid what a command writes
        glide.Logger.set_logger_config(glide.LogLevel.OFF)
    return store


async def opened_pair(source: str, target: str) -> tuple[OpenedStore, OpenedStore]:
    """Return two stores, which must not have the same name or URL."""
    if source == target:
        raise UsageError("source and target are the same store; give two")
    return await opened(source), await opened(target)


def _opened(place: str | None) -> OpenedStore:
    if place is None:
        return open_store()
    if ":" in place:
        return open_store(place)
    tables = named()
    if place not in tables:
        error = unknown("store", place, tables, shown=False)
        raise UsageError(f"{error}. Give a URL, such as disk:data, or a name from {FILE}: [stores.NAME] with url")
    table = dict(tables[place])
    url = table.pop("url", None)
    if not isinstance(url, str):
        raise ConfigurationError(f'{FILE} must have a table [stores.{place}] with url = "..."')
    return open_store(url, **table)


def named() -> dict[str, dict[str, Any]]:
    """Return the tables `[stores.NAME]` of `satchel.toml`; none if there is no such file.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    try:
        tables = _parsed(FILE.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{FILE} cannot be read ({type(error).__name__})") from None
    if tables is None:  # raised here, because the parser's message would show part of the file
        raise ConfigurationError(f"{FILE} is not valid TOML in UTF-8")
    stores = tables.get("stores", {})
    if not isinstance(stores, dict) or not all(isinstance(table, dict) for table in stores.values()):
        raise ConfigurationError(f'{FILE}: write each store as a table [stores.NAME] with url = "..."')
    return stores


def default() -> str | None:
    """Return where the URL of the default store comes from; None if there is no default store."""
    if os.environ.get("SATCHEL_URL", "").strip():
        return "SATCHEL_URL"
    return str(FILE) if FILE.exists() else None


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except ValueError:  # not UTF-8, or not TOML
        return None
