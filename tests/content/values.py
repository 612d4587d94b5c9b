"""Classes of values that tests of content save, at the top level of a module, where a load finds them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import attrs

T = TypeVar("T")


@dataclass
class Point:
    x: object
    y: object = None

    def __post_init__(self):
        if self.x == "refused":
            raise AssertionError("__init__ was called")


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    parts: list = field(default_factory=list)


@attrs.define
class Sized:
    size: int
    content: object


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class Lazy:
    n: int

    @cached_property
    def double(self):
        return 2 * self.n


@dataclass
class Guarded:
    """Has a field whose value is kept, and changed on its way, by a property."""

    size: int

    @property
    def size(self):
        return 2 * self._half

    @size.setter
    def size(self, size):
        Guarded.sets += 1
        self._half = size // 2


Guarded.sets = 0


class Pair(NamedTuple):
    left: object
    right: object


class Matrix:
    """No dataclass: it is taken apart by a function that is registered."""

    def __init__(self, rows):
        self.rows = rows

    def __digest__(self):
        return self.rows

    def __eq__(self, other):
        return isinstance(other, Matrix) and self.rows == other.rows

    __hash__ = None


def matrix_of(parts):
    return Matrix(parts["rows"])


def is_matrix(value):
    return isinstance(value, Matrix)


def split_matrix(matrix):
    return {"rows": matrix.rows}
