import pytest

from satchel import ConfigurationError, InvalidKeyError, KeyMissingError, MemoryStore, open_store
from satchel.wrappers import DefaultValueWrapper, PrefixKeysWrapper
from tests.wrappers.doubles import Framed


@pytest.fixture
def store():
    return DefaultValueWrapper(MemoryStore(seed={"c": {"there": 1, "none": None, "empty": {}}}), value={"n": [0]})


async def test_what_is_absent_gives_the_value_and_what_is_there_itself(store):
    assert await store.get("c", "absent") == {"n": [0]}
    assert await store.get("c", "there") == 1
    assert await store.get("c", "none") is None
    assert await store.get("c", "empty") == {}


async def test_get_many_gives_every_key_in_the_order_asked(store):
    found = await store.get_many("c", iter(["absent", "none", "gone", "there", "none"]))
    assert list(found.items()) == [("absent", {"n": [0]}), ("none", None), ("gone", {"n": [0]}), ("there", 1)]


@pytest.mark.parametrize("default", [None, 0, "own"])
async def test_a_default_of_the_callers_wins(store, default):
    assert await store.get("c", "absent", default) == default
    assert await store.get("c", "absent", default=default) == default
    assert await store.get("c", "there", default) == 1


async def test_each_call_gets_a_copy_of_its_own(store):
    (await store.get("c", "absent"))["n"].append(1)
    (await store.get_many("c", ["absent"]))["absent"]["n"].append(1)
    assert await store.get("c", "absent") == {"n": [0]}
    given = [1]
    store = DefaultValueWrapper(MemoryStore(), value=given)
    given.append(2)
    assert await store.get("c", "k") == [1]


async def test_nothing_else_has_a_default_and_nothing_is_stored(store):
    await store.get("c", "absent")
    assert await store.get_entry("c", "absent") is None
    assert await store.get_entries("c", ["absent"]) == {}
    assert await store.exists("c", "absent") is False
    assert await store.delete("c", "absent") is False
    assert await store.put_if_absent("c", "absent", 1)
    with pytest.raises(KeyMissingError):
        await store.collection("c").require("gone")


@pytest.mark.parametrize("value", [0, False, "", b"", b"\xff", 1.5, [], {}])
async def test_any_value_that_a_store_takes_is_given_as_it_is(value):
    found = await DefaultValueWrapper(MemoryStore(), value=value).get("c", "k")
    assert (found, type(found)) == (value, type(value))


async def test_a_wrapper_of_names_around_it_leaves_the_default_to_it(store):
    around = PrefixKeysWrapper(store, prefix="p")
    assert await around.get("c", "absent") == {"n": [0]}
    assert await around.get("c", "absent", None) is None
    assert await around.get_many("c", ["absent"]) == {"absent": {"n": [0]}}


async def test_a_wrapper_of_values_around_it_does_not_take_the_default_for_one_of_its_own():
    assert await Framed(DefaultValueWrapper(MemoryStore(), value=1)).get("c", "k") is None


async def test_illegal_names_are_refused(store):
    with pytest.raises(InvalidKeyError):
        await store.get("c", "")
    for arguments in (("c", "bare"), ("", ["k"]), ("c", [""])):
        with pytest.raises(InvalidKeyError):
            await store.get_many(*arguments)


@pytest.mark.parametrize("value", [float("nan"), (1,), {1: 2}, object(), "\ud800", [b"x"], 2**64])
def test_a_value_that_no_store_takes_is_refused(value):
    with pytest.raises(ConfigurationError, match="value must be one that a store takes"):
        DefaultValueWrapper(MemoryStore(), value=value)


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("-1.5", -1.5), ("true", True), ("none", "none"), ("", ""), ("a%2Cb", "a,b")]
)
async def test_in_a_url_numbers_and_truth_values_are_such(text, value):
    found = await open_store(f"memory://?wrap=default_value(value={text})").get("c", "k")
    assert (found, type(found)) == (value, type(value))
