"""Values of every type that has a digest; their digests are kept in tests/golden/content.

`python -m tests.golden.content_values` adds the digests that are missing, and changes none: a digest, once released,
stays the same for ever. `... show` writes the digests of all values to standard output instead.
"""

import abc
import dataclasses
import datetime as dt
import enum
import functools
import json
import math
import operator
import re
import struct
import sys
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic

from satchel.content import digest

T = typing.TypeVar("T")
PATH = Path(__file__).parent / "content" / "digests.json"


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0
    label: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: object


@dataclasses.dataclass
class Holder(abc.ABC, typing.Generic[T]):
    held: T


@attrs.define
class Box:
    width: int
    _secret: int = 2


class Row(msgspec.Struct):
    number: int
    text: str = ""


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    when: dt.date | None = None
    _private: int = 3


class Pair(typing.NamedTuple):
    left: object
    right: object


class Color(enum.Enum):
    RED = "red"
    GREEN = (0, 255, 0)


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Tags(list[str]):
    """Subclass of a built-in type, with an attribute of its own."""


class Celsius(float):
    __slots__ = ("station",)


class Name(str):
    __slots__ = ()


class Reading:
    def __init__(self, value: object) -> None:
        self.value = value

    def __digest__(self) -> object:
        return self.value

    def twice(self) -> None:
        """Do nothing."""


def area(width: int, height: int = 2, *, unit: str = "m") -> str:
    # A comment counts: the source is compared as text.
    return f"{width * height} {unit}²"


@functools.lru_cache
def decorated() -> None:
    """Do nothing."""


def make_adder(step: int) -> typing.Callable[[int], int]:
    def add(number: int) -> int:
        return number + step

    return add


async def waits() -> None:
    """Do nothing."""


double = lambda number: number * 2  # noqa: E731  # a lambda is what is tested


def nan(bits: int) -> float:
    return float(struct.unpack(">d", bits.to_bytes(8, "big"))[0])


def with_attribute(value: typing.Any, **attributes: object) -> typing.Any:
    for name, part in attributes.items():
        setattr(value, name, part)
    return value


VALUES: dict[str, object] = {
    "None": None,
    "True": True,
    "False": False,
    "Ellipsis": ...,
    "NotImplemented": NotImplemented,
    "int 0": 0,
    "int 1": 1,
    "int -1": -1,
    "int 2**64": 2**64,
    "int -10**6000": -(10**6000),
    "float 0.0": 0.0,
    "float -0.0": -0.0,
    "float 1.0": 1.0,
    "float 0.1": 0.1,
    "float inf": math.inf,
    "float nan": nan(0x7FF8000000000000),
    "float nan with payload": nan(0x7FF8000000000001),
    "complex": 1.5 - 2j,
    "str empty": "",
    "str": "Åda 🙂\0",
    "str surrogate": "\ud800",
    "str long": "é" * 5000,
    "bytes": bytes(range(256)),
    "bytes long": bytes(range(256)) * 40,
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abc"),
    "memoryview of two dimensions": memoryview(b"abcd").cast("B", (2, 2)),
    "list empty": [],
    "list": [1, "a", [None]],
    "tuple": (1, "a", (None,)),
    "set": {1, "a", (2, 3)},
    "frozenset": frozenset({1, "a"}),
    "dict": {"b": 1, "a": [2], 3: None, (4, 5): {}},
    "OrderedDict": OrderedDict(b=1, a=2),
    "defaultdict": defaultdict(list, a=[1]),
    "Counter": Counter("abca"),
    "deque": deque([1, 2], maxlen=3),
    "range empty": range(5, 1),
    "range of one": range(5, 6, 7),
    "range": range(1, 10, 3),
    "range backwards": range(10, -(2**70), -(2**69)),
    "slice": slice(1, None, 2),
    "Decimal": Decimal("-1.500"),
    "Decimal E": Decimal("1E+30"),
    "Decimal sNaN": Decimal("sNaN123"),
    "Decimal -Infinity": Decimal("-Infinity"),
    "Fraction": Fraction(-2, 3),
    "UUID": UUID("12345678-1234-5678-1234-567812345678"),
    "datetime": dt.datetime(2024, 2, 29, 12, 30, 1, 5),  # noqa: DTZ001  # a naive one has a digest too
    "datetime fold": dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    "datetime UTC": dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
    "datetime ZoneInfo UTC": dt.datetime(2024, 2, 29, tzinfo=ZoneInfo("UTC")),
    "date": dt.date(1, 1, 1),
    "time": dt.time(23, 59, 59, 999999, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30), "NST")),
    "timedelta": dt.timedelta(days=-1, microseconds=1),
    "timezone": dt.timezone(dt.timedelta(hours=1)),
    "ZoneInfo": ZoneInfo("Europe/Berlin"),
    "PurePosixPath": PurePosixPath("/a/../b"),
    "PureWindowsPath": PureWindowsPath("C:\\a\\b"),
    "Pattern": re.compile("a+", re.IGNORECASE),
    "Pattern of bytes": re.compile(b"a+"),
    "partial": functools.partial(area, 1, unit="cm"),
    "dataclass": Point(1.0, label="here"),
    "dataclass with another attribute": with_attribute(Point(1.0), note="a"),
    "dataclass slots": Slotted([Point(0.0)]),
    "dataclass generic": Holder([1]),
    "attrs": Box(1),
    "Struct": Row(1, "a"),
    "pydantic": Model(name="Ada", when=dt.date(1815, 12, 10)),
    "pydantic extra": Model.model_validate({"name": "Ada", "more": [1]}),
    "NamedTuple": Pair(1, "a"),
    "Enum": Color.GREEN,
    "IntEnum": Level.LOW,
    "Flag": Access.READ | Access.WRITE,
    "Flag of none": Access(0),
    "subclass of list": Tags(["a"]),
    "subclass of list with an attribute": with_attribute(Tags(["a"]), owner="Ada"),
    "subclass of float with a slot": with_attribute(Celsius(21.5), station="roof"),
    "subclass of str": Name("Ada"),
    "__digest__": Reading(21.5),
    "__digest__ gives a Digest": Reading(digest("a")),
    "Digest in a list": [digest(1), digest("a"), digest(True)],
    "class of Python": dict,
    "class": Point,
    "class pathlib": PurePosixPath,
    "function": area,
    "function decorated": decorated.__wrapped__,
    "function with a closure": make_adder(3),
    "function async": waits,
    "lambda": double,
    "method": Reading(1).twice,
    "method of a class in C": [1].append,
    "builtin function": len,
    "builtin function of a module": operator.add,
    "method descriptor": str.upper,
    "slot of a class": int.__add__,
    "nested": {"rows": [{"id": number, "at": Point(number, 1.0)} for number in range(20)], "of": (Color.RED, {1, 2})},
}


def all_values() -> dict[str, object]:
    from tests.golden.content_arrays import ARRAYS  # noqa: PLC0415  # it imports numpy and pandas

    return {**VALUES, **ARRAYS}


def digests() -> dict[str, str]:
    return {name: digest(value) for name, value in all_values().items()}


def main() -> None:
    known: dict[str, str] = json.loads(PATH.read_text("utf-8")) if PATH.exists() else {}
    if sys.argv[1:] == ["show"]:
        print(json.dumps(digests()))  # noqa: T201  # what it is for
    else:
        PATH.write_text(json.dumps(digests() | known, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    from tests.golden import content_values

    content_values.main()  # not as __main__, which is another module
