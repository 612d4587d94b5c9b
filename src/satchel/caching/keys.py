"""Keys of cached calls: texts that are the same for equal arguments alone."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Collection, Iterable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from types import NoneType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from ..errors import ConfigurationError, with_article

_PLAIN = frozenset({NoneType, bool, int, float, bytes, date, timedelta, Decimal, UUID})
"""No two values of these have the same `repr`, whatever their types."""

_ADVICE = (
    "give cached(..., key=) a function that takes the same arguments and returns the key, "
    "or leave the argument out with ignore="
)

_HASH_MARK = "#"
_HASH_LENGTH = len(_HASH_MARK) + 64


class CallKeys:
    """Keys for the calls of one function.

    A key reads `module.qualname(argument=value, ...)`, with the arguments by the function's signature and the defaults
    filled in. One that is too long becomes its own beginning, `#` and the SHA-256 of the whole, and so does not end
    with `)` as the others do.

    Args:
        function: The function.
        limit: Function that returns the longest key, in UTF-8 bytes.
        ignored: Names of the arguments that are not part of the key.

    Raises:
        ConfigurationError: The function has no argument of an ignored name.
    """

    def __init__(
        self, function: Callable[..., Any], limit: Callable[[], int], ignored: Collection[str] = frozenset()
    ) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        self._limit, self._ignored = limit, ignored
        for name in ignored:
            if name not in self._signature.parameters:
                raise ConfigurationError(f"ignore names {name!r}, which is no argument of {self._name}")

    def key(self, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call.

        Raises:
            TypeError: The function does not take these arguments.
            ConfigurationError: An argument has no canonical form.
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        parts = [
            f"{name}={self._argument(name, value)}"
            for name, value in bound.arguments.items()
            if name not in self._ignored
        ]
        return self._fitting(f"{self._name}({', '.join(parts)})")

    def key_of_item(self, item: object) -> str:
        """Return the key of one of the items that a function for many takes.

        Raises:
            ConfigurationError: The item has no canonical form.
        """
        (name, *_) = self._signature.parameters
        return self._fitting(f"{self._name}({self._argument(name, item)})")

    def _fitting(self, key: str) -> str:
        limit = self._limit()
        if len(key) * 4 <= limit or len(key.encode()) <= limit:
            return key
        digest = hashlib.sha256(key.encode()).hexdigest()
        return key.encode()[: max(0, limit - _HASH_LENGTH)].decode(errors="ignore") + _HASH_MARK + digest

    def _argument(self, name: str, value: object) -> str:
        try:
            return canonical(value)
        except _NoFormError as error:
            raise ConfigurationError(
                f"argument {name!r} of {self._name} holds {with_article(str(error))}, which cannot be part of a key; "
                f"{_ADVICE}"
            ) from None
        except RecursionError:
            problem = "is nested too deeply, or contains itself"
        except ValueError:  # of more digits than `sys.set_int_max_str_digits` allows
            problem = "holds an int of too many digits"
        raise ConfigurationError(
            f"argument {name!r} of {self._name} {problem}, so it cannot be part of a key; {_ADVICE}"
        )


class _NoFormError(Exception):
    """Names the type that has no form."""


def canonical(value: object) -> str:
    """Return a text that is unique to a value, and the same for equal values of one type and order."""
    kind = type(value)
    if kind is str:
        return ascii(value)
    if kind in _PLAIN or (isinstance(value, datetime) and _is_plain(value)):
        return repr(value)
    if isinstance(value, Enum):
        # A flag of bits that have no name has none.
        name = canonical(value.value) if isinstance(value, Flag) else value.name
        return f"{kind.__module__}.{kind.__qualname__}.{name}"
    if kind is list or kind is tuple:
        inside = _joined(value)  # type: ignore[arg-type]  # mypy does not narrow by what a type is
        return f"[{inside}]" if kind is list else f"({inside},)"
    if kind is set or kind is frozenset:
        return f"{kind.__name__}{{{_joined(value, in_order=False)}}}"  # type: ignore[arg-type]  # as above
    if kind is dict:
        pairs = [f"{canonical(name)}: {canonical(item)}" for name, item in value.items()]  # type: ignore[attr-defined]  # as above
        return f"{{{', '.join(sorted(pairs))}}}"
    raise _NoFormError(f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))


def _joined(items: Iterable[object], *, in_order: bool = True) -> str:
    parts = [canonical(item) for item in items]
    return ", ".join(parts if in_order else sorted(parts))


def _is_plain(moment: datetime) -> bool:
    zone = moment.tzinfo
    named = type(zone) is ZoneInfo and zone.key is not None
    return type(moment) is datetime and (zone is None or type(zone) is timezone or named)
