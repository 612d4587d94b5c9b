"""Sources of variables: mappings and files, each turned into names and texts."""

from __future__ import annotations

import configparser
import io
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..codec import UNDECODABLE
from ..errors import ConfigurationError, InvalidSettingError, missing_extra, safe_repr

CHANGES = "changes"
_DEEPEST = 100


@dataclass(frozen=True)
class Source:
    """Place that variables come from, with their texts.

    Attributes:
        name: What explanations call the place.
        texts: The text of each variable. Not in `repr`, since it may be a secret.
        literal: A `$` in them has no meaning.
    """

    name: str
    texts: Mapping[str, str] = field(repr=False)
    literal: bool = False

    def with_texts(self, texts: Mapping[str, str]) -> Source:
        """Return this source with these texts over its own."""
        return replace(self, texts={**self.texts, **texts})

    def without(self, names: set[str]) -> Source:
        """Return this source without some names."""
        return replace(self, texts={name: text for name, text in self.texts.items() if name not in names})


def source_of(given: object) -> Source:
    """Return the source that an argument of `Environment` stands for.

    Raises:
        ConfigurationError: It is neither a path nor a mapping.
        InvalidSettingError: A file cannot be read, or what is in it is no variable.
    """
    if given is os.environ:
        return Source("os.environ", dict(os.environ), literal=True)
    if isinstance(given, (str, Path)):
        return read_env(Path(given))
    if isinstance(given, Mapping):
        return Source("a mapping", {check_variable(name): as_text(name, value) for name, value in given.items()})
    raise ConfigurationError(f"a source must be the path of a .env file or a mapping, got {safe_repr(given)}")


def read_env(path: Path) -> Source:
    """Read a `.env` file; one that is not there has no variables.

    Raises:
        InvalidSettingError: It cannot be read, or has a line that is no variable.
    """
    try:
        from dotenv.parser import parse_stream  # noqa: PLC0415  # only such a file needs it
    except ModuleNotFoundError as error:
        raise missing_extra("reading a .env file", "environment", error) from error
    if not path.exists():
        return Source(f"{path} (absent)", {})
    texts: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(read_text(path), newline="")):
        if binding.error or (binding.key is not None and binding.value is None):
            raise InvalidSettingError(
                f"{path}, line {binding.original.line}, is no variable; write NAME=value, with quotes around a value "
                "that has spaces, # or line ends in it"
            )
        if binding.key is not None and binding.value is not None:
            texts[binding.key] = binding.value
    return Source(str(path), texts)


def read_json(path: Path) -> Source:
    """Read a JSON file with an object, whose nested names are joined by underscores.

    Raises:
        InvalidSettingError: It is not such a file.
    """
    text = read_text(path)
    try:
        tree = json.loads(text)
    except UNDECODABLE:
        tree = None
    if not isinstance(tree, dict):
        raise InvalidSettingError(f"{path} does not hold a JSON object")
    return Source(str(path), flattened(tree))


def read_config(path: Path) -> Source:
    """Read a TOML file, or an INI file by its ending `.ini` or `.cfg`; nested names are joined by underscores.

    Raises:
        InvalidSettingError: It is not such a file.
    """
    text, problem = read_text(path), ""
    tree: dict[str, Any] = {}
    if path.suffix in {".ini", ".cfg"}:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(text)
            tree = {section: dict(parser[section]) for section in parser.sections()}
            tree |= parser.defaults()
        except configparser.Error as error:
            problem = f"it is no INI file ({type(error).__name__})"  # its text may quote a value
    else:
        try:
            tree = tomllib.loads(text)
        except UNDECODABLE:
            problem = "it is no TOML file; an INI file ends in .ini or .cfg"
    if problem:
        raise InvalidSettingError(f"{path} cannot be read: {problem}")
    return Source(str(path), flattened(tree))


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, without the mark that some editors put first.

    Raises:
        InvalidSettingError: It cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        problem = "it is not in UTF-8"
    raise InvalidSettingError(f"{path} cannot be read: {problem}")


def flattened(tree: Mapping[str, Any]) -> dict[str, str]:
    """Return the leaves of nested mappings, as texts under names in capitals: `DB_HOST` is `host` of `db`.

    Raises:
        InvalidSettingError: Two leaves have one name, a leaf is no text, number, bool, None or list, or they nest in
            more than 100 levels.
    """
    texts: dict[str, str] = {}
    for path, value in _leaves(tree, ()):
        name = check_variable("_".join(path).upper().replace("-", "_").replace(".", "_"))
        if name in texts:
            raise InvalidSettingError(f"{'.'.join(path)} and another setting would both be called {name}")
        texts[name] = as_text(name, value)
    return texts


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if len(path) > _DEEPEST:
        raise InvalidSettingError(f"settings nest in more than {_DEEPEST} levels")
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, str(name)))
        else:
            yield (*path, str(name)), value


def check_variable(name: object) -> str:
    """Return the name of a variable, if it can be one.

    Raises:
        InvalidSettingError: It cannot.
    """
    if not isinstance(name, str) or not name or "=" in name or "\0" in name or name != name.strip():
        shown = repr(name) if isinstance(name, str) else safe_repr(name)
        raise InvalidSettingError(f"a variable is named by a text without =, NUL and blanks around it; {shown} is not")
    return name


def as_text(name: str, value: object) -> str:
    """Return the text for a value: `true` for True, nothing for None, JSON for a list.

    Raises:
        InvalidSettingError: There is none.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidSettingError(f"{name} holds a NUL, which no environment can")
        return value
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        try:
            return json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            pass
    raise InvalidSettingError(f"{name} must be a text, number, bool, None or list of these; got {safe_repr(value)}")
