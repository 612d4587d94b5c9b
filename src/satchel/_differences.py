"""Parts of a value that would come back changed, or not at all: their paths, and what to do about them.

Nothing here runs unless a value is refused or its parts have to be compared one by one. No message holds a value: a key
of a `dict` is shown as `[...]`, unless it is the name of a field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from types import NoneType
from typing import Any, ClassVar, get_origin, get_type_hints

import msgspec

_NOT_FINITE = "a float that is NaN or infinite cannot be stored; use None or a str"
_SECRET = "a secret is written as asterisks; add a field_serializer that returns get_secret_value()"  # noqa: S105  # advice
_CONTAINERS = (list, tuple, set, frozenset, dict)


@dataclass(frozen=True)
class Difference:
    """Part of a value that would not come back unchanged."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def is_typeddict(kind: Any) -> bool:
    """Return whether a type is a TypedDict."""
    return hasattr(kind, "__required_keys__")  # typing's own check does not know those of typing_extensions


def fields_of(kind: Any) -> Mapping[str, Any]:
    """Return the fields of a class that declares any, with their types."""
    if hasattr(kind, "__pydantic_fields__"):
        return {name: field.annotation for name, field in kind.__pydantic_fields__.items()}
    marks = ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__", "_fields")
    if is_typeddict(kind) or (isinstance(kind, type) and any(hasattr(kind, mark) for mark in marks)):
        hints = get_type_hints(kind, include_extras=True)
        return {name: hint for name, hint in hints.items() if ClassVar not in (hint, get_origin(hint))}
    return {}


def first_difference(loaded: Any, value: Any, names: Collection[str], path: str = "$") -> Difference | None:
    """Return the first part that differs; None for values that count as equal.

    Two aware datetimes are equal if their local time and offset are. `==` says otherwise in the hours that a change of
    clocks repeats or skips, wherever the zones are not the same object.

    Args:
        loaded: The value as it would come back.
        value: The value as it was given.
        names: The names that may be shown in a path.
        path: The path of both.
    """
    if loaded == value:
        return None
    if isinstance(value, datetime) and isinstance(loaded, datetime):
        return None if _fixed(loaded) == _fixed(value) else _other_time(path, value)
    if type(loaded) is not type(value):
        return Difference(path, changed_type(loaded, value))
    if isinstance(value, (set, frozenset)):
        return None if set(map(_fixed, loaded)) == set(map(_fixed, value)) else _other_items(path, loaded, value)
    if isinstance(value, dict) and set(map(_fixed, loaded)) != set(map(_fixed, value)):
        return _other_keys(path, loaded, value)
    if isinstance(value, (list, tuple)) and len(loaded) != len(value):
        return _validated_again(path)
    return _first_in_parts(loaded, value, names, path)


def first_unstorable(value: Any, names: Collection[str]) -> Difference | None:
    """Return the first float in a value that is NaN or infinite, or key that no text stands for; None without any."""
    todo, seen = [("$", value)], set[int]()
    while todo:
        path, part = todo.pop()
        if isinstance(part, float) and not math.isfinite(part):
            return Difference(path, _NOT_FINITE)
        if isinstance(part, dict) and (odd := _odd_key(part)) is not None:
            return Difference(path, odd)
        if id(part) not in seen:  # a value may hold itself
            seen.add(id(part))
            todo.extend(reversed([(path + step, inner) for _, step, inner in _stored_parts(part, names)]))
    return None


def without_form(value: Any, names: Collection[str], dump: Callable[[Any], Any]) -> Difference:
    """Return the innermost part of a value that has no form in JSON.

    Args:
        value: The value, which cannot be dumped.
        names: The names that may be shown in a path.
        dump: Makes plain JSON of any part; raises when it cannot.
    """
    path, seen = "$", set[int]()
    while id(value) not in seen:  # a value may hold itself
        seen.add(id(value))
        for name, step, part in _stored_parts(value, names):
            if _part_fails(dump, value, name, part):
                path, value = path + step, part
                break
    return Difference(path, _no_form(value, dump))


