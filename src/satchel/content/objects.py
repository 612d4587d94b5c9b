"""Rules for classes of the user's: dataclasses, attrs, pydantic, msgspec, named tuples, enums, subclasses of built-ins.

The digest of an object is that of its class's name, and of all its attributes. An attribute that no field declares
counts too: a digest that ignored it would be the same for values that are not.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from .walk import NO_BASE, Rule, Walk, digest_of_type, message_of_object

_HEAP, _IMMUTABLE = 1 << 9, 1 << 8
"""Flags of a class: a class made by a `class` statement has the first alone."""
_SEE_THROUGH = {"msgspec", "msgspec._core"}
"""Where classes in C come from that keep nothing but their fields."""
_ABSENT = object()
"""Stands for an attribute that was deleted, or never set."""
_NOT_STATE = {"__dict__", "__weakref__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"}
_PLAIN: dict[type, Callable[[Any], object]] = {
    # Each by the method of the built-in type: one that a subclass overrides may tell something else.
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: lambda value: bytearray(bytearray.__getitem__(value, slice(None))),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    list: lambda value: list(list.__iter__(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    OrderedDict: lambda value: OrderedDict(OrderedDict.items(value)),
    defaultdict: lambda value: defaultdict(value.default_factory, dict.items(value)),
    dict: lambda value: dict(dict.items(value)),
    deque: lambda value: deque(deque.__iter__(value), value.maxlen),
    Decimal: Decimal,
    Fraction: lambda value: Fraction(value.numerator, value.denominator),
    UUID: lambda value: UUID(bytes=value.bytes),
    dt.datetime: lambda value: dt.datetime(
        *(value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond),
        tzinfo=value.tzinfo,
        fold=value.fold,
    ),
    dt.date: lambda value: dt.date(value.year, value.month, value.day),
    dt.time: lambda value: dt.time(
        value.hour, value.minute, value.second, value.microsecond, tzinfo=value.tzinfo, fold=value.fold
    ),
    dt.timedelta: lambda value: dt.timedelta(value.days, value.seconds, value.microseconds),
}


def fields_of(kind: type) -> tuple[str, ...] | None:
    """Return the names of the fields that a class declares; None for a class that declares none."""
    if hasattr(kind, "__pydantic_fields__") and hasattr(kind, "__pydantic_private__"):
        return tuple(kind.__pydantic_fields__)
    if hasattr(kind, "__dataclass_fields__"):
        return tuple(field.name for field in dataclasses.fields(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(field.name for field in kind.__attrs_attrs__)
    if hasattr(kind, "__struct_fields__"):
        return tuple(kind.__struct_fields__)
    if is_named_tuple(kind):
        return tuple(kind._fields)  # type: ignore[attr-defined]  # as just checked
    return None


def is_named_tuple(kind: type) -> bool:
    """Return whether a class is made by `NamedTuple` or `namedtuple`, or derived from one that is."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


@lru_cache(maxsize=1000)
def _layout(kind: type) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the names of attributes that are not in the `__dict__` of an object, and of those that do not count."""
    names, derived = dict.fromkeys(fields_of(kind) or ()), set[str]()
    for owner in reversed(kind.__mro__):
        slots = vars(owner).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            private = slot.startswith("__") and not slot.endswith("__")
            names.setdefault(f"_{owner.__name__.lstrip('_')}{slot}" if private else slot)
        for name, part in vars(owner).items():
            (derived.add if isinstance(part, cached_property) else derived.discard)(name)
        derived.update(_cached_by_attrs(owner))
    return tuple(name for name in names if name not in _NOT_STATE and name not in derived), frozenset(derived)


def _cached_by_attrs(owner: type) -> set[str]:
    """Return the slots in which attrs keeps values, having taken the `cached_property` objects off a class."""
    getter = getattr(vars(owner).get("__getattr__"), "__code__", None)
    if "__attrs_attrs__" in vars(owner) and getter is not None and "cached_properties" in getter.co_varnames:
        return set(owner.__slots__) - {*(fields_of(owner) or ()), *_NOT_STATE}  # type: ignore[attr-defined]  # it has slots
    return set()


def attributes_of(value: Any) -> dict[str, object]:
    """Return the attributes of an object that make its value.

    These are all but what `cached_property` keeps, and what `typing` notes when a generic class is called with types.
    """
    names, derived = _layout(type(value))  # type: ignore[arg-type]  # a class can be hashed
    state = {name: getattr(value, name, _ABSENT) for name in names}
    state.update(getattr(value, "__dict__", ()))
    state.pop("__orig_class__", None)
    for more in ("__pydantic_extra__", "__pydantic_private__"):
        state.update(getattr(value, more, None) or ())
    if derived or any(part is _ABSENT for part in state.values()):
        return {name: part for name, part in state.items() if part is not _ABSENT and name not in derived}
    return state


def is_open(kind: type) -> bool:
    """Return whether the attributes of its instances are all that makes their value."""
    if fields_of(kind) is None or issubclass(kind, Enum) or _is_opaque(kind):
        return False
    return _plain_of(kind) is None


def _is_opaque(kind: type) -> bool:
    """Return whether a class is derived from one in C that may keep a part of the value out of sight, as an array."""
    return any(
        base.__flags__ & (_HEAP | _IMMUTABLE) != _HEAP and base not in _PLAIN and base.__module__ not in _SEE_THROUGH
        for base in kind.__mro__[:-1]
    )


def _plain_of(kind: type) -> Callable[[Any], object] | None:
    """Return what makes a plain value of the built-in part of an instance; None for classes without such a part."""
    return None if is_named_tuple(kind) else next((_PLAIN[base] for base in kind.__mro__ if base in _PLAIN), None)


def rule_of_object(kind: type) -> Rule | None:
    """Return the rule of a class of the user's; None for one whose instances do not show what makes their value."""
    if issubclass(kind, Enum):
        return _flag if issubclass(kind, Flag) else _enum
    plain = _plain_of(kind)
    if _is_opaque(kind) or (plain is None and fields_of(kind) is None):
        return None

    def message(value: object, walk: Walk) -> bytes:
        base = NO_BASE if plain is None else walk.digest(plain(value))
        attributes = [(name, walk.digest(part)) for name, part in attributes_of(value).items()]
        return message_of_object(kind, base, attributes)

    return lambda value, walk: walk.descend(value, message)


def _enum(value: Enum, walk: Walk) -> bytes:
    parts = digest_of_type(type(value)), walk.digest(value._name_), walk.digest(value._value_)
    return sha256(b"enum:" + b"".join(parts)).digest()


def _flag(value: Flag, walk: Walk) -> bytes:
    parts = digest_of_type(type(value)), NO_BASE, walk.digest(value._value_)
    return sha256(b"enum:" + b"".join(parts)).digest()
