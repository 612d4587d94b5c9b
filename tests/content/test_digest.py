"""Digests: equal for equal values of the same types, different for all others, the same everywhere."""

import copy
import dataclasses
import datetime as dt
import hashlib
import itertools
import json
import math
import os
import pickle
import random
import struct
import subprocess
import sys
import threading
from collections import deque
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import DigestError
from satchel.content import Digest, digest
from tests.golden.content_values import PATH, Celsius, Point, Reading, Slotted, Tags, all_values, with_attribute

GOLDEN = json.loads(PATH.read_text("utf-8"))


@dataclasses.dataclass
class Order:
    items: object
    total: object = None


class Owner(NamedTuple):
    name: object


class Cached(list[int]):
    @cached_property
    def total(self) -> int:
        return sum(self)


@dataclasses.dataclass
class Mistake(Exception):  # noqa: N818  # one that is a value
    number: int


@dataclasses.dataclass
class Grid(np.ndarray):
    name: str


# Few values of many types, so that two drawn at random are often equal, or differ in a type alone.
atoms = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 256, 2**70, 0.0, -0.0, 1.0, math.nan, math.inf, "", "1", "a", "\ud800"]
    ),
    st.sampled_from([b"", b"1", b"a", bytearray(b"a"), 1j, dt.date(1, 1, 1), dt.timedelta(1), range(1), ...]),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
)
hashable = st.one_of(
    st.sampled_from([None, 0, 1, "", "1", "a", b"a", (), (1,), ("a",)]), st.integers(), st.text(max_size=2)
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3),
        st.frozensets(hashable, max_size=3),
        st.builds(Order, inner, inner),
        st.builds(Owner, inner),
        st.lists(st.integers(0, 1), max_size=2).map(Tags),
        st.lists(inner, max_size=2).map(deque),
    ),
    max_leaves=8,
)