def _first_in_parts(loaded: Any, value: Any, names: Collection[str], path: str) -> Difference | None:
    kind = type(value)
    others = {_fixed(key): part for key, part in loaded.items()} if isinstance(value, dict) else None
    for name, step, part in _parts_of(value, names):
        other = _part(loaded if others is None else others, name)
        difference = first_difference(other, part, names, path + step)
        if difference is not None:
            return _of_field(difference, kind, name, path + step)
    for name, part in (getattr(value, "__pydantic_extra__", None) or {}).items():
        difference = first_difference((loaded.__pydantic_extra__ or {}).get(name), part, names, f"{path}[...]")
        if difference is not None:
            return difference if difference.reason == _NOT_FINITE else Difference(difference.path, _EXTRA)
    private, loaded_private = (getattr(each, "__pydantic_private__", None) or {} for each in (value, loaded))
    for name, part in private.items():
        if first_difference(loaded_private.get(name), part, names) is not None:
            return Difference(f"{path}.{name}", "a private attribute is not stored; make it a field, or leave it unset")
    if kind in _CONTAINERS or _has_parts_that_count(kind, value, loaded, names):
        return None
    return _validated_again(path, value)


_EXTRA = (
    "an extra field comes back as JSON has it; declare the field, or the type of all extra ones: "
    "__pydantic_extra__: dict[str, ...]"
)


def _of_field(difference: Difference, kind: Any, name: Any, path: str) -> Difference:
    """Say of a field of pydantic's that is left out, that it is: nothing within it is to blame."""
    field = getattr(kind, "__pydantic_fields__", {}).get(name)
    if field is not None and field.exclude:
        return Difference(path, "the field is left out by exclude=True; store it, or leave its default")
    return difference


def _has_parts_that_count(kind: Any, value: Any, loaded: Any, names: Collection[str]) -> bool:
    """Return whether parts that count as equal make two objects equal whose `==` says that they are not."""
    if kind.__eq__ is object.__eq__ or (issubclass(kind, msgspec.Struct) and not kind.__struct_config__.eq):
        return True
    if getattr(kind.__eq__, "__module__", "") == "pydantic.main":  # it compares the parts, extra ones too
        return True
    return any(part != _part(loaded, name) for name, _, part in _parts_of(value, names))


