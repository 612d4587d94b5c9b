"""Classes of settings, made from variables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from ..errors import ConfigurationError, InvalidSettingError, MissingSettingError
from .conversion import convert, refusal

S = TypeVar("S")


def make_settings(settings: type[S], look_up: Callable[[str], tuple[str, bool] | None]) -> S:
    """Make an object of a class of settings.

    Args:
        settings: A dataclass, or a pydantic model.
        look_up: Return the text of a variable and whether it is a secret; None where it is not set.

    Raises:
        ConfigurationError: It is no such class.
        MissingSettingError: A field has neither a variable nor a default.
        InvalidSettingError: A variable does not fit its field, or the class refuses them together.
    """
    kinds, needed = _fields(settings)
    values: dict[str, Any] = {}
    for name, kind in kinds.items():
        found = look_up(name.upper())
        if found is not None:
            values[name], problem = convert(found[0], kind)
            if problem:
                secret = found[1]
                del found, values
                raise refusal(name.upper(), kind, problem, secret=secret)
        elif name in needed:
            del values
            raise MissingSettingError(f"{settings.__name__} needs {name.upper()}, which is not set")
    try:
        return settings(**values)
    except Exception as error:  # the class's own check, whose message may quote a secret
        problem = type(error).__name__
    del values, found
    raise InvalidSettingError(f"{settings.__name__} refuses the variables together: {problem}")


def _fields(settings: type) -> tuple[dict[str, Any], set[str]]:
    """Return the types of all fields, and the names of those that have no default."""
    model = getattr(settings, "model_fields", None)
    if model is not None:
        kinds = {name: field.annotation for name, field in model.items()}
        needed = {name for name, field in model.items() if field.is_required()}
    elif is_dataclass(settings):
        hints = get_type_hints(settings, include_extras=True)
        kinds = {field.name: hints[field.name] for field in fields(settings) if field.init}
        missing = {field.name: field.default is field.default_factory for field in fields(settings)}
        needed = {name for name in kinds if missing[name]}
    else:
        raise ConfigurationError("settings must be a dataclass or a pydantic model")
    return kinds, needed
