"""Settings of a store: from the environment, a TOML, YAML or JSON file, or a mapping."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._url_parts import is_secret
from ..codec import UNDECODABLE
from ..errors import ConfigurationError, missing_extra

_FILE = Path("satchel.toml")
_POSITION = re.compile(r"line (\d+), column (\d+)")
_OF_ENVIRONMENT = "SATCHEL_"


def found_settings() -> tuple[str, dict[str, Any], str]:
    """Return the configured URL and options, and where they come from.

    Raises:
        ConfigurationError: No URL is configured, or the file is invalid.
    """
    url = os.environ.get("SATCHEL_URL", "")
    return (url, {}, "SATCHEL_URL") if url.strip() else (*settings_in(_FILE), str(_FILE))


def options_in_environment(known: list[str]) -> dict[str, str]:
    """Return the options from variables such as `SATCHEL_TIMEOUT`; for a secret, the variable's name."""
    options: dict[str, str] = {}
    for name in known:
        variable = _OF_ENVIRONMENT + name.upper()
        text = os.environ.get(variable, "")
        if text and variable != "SATCHEL_URL":
            options |= {f"{name}_env": variable} if is_secret(name) else {name: text}
    return options


def settings_in(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the URL and the options in the table `satchel` of a file.

    Raises:
        ConfigurationError: The file cannot be read, or does not have such a table.
        MissingExtraError: It is YAML, and pyyaml is not installed.
    """
    table = _tables(path).get("satchel")
    if not isinstance(table, Mapping) or not isinstance(table.get("url"), str):
        raise ConfigurationError(f'{path} must have a table [satchel] with url = "..."')
    return split_settings(table)


def split_settings(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL in settings, and the other options.

    Raises:
        ConfigurationError: There is no URL, or a name is not a `str`.
    """
    options = dict(settings)
    url = options.pop("url", None)
    if not isinstance(url, str):
        raise ConfigurationError('settings need a url, such as {"url": "memory://"}')
    if not all(isinstance(name, str) for name in options):
        raise ConfigurationError("the names of settings must be str")
    return url, options


def _tables(path: Path) -> Mapping[str, Any]:
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ConfigurationError(f"{path} must end with {', '.join(_READERS)}, which names the format")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if path != _FILE:
            raise ConfigurationError(f"{path} does not exist") from None
        raise ConfigurationError(
            f"no store is configured: give a URL, set SATCHEL_URL, or write a URL to {_FILE}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({type(error).__name__})") from None
    tables = _read(read, content)
    if isinstance(tables, str):
        raise ConfigurationError(f"{path}: {tables}")
    return tables if isinstance(tables, Mapping) else {}


def _read(read: Callable[[str], Any], content: bytes) -> Any:
    """Return the contents of a file, or what is wrong with it, for an error whose context does not show the file."""
    try:
        return read(content.decode("utf-8-sig"))  # editors on Windows write a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"line {line} is not UTF-8; save the file as UTF-8"


def _read_toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _POSITION.search(str(error))  # before Python 3.14, only the message has the position
        line: object = getattr(error, "lineno", found[1] if found else None)
        column: object = getattr(error, "colno", found[2] if found else None)
        place = "at its end" if line is None else f"line {line}, column {column}"
        return f"{place}: this is not valid TOML"
    except UNDECODABLE:
        return "this nests too deep, or has a number of too many digits"


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}, column {error.colno}: this is not valid JSON"
    except UNDECODABLE:
        return "this nests too deep, or has a number of too many digits"


def _read_yaml(text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415  # it is optional
    except ModuleNotFoundError as error:
        raise missing_extra("a YAML file", "yaml", error) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        return f"{place}this is not valid YAML"
    except (ValueError, RecursionError):  # an invalid date, or endless nesting
        return "this is not valid YAML"


_READERS: dict[str, Callable[[str], Any]] = {
    ".toml": _read_toml,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": _read_json,
}
