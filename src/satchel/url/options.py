"""Conversion of options given as text, by the annotations of the constructor."""

from __future__ import annotations

import inspect
import os
import re
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union

from .._url_parts import is_secret
from ..errors import ConfigurationError, unknown
from .description import HIDDEN, Described

_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_BEGINNING = 8
_SHORTEST_SECRET = 4


def convert(kind: type[Described], what: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for a constructor, with text converted and `NAME_env` replaced by the variable's value.

    Args:
        kind: The class.
        what: Its name in messages.
        options: The given options; only a `str` is converted.

    Raises:
        ConfigurationError: An option is unknown, malformed, or required but missing.
    """
    parameters = _parameters(kind)
    arguments: dict[str, Any] = {}
    for given, value in options.items():
        name = given
        if name not in parameters:
            name = given.removesuffix("_env")
            if name == given or name not in parameters:
                raise unknown(f"option of {what}", given, known_options(kind))
            value = _variable(f"{what}: {given}", value, secret=is_secret(name))  # noqa: PLW2901  # replaced by the variable's value
        if name in arguments:
            raise ConfigurationError(f"{what}: option {name!r} is given twice")
        source = "" if name == given else f" (from the environment variable {options[given]})"
        arguments[name] = _converted(f"{what}: option {name!r}{source}", parameters[name], value)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise ConfigurationError(f"{what} needs the option {name!r}")
    return arguments


def as_bool(option: str, value: object) -> bool:
    """Return an option that is a bool, or text for one.

    Raises:
        ConfigurationError: It is neither.
    """
    found = _BOOLS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ConfigurationError(f"option {option!r} must be true or false")
    return found


def known_options(kind: type[Described]) -> list[str]:
    """Return the names of the options that can be given as text."""
    texts = [name for name, parameter in _parameters(kind).items() if _forms(parameter.annotation)]
    return [*texts, *kind.url_query]


def takes(kind: type[Described], option: str) -> bool:
    """Return whether there is an option with a name, or with the name before its `_env`."""
    parameters = _parameters(kind)
    return option in parameters or (option.endswith("_env") and option.removesuffix("_env") in parameters)


def without_given(message: str, options: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Return a message without numbers and secrets given as text: any of them may be a misplaced secret."""
    for name, text in options.items():
        value = arguments.get(name)
        forms = {text, str(value), repr(value)} if isinstance(text, str) else set()
        if is_secret(name) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            for form in sorted(forms, key=len, reverse=True):
                if len(form) >= _SHORTEST_SECRET:
                    message = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", HIDDEN, message)
    return message


def shown_by(message: str, options: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    """Return the options whose values from variables a message shows, at least in part."""
    names = []
    for given, variable in options.items():
        if given in arguments:
            continue
        text = os.environ.get(str(variable), "")
        forms = (text, repr(text)[1:-1], str(arguments[given.removesuffix("_env")]))
        if text and any(form[:_BEGINNING] in message for form in forms):
            names.append(given)
    return names


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    scope = vars(sys.modules[kind.__init__.__module__])  # type: ignore[misc]  # the class is known, its module holds the names
    return {
        name: parameter.replace(annotation=_evaluated(parameter.annotation, scope))
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind in named and name != "inner"
    }


def _evaluated(annotation: object, scope: dict[str, Any]) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(holder, scope)["it"]
    except (NameError, TypeError):
        return None  # a type of the driver, imported only for type checkers: it cannot be given as text


def _variable(what: str, variable: object, *, secret: bool) -> str:
    try:
        value = os.environ.get(str(variable))
    except UnicodeEncodeError:
        value = None
    if value is None:
        # The name is not shown: by mistake it may be the secret itself.
        raise ConfigurationError(f"{what} names an environment variable that is not set")
    if secret and not value.strip():
        raise ConfigurationError(f"{what} names the environment variable {variable}, which is empty: set it")
    return value


def _converted(what: str, parameter: inspect.Parameter, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    expected = []
    for form in _forms(parameter.annotation):
        converted = _as(form, value)
        if converted is not None:
            return converted
        expected.append(_described(form))
    if not expected:
        raise ConfigurationError(f"{what} cannot be given as text; make the store in code")
    # The text is not shown: it may be a misplaced secret.
    raise ConfigurationError(f"{what} must be {' or '.join(expected)}")


def _forms(annotation: Any) -> list[Any]:
    members = typing.get_args(annotation) if typing.get_origin(annotation) in (Union, types.UnionType) else [annotation]
    known = [member for member in members if typing.get_origin(member) is Literal or member in (bool, int, float)]
    texts = [member for member in members if member in (str, Any, inspect.Parameter.empty)]
    paths = [member for member in members if member is Path]
    return [*known, *paths, *texts]


def _as(form: Any, text: str) -> Any:
    if typing.get_origin(form) is Literal:
        return text if text in typing.get_args(form) else None
    if form is bool:
        return _BOOLS.get(text.lower())
    if form in (int, float):
        try:
            return form(text)
        except ValueError:
            return None
    return Path(text) if form is Path else text


def _described(form: Any) -> str:
    if typing.get_origin(form) is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(form))
    return {bool: "true or false", int: "a whole number", float: "a number"}[form]