def identity(value):
    """Return what makes a value, with types: equal for two values exactly if their digests have to be."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack(">d", value)
    if kind in (list, tuple, deque, Tags):
        return kind, tuple(map(identity, value))
    if kind in (set, frozenset):
        return kind, frozenset(map(identity, value))
    if kind is dict:
        return kind, frozenset((identity(key), identity(part)) for key, part in value.items())
    if kind in (Order, Owner):
        return kind, tuple(identity(getattr(value, name)) for name in kind.__annotations__)
    return kind, bytes(value) if kind is bytearray else value


@given(values, values)
def test_digests_are_equal_exactly_if_values_and_types_are(one, other):
    assert (digest(one) == digest(other)) == (identity(one) == identity(other))


@given(values)
def test_a_copy_has_the_same_digest(value):
    assert digest(copy.deepcopy(value)) == digest(value)
    assert digest([value, value]) == digest([value, copy.deepcopy(value)])


@given(st.dictionaries(hashable, atoms), st.randoms(use_true_random=False))
def test_the_order_of_a_dict_and_a_set_does_not_count(value, chance):
    items = list(value.items())
    chance.shuffle(items)
    assert digest(dict(items)) == digest(value)
    assert digest({key for key, _ in items}) == digest(set(value))


@given(values)
def test_a_digest_stands_for_its_value_within_others(value):
    stands = digest(value)
    assert digest(stands) == stands
    assert digest([stands, {"a": stands}]) == digest([value, {"a": value}])


@pytest.mark.parametrize("name", all_values())
def test_the_golden_digests_stay(name):
    assert digest(all_values()[name]) == GOLDEN[name]


def test_the_golden_digests_are_of_these_values_and_all_differ():
    assert set(GOLDEN) == set(all_values())
    assert len(set(GOLDEN.values())) == len(GOLDEN)


@pytest.mark.long
@pytest.mark.parametrize(("seed", "options"), [("1", []), ("2", ["-OO"])])
def test_another_process_gives_the_golden_digests(seed, options):
    command = [sys.executable, *options, "-m", "tests.golden.content_values", "show"]
    shown = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True)
    assert json.loads(shown.stdout) == GOLDEN


def test_numpy_and_pandas_are_imported_only_for_their_values():
    code = (
        "import dataclasses, sys\n"
        "from satchel.content import digest\n"
        "digest({'a': [1, 2.5, None], 'b': dataclasses.make_dataclass('P', ['x'])(1)})\n"
        "assert not {'numpy', 'pandas', 'pydantic', 'attr'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ranges_of_the_same_numbers_are_equal():
    for one, other in itertools.product(
        [range(a, b, c) for a in range(4) for b in range(4) for c in (-2, -1, 1, 2)], repeat=2
    ):
        assert (digest(one) == digest(other)) == (one == other)


def test_the_attributes_of_a_subclass_count():
    assert digest(Tags(["a"])) != digest(["a"])
    assert digest(with_attribute(Tags(["a"]), owner="Ada")) != digest(Tags(["a"]))
    assert digest(with_attribute(Celsius(1.5), station="roof")) != digest(
        with_attribute(Celsius(1.5), station="cellar")
    )


def test_an_attribute_that_no_field_declares_counts():
    assert digest(with_attribute(Point(1.0), note="a")) != digest(Point(1.0))
    assert digest(Point(1.0, label="here")) != digest(Point(1.0))  # equal by ==, which is told to leave it out


def test_what_cached_property_keeps_does_not_count():
    value = Cached([1, 2])
    before = digest(value)
    assert value.total == 3
    assert digest(value) == before


@attrs.define
class Slim:
    n: int

    @cached_property
    def double(self) -> int:
        CALLED.append(self.n)
        return 2 * self.n


CALLED: list[int] = []


def test_what_attrs_keeps_for_cached_property_does_not_count():
    value = Slim(2)
    before = digest(value)
    assert CALLED == []
    assert value.double == 4
    assert digest(value) == before
    plain = reference_of_object(Slim, {"n": 2})
    assert before == plain


def reference_of_object(kind: type, attributes: dict[str, object]) -> str:
    pairs = sorted(bytes.fromhex(digest(name)) + bytes.fromhex(digest(value)) for name, value in attributes.items())
    message = b"object:" + bytes.fromhex(digest(kind)) + bytes.fromhex(digest(None)) + b"".join(pairs)
    return hashlib.sha256(message).hexdigest()


T = TypeVar("T")


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


def test_the_arguments_of_a_generic_class_do_not_count():
    assert Box[int](1) == Box(1)
    assert digest(Box[int](1)) == digest(Box(1))


class Uncached(Cached):
    total = 5  # type: ignore[assignment]  # which no longer keeps anything


def test_an_attribute_in_place_of_one_that_cached_property_keeps_counts():
    assert digest(with_attribute(Uncached(), total=6)) != digest(Uncached())


def test_an_attribute_that_was_deleted_is_not_none():
    point = Slotted(None)
    before = digest(point)
    object.__delattr__(point, "x")
    assert digest(point) != before


class Lying(list[int]):
    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


def test_what_a_subclass_overrides_does_not_hide_its_items():
    assert digest(Lying([1])) != digest(Lying([]))


def test_the_layout_and_byte_order_of_an_array_do_not_count():
    array = np.arange(12, dtype="<f8").reshape(3, 4)
    for same in (array.astype(">f8"), np.asfortranarray(array), np.repeat(array, 2, axis=0)[::2]):
        assert digest(same) == digest(array)
    for other in (array.T, array.reshape(4, 3), array.astype("<f4"), array + 1, array.tolist()):
        assert digest(other) != digest(array)


def test_what_lies_between_the_fields_of_an_array_does_not_count():
    dtype = np.dtype([("a", "u1"), ("b", "<f8")], align=True)
    one, other = np.frombuffer(b"\0" * 16, dtype), np.frombuffer(b"\0" + b"x" * 7 + b"\0" * 8, dtype)
    assert digest(one) == digest(other)


def test_a_value_that_occurs_many_times_is_walked_over_once():
    value: list[object] = []
    for _ in range(99):
        value = [value, value]
    assert digest(value) == digest(copy.deepcopy(value))


def nested(levels):
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_hundred_levels_are_accepted_and_no_more():
    assert digest(nested(100))
    with pytest.raises(DigestError, match=r"^\$(\[0\]){10}\.\.\.(\[0\]){10}: nested deeper than 100; flatten it$"):
        digest(nested(101))
    with pytest.raises(DigestError, match="nested deeper than 100"):
        digest(nested(200_000))


def test_a_value_that_holds_itself_is_refused():
    value: dict[str, object] = {"a": 1}
    value["more"] = [{"again": value}]
    with pytest.raises(DigestError, match=r"^\$\.more\[0\]\.again: it holds itself"):
        digest(value)
    order = Order([])
    order.total = order
    with pytest.raises(DigestError, match=r"^\$\.total: it holds itself"):
        digest(order)


def test_a_stack_without_room_is_no_recursion_error():
    refused = []

    def deeper():
        try:
            deeper()
        except RecursionError:
            if refused:
                raise
            try:
                digest(nested(90))
            except DigestError as error:
                refused.append(str(error))
            raise

    with pytest.raises(RecursionError):
        deeper()
    assert set(refused) == {"$: the stack has no room for it; call digest from fewer nested calls"}


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (LOCK, r"^\$: a lock has no digest; make its class a dataclass, give that a __digest__, or register_hook$"),
        (Order([1, 2, {"lock": LOCK}]), r"^\$\.items\[2\]\.lock: a lock has no digest"),
        (Owner((LOCK,)), r"^\$\.name\[0\]: a lock"),
        ({"a b": LOCK}, r"^\$\[\.\.\.\]: a lock"),  # a key that is no name may be a secret
        ({(LOCK,): 1}, r"^\$\[\.\.\.\]\[0\]: a lock"),
        ({1, LOCK}, r"^\$\[\.\.\.\]: a lock"),
        (deque([LOCK]), r"^\$\[0\]: a lock"),
        (with_attribute(Tags(), lock=LOCK), r"^\$\.lock: a lock"),
        (Tags([LOCK]), r"^\$\[0\]: a lock"),
        ([Reading([LOCK])], r"^\$\[0\]\.value\[0\]: a lock"),
        ([iter([1])], r"^\$\[0\]: a list_iterator is used up by reading it; give a list of its items"),
        (object(), "an object has no digest"),
        (ValueError("secret"), "a ValueError has no digest"),
        (math, "a module has no digest"),
        (np.ma.array([1]), "a MaskedArray has no digest"),
        (np.longdouble(1), "float128 has another size on other machines|longdouble"),
        (memoryview(b"abcd").cast("I"), "a memoryview of numbers has the byte order of its machine"),
        (Mistake(1), "a Mistake has no digest"),
        (np.zeros(1).view(Grid), "a Grid has no digest"),
    ],
)
def test_a_value_without_a_digest_is_refused_with_its_path(value, message):
    with pytest.raises(DigestError, match=message):
        digest(value)


def test_a_class_within_a_function_is_refused():
    @dataclasses.dataclass
    class Local:
        x: int

    with pytest.raises(DigestError, match=r"^\$\[1\]: the class Local is defined inside of a function"):
        digest([1, Local(1)])


def test_a_dict_that_changes_meanwhile_is_refused():
    value: dict[object, object] = {}

    class Changing:
        def __digest__(self):
            value[len(value)] = 1
            return Digest("0" * 64)

    value["a"] = Changing()
    with pytest.raises(DigestError, match="it changed while its digest was made"):
        digest(value)


def test_threads_get_the_same_digests():
    chance = random.Random(5)
    many = [{"n": chance.randrange(9), "at": Point(float(number)), "in": [number] * 3} for number in range(300)]
    expected = [digest(value) for value in many]
    found: list[list[Digest]] = []
    threads = [threading.Thread(target=lambda: found.append([digest(value) for value in many])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_a_digest_is_text_of_64_digits():
    found = digest("a")
    assert isinstance(found, str)
    assert Digest(str(found)) == found == pickle.loads(pickle.dumps(found))
    assert type(pickle.loads(pickle.dumps(found))) is Digest
    assert repr(Digest("0" * 64)) == f"Digest('{'0' * 64}')"
    assert digest(str(found)) != found  # a plain str is text


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", None, b"0" * 64])
def test_a_text_that_is_no_digest_is_refused(text):
    with pytest.raises(DigestError, match=r"^a digest is 64 hexadecimal digits in lower case"):
        Digest(text)
