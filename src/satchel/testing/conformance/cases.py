"""Names, values and times to live that every store accepts, and those that every store refuses."""

from __future__ import annotations

import enum
import math
import random
import uuid
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any


class Colour(enum.StrEnum):
    """Text that is not a plain `str`."""

    RED = "red"


class Level(enum.IntEnum):
    """Number that is not a plain `int`."""

    HIGH = 3


class Text(str):
    """Subclass of `str`, allowed for names but not for values."""

    __slots__ = ()


class Number(int):
    """Subclass of `int`."""


class Items(list[object]):
    """Subclass of `list`."""


class Fields(dict[str, object]):
    """Subclass of `dict`."""


class Blob(bytes):
    """Subclass of `bytes`."""


def nested(depth: int, kind: type[Any] = list) -> Any:
    """Return containers nested in each other to a given depth."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"inner": value}
    return value


ACCEPTED_VALUES: dict[str, list[Any]] = {
    "none_and_booleans": [None, True, False],
    "integers": [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)],
    "floats": [0.0, -0.0, 1.0, 0.1, -1.5, 1e300, 5e-324, 1.7976931348623157e308, 1e22, 123456789.0],
    "text": [
        "",
        "123",
        "null",
        "true",
        "naïve",
        "e\u0301",
        "\u00e9",
        "\U0001f600",
        "a\x00b",
        "\n\r\t",
        "\u2028",
        "\x7f",
    ],
    "text_that_looks_like_markup": ["$.a", "b'hi'", "2026-01-01", '{"a": 1}', "__compressed__", "NaN", "' OR 1=1 --"],
    "bytes": [b"", b"hi", b"\x00", b"\x89S\x01", b"{}", b"null", bytes(range(256)), "é".encode()],
    "lists": [[], [None], [1, 1.0, True, "1"], [0, 0.0, False, ""], [[], [[]]], [{}], list(range(1000))],
    "dicts": [
        {},
        {"b": 1, "a": 2},
        {"": 1, " ": 2, ".": 3, "a.b": 4, "$set": 5, "_id": 6, "\x00": 7, "\U0001f600": 8},
        {"__compressed__": True, "data": "eJw"},
        {"value": 1, "version": "x", "expires_at": 0, "deadline": None},
        {"$date": "2026-01-01", "$oid": "0"},
        {"e\u0301": 1, "\u00e9": 2},
        {"a": {"b": [{"c": None}]}},
    ],
    "nesting_of_100": [nested(100), nested(100, dict)],
}
"""Accepted values by theme: each comes back with the same types at every level."""

_SELF: list[Any] = []
_SELF.append(_SELF)

REFUSED_VALUES: dict[str, list[tuple[Any, str]]] = {
    "tuples_and_sets": [((), "$"), ([1, (2,)], "$[1]"), ({1}, "$"), ({"a": frozenset()}, "$.a")],
    "floats_that_json_lacks": [(math.nan, "$"), (math.inf, "$"), ({"tags": [1, 2, -math.inf]}, "$.tags[2]")],
    "integers_beyond_64_bits": [(2**63, "$"), (-(2**63) - 1, "$"), ([10**40], "$[0]")],
    "keys_that_are_not_str": [({1: "a"}, "$"), ({"a": {None: 1}}, "$.a"), ({b"a": 1}, "$"), ({Colour.RED: 1}, "$")],
    "enums": [(Colour.RED, "$"), (Level.HIGH, "$"), (["red", Colour.RED], "$[1]")],
    "subclasses": [
        (Text("a"), "$"),
        (Number(1), "$"),
        (Items(), "$"),
        (Fields(), "$"),
        (OrderedDict(), "$"),
        (Blob(b"a"), "$"),
        ({"a": Text("b")}, "$.a"),
        ({Text("a"): 1}, "$"),
    ],
    "bytes_below_the_top": [([b"a"], "$[0]"), ({"a": b"b"}, "$.a")],
    "other_bytes": [(bytearray(b"a"), "$"), (memoryview(b"a"), "$")],
    "objects": [
        (object(), "$"),
        (datetime(2026, 1, 1, tzinfo=UTC), "$"),
        (timedelta(1), "$"),
        (Decimal(1), "$"),
        (uuid.UUID(int=1), "$"),
        (PurePosixPath("a"), "$"),
        (1j, "$"),
        (int, "$"),
        (len, "$"),
        ({"tags": ["a", "b", object()]}, "$.tags[2]"),
    ],
    "lone_surrogates": [("\ud800", "$"), (["a\udfff"], "$[0]"), ({"\ud800": 1}, "$")],
    "nesting_of_101": [(nested(101), "$"), (nested(101, dict), "$"), (nested(5000), "$"), (_SELF, "$")],
}
"""Refused values by theme, each with the path that the error names."""


def identical(left: object, right: object) -> bool:
    """Return whether two values and all their types are equal: `1`, `1.0` and `True` differ, as do `0.0` and `-0.0`."""
    stack = [(left, right)]
    while stack:
        one, other = stack.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            stack.extend(zip(one, other, strict=True))
        elif isinstance(one, dict) and isinstance(other, dict):
            if list(one) != list(other):
                return False
            stack.extend(zip(one.values(), other.values(), strict=True))
        elif one != other or (one == 0.0 and str(one) != str(other)):  # their text distinguishes 0.0 from -0.0
            return False
    return True


LEGAL_NAMES: tuple[str, ...] = (
    *("a", "A", "aa", "a.", ".a", "a b", " a", "a ", " ", "0", "None", "null", "__len__", "_id", "$set", "-", "--"),
    *("..", ".", "/", "\\", "../x", "../../etc/passwd", "/etc/passwd", "..\\x", "a/b", "a//b", "a/", "./a", "~", "C:"),
    *("a:b", "a::b", "a__b", "a,b", "a;b", "a|b", "a=b", "a&b", "a?b", "a#b", "a@b", "a+b", "{a}", "<a>", "(a)"),
    *("%", "%%", "%41", "%2e%2e", "%-", "_", "a_", "axb", "a%b", "*", "a*", "[a]", "[!a]", "?", "^", "$", "a\\*"),
    *(
        "'",
        '"',
        "`",
        "' OR 1=1 --",
        "'; DROP TABLE x",
        "{{a}}",
        "${a}",
        "$(a)",
        "\x00",
        "a\x00",
        "a\x00b",
        "\x01",
        "\x7f",
    ),
    *("\n", "a\n", "\r\n", "\t", "con", "CON", "nul", "aux.txt", "com1", "lock", ".tmp", "a.json", "a.bin", "index"),
    *(
        "\u00e9",
        "e\u0301",
        "\u00c9",
        "\u212b",
        "\u00c5",
        "\u03c3",
        "\u03c2",
        "\u0130",
        "\u0131",
        "\u00df",
        "ss",
        "\ufb01",
        "fi",
    ),
    *("\U0001f600", "\U0001f468\u200d\U0001f469", "\u200b", "\u202e", "\ufeff", "\u2028", "\uffff", "\U0010ffff"),
    *("key" * 100, "é" * 150, "%" * 90, "." * 300, "/" * 300),
)
"""Names that every store accepts and distinguishes, as keys and as collections."""

ILLEGAL_NAMES: tuple[Any, ...] = ("", "\ud800", "a\udfff", None, 1, b"a", ("a",), ["a"], object())
"""Names that every store refuses, as keys and as collections."""

LEGAL_TTLS: tuple[Any, ...] = (
    0.001,
    0.2,
    1,
    2,
    2.5,
    3600.0,
    timedelta(milliseconds=200),
    timedelta(days=31),
    86_400 * 365,
)
"""Times to live that every store accepts."""

ILLEGAL_TTLS: tuple[Any, ...] = (
    *(0, -1, 0.0, -0.5, math.nan, math.inf, -math.inf, 1e12, 10**30, True, False, "60", b"1", [1], {}, object()),
    *(timedelta(0), timedelta(seconds=-1), timedelta(days=40_000), datetime(2026, 1, 1, tzinfo=UTC), 1j),
)
"""Times to live that every store refuses."""


def long_names(limit: int) -> list[str]:
    """Return incompressible names of the maximum length that differ only in their last characters."""
    source = random.Random(limit)  # noqa: S311  # the same names in each run
    letters = "".join(
        source.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&()*+,-./:", k=limit)
    )
    characters = "".join(chr(source.randrange(0x4E00, 0x9FFF)) for _ in range(limit // 3 - 1))
    padding = limit - len(characters.encode())
    return [
        letters[:-1] + "x",
        letters[:-1] + "X",
        letters[:-1],
        characters + "y" * padding,
        characters + "z" * padding,
    ]
