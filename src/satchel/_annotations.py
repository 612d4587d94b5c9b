"""Models for the results of async functions, from their return annotations."""

from __future__ import annotations

import inspect
from collections import abc
from functools import partial
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    Never,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from ._models import model_for, name_of
from .errors import ConfigurationError, MissingExtraError

_SCALARS = (NoneType, bool, int, float, str)
_PLAIN = (None, *_SCALARS, list, dict, object, Any, Never, NoReturn, inspect.Parameter.empty)
_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable)
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_PAIR = 2
_AWAITABLES = (abc.Awaitable, abc.Coroutine)


def result_model(function: Any, *, of_values: bool = False) -> Any:
    """Return the model of an async function's results; None where they are plain JSON, or nothing is known.

    An annotation that names what does not exist yet, or for type checkers alone, says nothing.

    Args:
        function: The function.
        of_values: The results are dicts; return the model of their values.

    Raises:
        ConfigurationError: The annotation is a type that cannot be validated, so that no result could be kept.
        MissingExtraError: It takes pydantic, which is not installed.
    """
    kind = _annotation(function)
    if of_values:
        args = get_args(kind)
        kind = args[1] if get_origin(kind) in _DICTS and len(args) == _PAIR else None
    if _is_plain(kind, set()):
        return None
    try:
        model_for(kind)
    except MissingExtraError:
        raise
    except ConfigurationError as error:
        name = getattr(function, "__qualname__", type(function).__name__)
        raise ConfigurationError(
            f"{name} returns {name_of(kind)}, which cannot be kept: {error}; pass the type of the results as model=, "
            "or Any if a store accepts them as they are"
        ) from error
    return kind


def _annotation(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function) and not hasattr(function, "__wrapped__"):
        function = type(function).__call__
    if "return" not in getattr(inspect.unwrap(function), "__annotations__", {}):
        return None
    try:
        kind = get_type_hints(inspect.unwrap(function), include_extras=True)["return"]
    except Exception:  # whatever evaluating it raises
        return None
    return get_args(kind)[-1] if get_origin(kind) in _AWAITABLES and get_args(kind) else kind


def _is_plain(kind: Any, seen: set[int], *, top: bool = True) -> bool:
    """Return whether values of a type are kept without a model; `bytes` are, at the top level alone."""
    if any(kind is plain for plain in _PLAIN) or isinstance(kind, (TypeVar, ForwardRef, str)) or id(kind) in seen:
        return True
    seen.add(id(kind))
    origin, args = get_origin(kind), get_args(kind)
    if kind is bytes:
        seen.discard(id(kind))
        return top
    if origin is Literal:
        return all(type(value) in _SCALARS for value in args)
    if origin is Annotated:
        return _is_plain(args[0], seen, top=top)
    if origin in (Union, UnionType):
        return all(_is_plain(part, seen, top=top) for part in args)
    if origin in _LISTS or kind in _LISTS:
        return all(_is_plain(part, seen, top=False) for part in args)
    if origin in _DICTS or kind in _DICTS:
        return not args or (args[0] in (str, Any) and _is_plain(args[1], seen, top=False))
    inner = getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)
    return inner is not None and _is_plain(inner, seen, top=top)
