"""Digests of functions: by name, source and the values that they carry."""

import functools
import importlib.util
import os
import textwrap
import time
from pathlib import Path

import pytest

from satchel import DigestError
from satchel.content import digest

NUMBER = 0


@pytest.fixture
def load(tmp_path):
    """Return a function that imports a module made of some text, always under the same name."""

    def load(text):
        global NUMBER  # noqa: PLW0603  # each file is another
        NUMBER += 1
        path = tmp_path / f"module_{NUMBER}.py"
        path.write_text(textwrap.dedent(text))
        spec = importlib.util.spec_from_file_location("module_of_functions", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


ADD = """
def add(a, b=1):
    return a + b
"""


def test_the_source_counts_and_its_place_does_not(load):
    one = digest(load(ADD).add)
    assert digest(load("import os\n\n\n" + ADD).add) == one
    assert digest(load(ADD.replace("a + b", "a - b")).add) != one
    assert digest(load(ADD.replace("b=1", "b=2")).add) != one
    assert digest(load(ADD.replace("add", "plus")).plus) != one


def test_defaults_count_by_their_values(load):
    text = "LIMIT = {}\ndef cut(text, limit=LIMIT, *, mark=LIMIT):\n    return text[:limit]\n"
    assert digest(load(text.format(1)).cut) != digest(load(text.format(2)).cut)


def test_what_a_closure_holds_counts(load):
    text = """
        def make(step):
            def add(number):
                return number + step
            return add

        def counting():
            def down(number):
                return number and down(number - 1)
            return down
    """
    module = load(text)
    assert digest(module.make(1)) == digest(module.make(1)) != digest(module.make(2))
    assert digest(module.counting()) == digest(module.counting())  # which holds itself
    with pytest.raises(DigestError, match=r"^\$\[0\]\.step: an object has no digest"):
        digest([module.make(object())])


def test_a_decorator_counts_by_what_it_returns(load):
    text = """
        import functools

        def twice(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args), function(*args)
            return wrapper

        def plain(function):
            return function

        @{}
        def add(a, b):
            return a + b
    """
    assert digest(load(text.format("twice")).add) != digest(load(text.format("plain")).add)


def test_lambdas_differ_by_their_text(load):
    module = load("one, two = (lambda a: a + 1), (\n    lambda a: a + 2)\nthree = [lambda a: a, lambda b: b]\n")
    assert digest(module.one) != digest(module.two)
    assert digest(module.three[0]) != digest(module.three[1])
    module = load("pair = [lambda a: a + 1, lambda a: a + 2]\nsame = [lambda a: 1, lambda a: 1]\n")
    with pytest.raises(DigestError, match=r"^\$: line 1 has several lambdas; use def, or one lambda a line$"):
        digest(module.pair[0])
    assert digest(module.same[0]) == digest(module.same[1])


def test_a_file_that_was_changed_after_it_was_imported_is_refused(load):
    module = load(ADD)
    path = Path(module.__spec__.origin)
    before = digest(module.add)
    path.write_text(ADD.replace("a + b", "a - b"))
    os.utime(path, (time.time() + 5, time.time() + 5))
    with pytest.raises(DigestError, match="the source of the function add cannot be read, or was changed after"):
        digest(module.add)
    path.write_text(ADD)
    os.utime(path, (time.time() + 9, time.time() + 9))
    assert digest(module.add) == before


def test_a_function_without_a_file_is_refused():
    made: dict[str, object] = {}
    exec(ADD, made)  # noqa: S102  # as a function without a file is made
    with pytest.raises(DigestError, match="the source of the function add cannot be read"):
        digest(made["add"])


class Shape:
    def __init__(self, sides: int) -> None:
        self.sides = sides

    def __digest__(self) -> int:
        return self.sides

    def area(self) -> float:
        return 1.0

    @classmethod
    def square(cls) -> "Shape":
        return cls(4)

    @staticmethod
    def corners() -> int:
        return 4


def test_methods_count_by_their_object():
    assert digest(Shape(3).area) == digest(Shape(3).area) != digest(Shape(4).area)
    found = [Shape.area, Shape(3).area, Shape.square, Shape.corners, functools.partial(Shape.area, Shape(3))]
    assert len({digest(each) for each in found}) == len(found)


def test_functions_in_c_count_by_their_names():
    found = [
        len,
        "a".upper,
        "b".upper,
        "a".lower,
        str.upper,
        bytes.upper,
        str.__len__,
        "a".__len__,
        dict.fromkeys,
    ]
    assert len({digest(each) for each in found}) == len(found)
    assert digest("a".upper) == digest("a".upper)


async def test_the_source_of_a_function_is_read_on_the_event_loop_too():
    assert digest(Shape.area) == digest(Shape.area)
