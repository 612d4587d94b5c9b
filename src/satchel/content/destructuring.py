"""Taking values apart into parts, and putting them together again without calling `__init__`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import MemberDescriptorType
from typing import Any, TypeGuard

from ..errors import ConfigurationError, IntegrityError, SerializationError
from .objects import attributes_of
from .records import Shape

_CONTAINERS = (list, tuple, dict)


@dataclass(frozen=True, slots=True)
class _Destructurer:
    predicate: Callable[[Any], bool]
    split: Callable[[Any], Any]
    join: Callable[[Any], Any]


_registered: dict[str, _Destructurer] = {}


def register_destructurer(
    predicate: Callable[[Any], bool], split: Callable[[Any], Any], join: Callable[[Any], Any]
) -> None:
    """Register how values of one kind are taken apart, in every `ContentStore` of this process.

    `join` is remembered in the store by its module and name, and only one that is registered is called: so every
    process that loads such values registers it too. A later registration under the same name replaces the earlier one.

    Args:
        predicate: Returns whether a value is of the kind. It is called for values that are neither a list, a tuple, a
            dict, nor an object that is taken apart by its attributes; the last registered is asked first.
        split: Returns the parts of a value: a list, a tuple or a dict.
        join: Returns the value from such parts. It has to have the digest of the original.

    Raises:
        ConfigurationError: An argument is not a function, or `join` is a lambda or defined inside of another function.
    """
    for option, function in (("predicate", predicate), ("split", split), ("join", join)):
        if not callable(function):
            raise ConfigurationError(f"{option} must be a function, got {type(function).__name__}")
    name = _name_of(join)
    if name is None:
        raise ConfigurationError("join must be a function at the top level of a module: its name is stored")
    _registered.pop(name, None)
    _registered[name] = _Destructurer(predicate, split, join)


def _name_of(thing: Any) -> str | None:
    """Return the module and qualified name under which a class or function is found; None if it has none."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}:{name}" if module and name and "<" not in name else None


def split(value: Any) -> tuple[Shape, list[Any]] | None:
    """Return the shape and the parts of a value; None for a value that is not taken apart."""
    kind = type(value)
    if kind in _CONTAINERS:
        return _split_container(value)
    name = _class_name(kind)
    if name is not None:
        if issubclass(kind, tuple):
            return Shape(type="named_tuple", cls=name), list(tuple.__iter__(value))
        state = attributes_of(value)
        if not _are_text(state):
            return None
        return Shape(type="object", cls=name, keys=tuple(state)), list(state.values())
    for join, destructurer in reversed(_registered.items()):
        if destructurer.predicate(value):
            parts = destructurer.split(value)
            if type(parts) not in _CONTAINERS:
                raise SerializationError(
                    f"the split registered with {join} must return a list, tuple or dict, got {type(parts).__name__}"
                )
            shape, children = _split_container(parts)
            return Shape(type=shape.type, keys=shape.keys, join=join), children
    return None


def _split_container(value: Any) -> tuple[Shape, list[Any]]:
    kind = type(value)
    if kind is not dict:
        return (_LIST if kind is list else _TUPLE), list(value)
    keys = tuple(value)
    if _are_text(keys):
        return Shape(type="dict", keys=keys), list(value.values())
    return _DICT, [part for pair in value.items() for part in pair]


def _are_text(names: Collection[object]) -> bool:
    """Return whether all are `str` that UTF-8 has, so that the head of a node can hold them."""
    try:
        "".join(names).encode()  # type: ignore[arg-type]  # it raises TypeError for others
    except (TypeError, UnicodeEncodeError):
        return False
    return {str}.issuperset(map(type, names))


_LIST, _TUPLE, _DICT = Shape(type="list"), Shape(type="tuple"), Shape(type="dict")


def join(shape: Shape, children: Sequence[Any]) -> Any:
    """Return the value that `split` took apart.

    Raises:
        SerializationError: Its class or its function is not there; the message names it.
        IntegrityError: The shape is not one that `split` makes, or the function raised an error.
    """
    try:
        value = _join(shape, children)
        if shape.join is None:
            return value
    except SerializationError:
        raise
    except Exception as error:  # the hash of a key that lacks attributes can raise anything
        raise IntegrityError("the head of a node does not fit its parts: it is damaged") from error
    destructurer = _registered.get(shape.join)
    if destructurer is None:
        raise SerializationError(
            f"a value is put together by {shape.join}, which is not registered; import the module that calls "
            "register_destructurer with it"
        )
    try:
        return destructurer.join(value)
    except Exception as error:
        raise IntegrityError(
            f"{shape.join} raised {type(error).__name__} for the parts of a value: the entry is damaged, or the "
            "function has changed"
        ) from error


def join_plain(shape: Shape, children: Sequence[Any]) -> Any:
    """Return what `join` returns, but for a registered function what it would be given."""
    return _join(shape, children)


def _join(shape: Shape, children: Sequence[Any]) -> Any:
    kind = shape.type
    if kind == "list":
        return list(children)
    if kind == "tuple":
        return tuple(children)
    if kind == "dict":
        keys, values = (children[::2], children[1::2]) if shape.keys is None else (shape.keys, children)
        return dict(zip(keys, values, strict=True))
    cls = _find(shape.cls or "")
    if kind == "named_tuple" and issubclass(cls, tuple):
        if len(children) != len(cls._fields):  # type: ignore[attr-defined]  # a named tuple has them
            raise ValueError(kind)
        return tuple.__new__(cls, children)
    if kind != "object":
        raise ValueError(kind)
    value: Any = object.__new__(cls)
    for name, child in zip(shape.keys or (), children, strict=True):
        _set(value, name, child)
    return value


def _set(value: Any, name: str, child: Any) -> None:
    """Set an attribute without calling a property or another descriptor of the class.

    What such a one returns is made of other attributes, and nothing reads what the object itself has under its name.
    """
    found = next((vars(kind)[name] for kind in type(value).__mro__ if name in vars(kind)), None)
    if isinstance(found, MemberDescriptorType):
        found.__set__(value, child)
    elif not hasattr(type(found), "__set__"):
        vars(value)[name] = child


_names: dict[type, str | None] = {}


def _class_name(kind: type) -> str | None:
    """Return the name of a class whose objects are taken apart by their attributes; None for others."""
    try:
        return _names[kind]
    except KeyError:
        name = _name_of(kind) if _is_record(kind) else None
        found = None if name is None else _lookup(name)
        if len(_names) >= 4096:  # classes that are made anew again and again
            _names.clear()
        _names[kind] = name if found is kind else None
        return _names[kind]


def _is_record(kind: object) -> TypeGuard[type]:
    """Return whether something is a class of which objects may be made: of a dataclass, of attrs, or a named tuple."""
    if not isinstance(kind, type):
        return False
    if issubclass(kind, tuple):
        return kind.__bases__ == (tuple,) and hasattr(kind, "_fields")
    if not (dataclasses.is_dataclass(kind) or "__attrs_attrs__" in kind.__dict__):
        return False
    try:
        object.__new__(kind)
    except TypeError:  # it is derived from a built-in type, or is abstract
        return False
    return True


def _lookup(name: str) -> object:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found


def _find(name: str) -> type:
    found = _lookup(name)
    if not _is_record(found):
        module, _, path = name.partition(":")
        gone = (
            f"the class {path} is not in module {module}, or is not a dataclass, attrs class or named tuple any more"
            if module in sys.modules
            else f"the class {path} is in module {module}, which is not imported; import it before loading"
        )
        raise SerializationError(f"a value cannot be put together: {gone}")
    return found
