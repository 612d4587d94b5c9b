"""The model and the machine: what they take for right, and how long they run."""

import pytest
from hypothesis import settings

from satchel import MemoryStore, NullStore
from satchel.testing import DictModel, FakeClock
from satchel.testing.conformance.cases import ACCEPTED_VALUES, REFUSED_VALUES, identical
from satchel.testing.machine import _settings, check_random_operations


def test_the_model_forgets_what_has_expired():
    clock = FakeClock()
    model = DictModel(clock)
    model.put("c", "short", 1, 5)
    model.put("c", "long", 2, None)
    clock.advance(6)
    assert model.values("c", ["short", "long"]) == {"long": 2}
    assert (model.keys("c"), model.collections()) == (["long"], ["c"])
    assert model.touch("c", "short", None) is False
    assert model.delete("c", "short") is False
    assert model.destroy("c") is True
    assert model.destroy() is False


def test_the_model_keeps_values_as_they_were():
    model = DictModel(FakeClock())
    value = ["a"]
    model.put("c", "k", value, None)
    value.append("b")
    assert model.values("c", ["k"]) == {"k": ["a"]}


def test_the_model_of_a_store_that_holds_nothing_is_empty():
    model = DictModel(FakeClock(), stores_values=False)
    model.put("c", "k", 1, None)
    assert model.find("c", "k") is None


@pytest.mark.long
def test_a_store_that_holds_nothing_does_not_agree_with_one_that_holds(tmp_path):
    chosen = settings(max_examples=20, stateful_step_count=10, database=None, report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        check_random_operations(lambda clock, place: NullStore(clock=clock), tmp_path, chosen=chosen)
    with pytest.raises(AssertionError):
        check_random_operations(
            lambda clock, place: MemoryStore(clock=clock), tmp_path, stores_values=False, chosen=chosen
        )


def test_places_are_removed(tmp_path):
    chosen = settings(max_examples=3, stateful_step_count=5, database=None, deadline=None)
    check_random_operations(lambda clock, place: MemoryStore(clock=clock), tmp_path, chosen=chosen)
    assert list(tmp_path.iterdir()) == []


def test_a_loaded_profile_says_how_long_to_run():
    settings.register_profile("before", settings())
    settings.register_profile("thorough", max_examples=500, stateful_step_count=70)
    try:
        settings.load_profile("default")
        assert (_settings().max_examples, _settings().stateful_step_count) == (40, 30)
        settings.load_profile("thorough")
        assert (_settings().max_examples, _settings().stateful_step_count) == (500, 70)
    finally:
        settings.load_profile("before")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ([1], (1,)),
        ({"a": 1}, {"a": True}),
        ([[0]], [[False]]),
        ("a", b"a"),
        ([1], [1, 2]),
    ],
)
def test_values_of_other_types_are_not_identical(one, other):
    assert not identical(one, other)
    assert not identical(other, one)
    assert identical(one, one)


def test_no_refused_value_is_accepted():
    accepted = [type(value) for values in ACCEPTED_VALUES.values() for value in values]
    assert set(accepted) == {type(None), bool, int, float, str, bytes, list, dict}
    assert all(path.startswith("$") for cases in REFUSED_VALUES.values() for _, path in cases)