def _parts_of(value: Any, names: Collection[str]) -> Iterator[tuple[Any, str, Any]]:
    """Iterate over the parts that make a value, each with its name and its step of a path."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield _fixed(key), f".{key}" if type(key) is str and key in names else "[...]", part
    elif isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        for index, part in enumerate(value):
            yield index, f"[{index}]", part
    else:
        compared = getattr(type(value), "__dataclass_fields__", {})
        for name in fields_of(type(value)):
            if name not in compared or compared[name].compare:
                yield name, f".{name}", getattr(value, name, None)


def _stored_parts(value: Any, names: Collection[str]) -> Iterator[tuple[Any, str, Any]]:
    """Iterate over the parts of a value as `_parts_of` does, over items of sets and extra fields too."""
    if isinstance(value, (set, frozenset)):
        yield from ((None, "[...]", part) for part in value)
        return
    yield from _parts_of(value, names)
    yield from ((name, "[...]", part) for name, part in (getattr(value, "__pydantic_extra__", None) or {}).items())


def _part(whole: Any, name: Any) -> Any:
    if isinstance(name, int) and isinstance(whole, (list, tuple)):
        return whole[name]
    return whole.get(name) if isinstance(whole, dict) else getattr(whole, name, None)


def _fixed(item: Any) -> Any:
    """Return an aware datetime with its offset in place of its zone; anything else as it is."""
    if not isinstance(item, datetime) or item.tzinfo is None:
        return item
    offset: timedelta | None = item.utcoffset()
    return item if offset is None else (item.replace(tzinfo=None, fold=0), offset)


def _other_time(path: str, value: datetime) -> Difference:
    offset = value.utcoffset()
    if offset is not None and offset % timedelta(minutes=1):
        return Difference(path, "its offset from UTC has seconds, which JSON cannot represent; convert it to UTC")
    return _validated_again(path)


def _validated_again(path: str, value: Any = None) -> Difference:
    if hasattr(value, "get_secret_value"):
        return Difference(path, _SECRET)
    return Difference(
        path,
        "it is validated again when it is read, and the model then makes another value of it; let validators return "
        "their own results as they are, or add a field_serializer that undoes what they do",
    )


def changed_type(loaded: Any, value: Any) -> str:
    """Return how the type of a value changes, and what to do about it."""
    kind, other = type(value), type(loaded)
    becomes = f"is of type {kind.__name__}, but comes back as {other.__name__}"
    if issubclass(kind, other) and fields_of(kind):
        return (
            f"{becomes}, which is the type declared; declare a union of the classes, told apart by a discriminator "
            "(pydantic) or a tag (Struct); SerializeAsAny alone writes a subclass, but does not read it"
        )
    if isinstance(value, float) and not math.isfinite(value):
        return _NOT_FINITE
    return f"{becomes}; declare the type that it has"


def _other_items(path: str, loaded: Any, value: Any) -> Difference:
    kinds, others = set(map(type, value)), set(map(type, loaded))
    if kinds == others:
        return _validated_again(path)
    return Difference(path, "its items come back as other types; declare theirs, as in set[...]")


def _odd_key(value: dict[Any, Any]) -> str | None:
    """Return what is wrong with the first key that comes back from no text, whatever type is declared; None if none."""
    for key in value:
        is_odd = isinstance(key, (tuple, frozenset, NoneType)) or fields_of(type(key))
        if is_odd or (isinstance(key, Enum) and not isinstance(key, str)):
            return _no_key(key)
    return None


def _no_key(key: Any) -> str:
    return f"JSON cannot represent a key of type {type(key).__name__}; use str for keys"


def _other_keys(path: str, loaded: Any, value: Any) -> Difference:
    odd = _odd_key(value)
    if odd is not None:
        return Difference(path, odd)
    if any(type(key) is not str for key in value):
        return Difference(
            path,
            "JSON has only str for keys, and these come back as such; declare their type: dict[int, ...]",
        )
    if set(loaded) < set(value):
        return Difference(path, "it has a key that the model does not, which would be lost; declare it")
    return _validated_again(path)


def _no_form(value: Any, dump: Callable[[Any], Any]) -> str:
    if not _fails(dump, value):
        return "the model's own serializer refuses it"
    if isinstance(value, dict):
        for key in value:
            if _fails(dump, {key: None}):
                return _no_key(key)
    if isinstance(value, (bytes, bytearray)):
        return (
            "bytes that are not UTF-8 have no form in JSON unless the model says which: "
            'model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")'
        )
    if isinstance(value, str):
        return "JSON cannot represent a str with a lone surrogate; decode it properly, or use bytes"
    return (
        f"JSON cannot represent an object of type {type(value).__name__}; declare a type that has one, "
        "or add a field_serializer"
    )


def _part_fails(dump: Callable[[Any], Any], whole: Any, name: Any, part: Any) -> bool:
    """Return whether a part cannot be dumped, by the serializer of its field if it has one."""
    serializer = getattr(type(whole), "__pydantic_serializer__", None)
    if serializer is None:
        return _fails(dump, part)
    return _fails(lambda _: serializer.to_python(whole, mode="json", include={name}, warnings=False), part)


def _fails(dump: Callable[[Any], Any], part: Any) -> bool:
    try:
        dump(part)
    except Exception:  # a model's own serializers may raise anything
        return True
    return False
