"""Values taken apart: the digest of the whole is the same however far."""

import dataclasses
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import DigestError
from satchel.content import Part, digest, register_hook, take_apart
from tests.content.test_digest import Order, Owner, values
from tests.golden.content_values import Box, Color, Model, Point, Reading, Row, Tags, all_values


@given(values, st.integers(0, 4))
def test_the_digests_are_the_same_at_every_depth(value, depth):
    whole = take_apart(value, depth)
    assert whole.digest == digest(value)
    for part in whole.walk():
        assert part.digest == digest(part.value)
        assert len(part.names) in (0, len(part.parts))


@pytest.mark.parametrize("name", all_values())
def test_every_kind_of_value_is_taken_apart_as_it_is_digested(name):
    value = all_values()[name]
    assert take_apart([value], 3).parts[0].digest == digest(value)


@pytest.mark.parametrize(
    ("value", "form", "names", "parts"),
    [
        ([1, "a"], "list", (), [1, "a"]),
        ((1, "a"), "tuple", (), [1, "a"]),
        ({"b": 1, 2: "a"}, "dict", ("b", 2), [1, "a"]),
        (Point(1.0), "object", ("x", "y", "label"), [1.0, 0.0, ""]),
        (Owner(1), "object", ("name",), [1]),
        (Box(1), "object", ("width", "_secret"), [1, 2]),
        (Row(1), "object", ("number", "text"), [1, ""]),
        (Model(name="Ada"), "object", ("name", "when", "_private"), ["Ada", None, 3]),
        (Color.RED, "leaf", (), []),
        (Tags(["a"]), "leaf", (), []),
        ({1, 2}, "leaf", (), []),
        (Reading([1]), "leaf", (), []),
        (Order, "leaf", (), []),
        ([], "list", (), []),
    ],
)
def test_a_value_is_taken_apart_by_its_form(value, form, names, parts):
    found = take_apart(value)
    assert (found.form, found.names, [part.value for part in found.parts]) == (form, names, parts)
    assert {part.form for part in found.parts} <= {"leaf"}
    assert take_apart(value, 0).form == "leaf"


@dataclasses.dataclass
class Hooked:
    x: int


def test_a_class_with_a_hook_is_not_taken_apart():
    register_hook(Hooked, lambda value: value.x)
    assert take_apart(Hooked(1)).form == "leaf"
    assert take_apart([Hooked(1)], 2).digest == digest([Hooked(1)])


def test_parts_come_once_and_before_what_they_are_part_of():
    shared = ["a", "b"]
    order = list(take_apart([shared, {"x": shared}, ["a", "b"]], 2).walk())
    assert len(order) == len({part.digest for part in order}) == 5
    seen = set()
    for part in order:
        assert isinstance(part, Part)
        assert {inner.digest for inner in part.parts} <= seen
        seen.add(part.digest)


def test_a_value_that_occurs_many_times_is_taken_apart_once():
    value: list[object] = []
    for _ in range(99):
        value = [value, value]
    assert take_apart(value, 200).digest == digest(value)


def test_a_fault_is_found_by_its_path_from_the_whole():
    with pytest.raises(DigestError, match=r"^\$\[0\]\.items\.lock: a lock"):
        take_apart([Order({"lock": threading.Lock()})], 5)


@pytest.mark.parametrize("depth", [0, 1, 50, 99, 100, 1000])
def test_no_depth_makes_room_for_deeper_values(depth):
    value: object = 1
    for _ in range(100):
        value = [value]
    assert take_apart(value, depth).digest == digest(value)
    with pytest.raises(DigestError, match="nested deeper than 100"):
        take_apart([value], depth)
