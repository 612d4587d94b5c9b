"""Copies of values share nothing that can change, and take their time in a worker thread where they are large."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel._copies import copied
from satchel._threads import tally

ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    ATOMS | st.sets(st.integers()),
    lambda parts: (
        st.lists(parts) | st.dictionaries(st.text() | st.integers(), parts) | st.tuples(parts) | st.builds(bytearray)
    ),
    max_leaves=12,
)


def containers(value):
    """Give everything in a value that can change."""
    if isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)
    if isinstance(value, (list, dict, set, bytearray)):
        yield value


@given(value=VALUES)
async def test_a_copy_is_equal_and_shares_nothing_that_can_change(value):
    twin = await copied(value)
    assert twin == value
    assert type(twin) is type(value)
    assert not {id(part) for part in containers(twin)} & {id(part) for part in containers(value)}


async def test_objects_keep_their_kinds_and_a_value_may_hold_itself():
    class Kind(dict):
        pass

    endless = [Kind(a=[1])]
    endless.append(endless)
    twin = await copied(endless)
    assert type(twin[0]) is Kind
    assert twin[1] is twin
    assert twin[0]["a"] is not endless[0]["a"]


@pytest.mark.parametrize("value", [list(range(20_000)), {"a": [["x"] * 5000, ["x"] * 5000]}, {"a": {*range(20_000)}}])
async def test_a_large_value_is_copied_in_a_worker_thread(value):
    before = tally.calls
    assert await copied(value) == value
    assert tally.calls == before + 1


async def test_a_long_text_needs_no_worker_as_it_is_not_copied():
    before, value = tally.calls, {"text": "x" * 1_000_000, "list": [1]}
    assert await copied(value) == value
    assert tally.calls == before


async def test_a_value_too_deep_for_python_fails_as_it_does_there():
    value = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(RecursionError):
        copy.deepcopy(value)
    with pytest.raises(RecursionError):
        await copied(value)
