"""Rules for the types that come with Python.

Numbers and text are written as bytes that are the same on every machine; sets and dicts are sorted by digest.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import struct
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from ..errors import DigestError
from .walk import (
    NO_BASE,
    Rule,
    Walk,
    digest_of_bytes,
    digest_of_name,
    digest_of_text,
    digest_of_type,
    known_names,
    message_of_dict,
    rule_of_parts,
)

_double = struct.Struct(">d").pack
_MICROSECOND = dt.timedelta(microseconds=1)


def _single(tag: bytes) -> Rule:
    found = sha256(tag).digest()
    return lambda _, __: found


_TRUE, _FALSE = sha256(b"bool:1").digest(), sha256(b"bool:0").digest()


def _bool(value: bool, _: Walk) -> bytes:
    return _TRUE if value else _FALSE


def _none(_: None, __: Walk) -> bytes:
    return NO_BASE


def _int(value: int, _: Walk) -> bytes:
    return sha256(b"int:%x" % value).digest()


def _float(value: float, _: Walk) -> bytes:
    return sha256(b"float:" + _double(value)).digest()


def _complex(value: complex, _: Walk) -> bytes:
    return sha256(b"complex:" + _double(value.real) + _double(value.imag)).digest()


def _str(value: str, _: Walk) -> bytes:
    if len(value) < 1024:  # small enough to be copied
        return sha256(b"str:" + value.encode("utf-8", "surrogatepass")).digest()
    return digest_of_text(value)


def _bytes(value: bytes, _: Walk) -> bytes:
    return digest_of_bytes(b"bytes:", value)


def _bytearray(value: bytearray, _: Walk) -> bytes:
    return digest_of_bytes(b"bytearray:", value)


def _memoryview(value: memoryview, walk: Walk) -> bytes:
    if value.itemsize != 1:
        raise DigestError("a memoryview of numbers has the byte order of its machine; use bytes or numpy")
    shape = walk.digest(value.shape)
    return digest_of_bytes(b"memoryview:" + digest_of_name(value.format) + shape, value.tobytes())


def _sequence(tag: bytes) -> Rule:
    def message(value: Iterable[object], walk: Walk) -> bytes:
        rules = walk.rules
        return tag + b"".join([rules[type(part)](part, walk) for part in value])

    return lambda value, walk: walk.descend(value, message)


def _set(tag: bytes) -> Rule:
    def message(value: Iterable[object], walk: Walk) -> bytes:
        rules = walk.rules
        return tag + b"".join(sorted([rules[type(part)](part, walk) for part in value]))

    return lambda value, walk: walk.descend(value, message)


def _dict_message(value: dict[Any, object], walk: Walk) -> bytes:
    rules, known = walk.rules, known_names
    return message_of_dict(
        [
            (known.get(key) or digest_of_name(key) if type(key) is str else rules[type(key)](key, walk))
            + rules[type(part)](part, walk)
            for key, part in value.items()
        ]
    )


def _dict(value: dict[Any, object], walk: Walk) -> bytes:
    return walk.descend(value, _dict_message)


def _range(value: range, walk: Walk) -> bytes:
    """Return the digest of a range: ranges of the same numbers are equal."""
    count = len(value) if -(2**63) <= value.start < 2**63 > value.stop >= -(2**63) else None
    step = value.step if count is None or count > 1 else None
    last = value[-1] if value else None
    return sha256(b"range:" + b"".join(map(walk.digest, (value[0] if value else None, last, step)))).digest()


def _decimal(value: Decimal, _: Walk) -> bytes:
    sign, digits, exponent = value.as_tuple()
    return sha256(b"Decimal:%d:%s:%s" % (sign, bytes(48 + d for d in digits), str(exponent).encode())).digest()


def _clock(value: dt.datetime | dt.time) -> bytes:
    naive = value.replace(tzinfo=None, fold=0)
    return b"%s:%d" % (naive.isoformat(timespec="microseconds").encode(), value.fold)


def _datetime(value: dt.datetime, walk: Walk) -> bytes:
    return sha256(b"datetime:" + walk.digest(value.tzinfo) + _clock(value)).digest()


def _time(value: dt.time, walk: Walk) -> bytes:
    return sha256(b"time:" + walk.digest(value.tzinfo) + _clock(value)).digest()


def _date(value: dt.date, _: Walk) -> bytes:
    return sha256(b"date:" + value.isoformat().encode()).digest()


def _timedelta(value: dt.timedelta, _: Walk) -> bytes:
    return sha256(b"timedelta:%x" % (value // _MICROSECOND)).digest()


def _timezone(value: dt.timezone, _: Walk) -> bytes:
    offset = value.utcoffset(None) // _MICROSECOND
    return sha256(b"timezone:%x:" % offset + value.tzname(None).encode("utf-8", "surrogatepass")).digest()


def _zone(value: ZoneInfo, _: Walk) -> bytes:
    if value.key is None:
        raise DigestError("a ZoneInfo from a file has no key; give it one: ZoneInfo.from_file(file, key=...)")
    return sha256(b"ZoneInfo:" + value.key.encode()).digest()


def _path(value: PurePath, _: Walk) -> bytes:
    flavour = b"windows" if isinstance(value, PureWindowsPath) else b"posix"
    return sha256(b"path:%s:" % flavour + str(value).encode("utf-8", "surrogatepass")).digest()


def _pattern(value: re.Pattern[Any], walk: Walk) -> bytes:
    return sha256(b"Pattern:" + walk.digest(value.pattern) + walk.digest(value.flags)).digest()


BUILT_IN: dict[type, Rule] = {
    bool: _bool,
    type(None): _none,
    type(Ellipsis): _single(b"Ellipsis:"),
    type(NotImplemented): _single(b"NotImplemented:"),
    int: _int,
    float: _float,
    complex: _complex,
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    memoryview: _memoryview,
    list: _sequence(b"list:"),
    tuple: _sequence(b"tuple:"),
    set: _set(b"set:"),
    frozenset: _set(b"frozenset:"),
    dict: _dict,
    OrderedDict: rule_of_parts(b"OrderedDict:", lambda value: (part for pair in value.items() for part in pair)),
    defaultdict: rule_of_parts(b"defaultdict:", lambda value: (value.default_factory, dict(value))),
    deque: rule_of_parts(b"deque:", lambda value: (value.maxlen, *value)),
    range: _range,
    slice: rule_of_parts(b"slice:", lambda value: (value.start, value.stop, value.step)),
    Decimal: _decimal,
    Fraction: rule_of_parts(b"Fraction:", lambda value: (value.numerator, value.denominator)),
    UUID: lambda value, _: sha256(b"UUID:" + value.bytes).digest(),
    dt.datetime: _datetime,
    dt.date: _date,
    dt.time: _time,
    dt.timedelta: _timedelta,
    dt.timezone: _timezone,
    ZoneInfo: _zone,
    PurePosixPath: _path,
    PureWindowsPath: _path,
    re.Pattern: _pattern,
    functools.partial: rule_of_parts(b"partial:", lambda value: (value.func, value.args, value.keywords, vars(value))),
    type: lambda value, _: digest_of_type(value),
}
"""The rule of each type; for exactly this type, not for those derived from it."""
