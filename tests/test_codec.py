"""Codecs: what is accepted comes back exactly, what would not is refused, saying where and what to do."""

import asyncio
import collections
import enum
import math
import os
import pickle
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    Codec,
    ConfigurationError,
    IntegrityError,
    JsonCodec,
    MemoryStore,
    MessagePackCodec,
    SerializationError,
    SignedPickleCodec,
    ValueTooLargeError,
)
from satchel.codec import LARGE, MAX_DEPTH, AutoCodec, explain, repeated_size

CODECS = pytest.mark.parametrize("codec", [JsonCodec(), MessagePackCodec()], ids=repr)
KEY = bytes(range(32))


def nested(depth, kind=list):
    value = None
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Items(list):
    pass


class Fields(dict):
    pass


class Color(enum.IntEnum):
    RED = 1


class Word(enum.StrEnum):
    HELLO = "hello"


ACCEPTED = [
    *[None, True, False, 0, -1, 1, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, 0.1, 1e16, 1e22, 1e-320, 1.7e308],
    *[
        "",
        "123",
        "null",
        "\0",
        "é",
        "😀",
        "\u2028",
        '"\\/',
        [],
        {},
        [[]],
        {"": {}},
        [None, [1, 2.0, "3"]],
        {"a": {"b": [1]}},
    ],
    *[{"__compressed__": True}, nested(MAX_DEPTH), nested(MAX_DEPTH, dict), ["x" * 100_000], list(range(30_000))],
]

REFUSED = {
    "tuple": ([1, (2,)], r"^\$\[1\]: a tuple .* convert it to a list$"),
    "set": ({"tags": {1}}, r"^\$\.tags: a set .* convert it to a list$"),
    "nan": ({"a": [0.5, math.nan]}, r"^\$\.a\[1\]: a float that is NaN"),
    "infinity": (-math.inf, r"^\$: a float that is NaN or infinite"),
    "big integer": ([2**63], r"^\$\[0\]: an int beyond 64 bits"),
    "small integer": (-(2**63) - 1, r"^\$: an int beyond 64 bits"),
    "enum": (Color.RED, r"^\$: Color, a subclass of int, "),
    "string enum": ({"a": Word.HELLO}, r"^\$\.a: Word, a subclass of str, "),
    "subclass of str": ([Text("a")], r"^\$\[0\]: Text, a subclass of str, "),
    "subclass of int": (Number(1), r"^\$: Number, a subclass of int, "),
    "subclass of float": (Real(1), r"^\$: Real, a subclass of float, "),
    "subclass of list": (Items(), r"^\$: Items, a subclass of list, "),
    "subclass of dict": ({"a": Fields()}, r"^\$\.a: Fields, a subclass of dict, "),
    "ordered dict": (collections.OrderedDict(), r"^\$: OrderedDict, a subclass of dict, "),
    "int as key": ({"a": [{1: 2}]}, r"^\$\.a\[0\]: a key is an int; keys must be plain str"),
    "subclass of str as key": ({Text("a"): 1}, r"^\$: a key is Text, a subclass of str,"),
    "None as key": ({None: 1}, r"^\$: a key is a NoneType"),
    "surrogate": (["a", "\ud800"], r"^\$\[1\]: a str with a lone surrogate"),
    "surrogate in key": ({"\udfff": 1}, r"^\$: a key is a str with a lone surrogate"),
    "bytes inside": ({"a": b"b"}, r"^\$\.a: a bytes .* bytes are kept at the top level only"),
    "bytearray": (bytearray(b"b"), r"^\$: a bytearray .* convert it to bytes"),
    "datetime": (
        {"at": datetime(2024, 1, 1, tzinfo=UTC)},
        r"^\$\.at: a datetime .* plain JSON types, or .*collection\(\.\.\., model=",
    ),
    "object": (object(), r"^\$: an object "),
    "deep list": (nested(MAX_DEPTH + 1), r"nested deeper than 100; flatten it$"),
    "deep dict": (nested(MAX_DEPTH + 1, dict), r"nested deeper than 100; flatten it$"),
}


def same(one, other):
    """Say whether two values are alike in type too, at every place: `1 == True` is no answer."""
    if type(one) is not type(other):
        return False
    if type(one) is list:
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other and (type(one) is not float or math.copysign(1, one) == math.copysign(1, other))


@CODECS
@pytest.mark.parametrize("value", ACCEPTED, ids=lambda value: repr(value)[:30])
def test_what_is_accepted_comes_back(codec, value):
    assert same(codec.decode(codec.encode(value)), value)


@CODECS
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_change_is_refused_with_its_place(codec, name):
    value, complaint = REFUSED[name]
    with pytest.raises(SerializationError, match=complaint):
        codec.encode(value)
    with pytest.raises(SerializationError, match=complaint):
        codec.encode_if_small(value)


@CODECS
def test_a_list_that_holds_itself_is_refused(codec):
    loop = []
    loop.extend([loop, loop])
    with pytest.raises(SerializationError, match="nested deeper than 100"):
        codec.encode(loop)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)

wild_leaves = st.one_of(
    *[st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(max_size=3), st.complex_numbers()],
    *[
        st.sampled_from(
            [Color.RED, Word.HELLO, Text("a"), Number(1), Real(1), Items([1]), Fields(a=1), 2**63, "\ud800"]
        )
    ],
    st.datetimes(),
)
wild_values = st.recursive(
    wild_leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.just("\ud800"), inner, max_size=3)
    ),
    max_leaves=8,
)


@CODECS
@given(value=json_values)
def test_every_json_value_comes_back(codec, value):
    assert same(codec.decode(codec.encode(value)), value)


@CODECS
@given(value=wild_values)
def test_any_object_comes_back_the_same_or_is_refused_at_a_place(codec, value):
    explained = str(explain(value))
    if explained.startswith("$: this value changed while it was being encoded"):  # there is nothing to explain
        assert same(codec.decode(codec.encode(value)), value)
    else:
        with pytest.raises(SerializationError) as caught:
            codec.encode(value)
        assert str(caught.value) == explained
        assert explained.startswith("$")


@CODECS
async def test_large_values_are_encoded_and_decoded_in_a_worker_thread(codec):
    threads = []

    class Seen(type(codec)):
        def encode(self, value):
            threads.append(threading.current_thread() is threading.main_thread())
            return super().encode(value)

        def decode(self, payload):
            threads.append(threading.current_thread() is threading.main_thread())
            return type(codec).decode(payload)

    store = MemoryStore(codec=Seen())
    large = ["x" * LARGE]
    await store.put("c", "large", large)
    assert await store.get("c", "large") == large
    assert threads == [False, False]
    await store.put("c", "small", 1)
    assert await store.get("c", "small") == 1
    assert threads[-1] is True
    await store.aclose()


async def test_large_wrong_values_are_refused_too():
    store = MemoryStore()
    with pytest.raises(SerializationError, match=r"\$\[1\]: a tuple"):
        await store.put("c", "k", ["x" * LARGE, (1,)])
    await store.aclose()


def doubled(value, times, pair=lambda part: [part, part]):
    """Return a value that holds another one 2**times times, in as many objects as times."""
    for _ in range(times):
        value = pair(value)
    return value


LENIENT = JsonCodec(strict=False)
DOUBLED = {
    "lists": (JsonCodec(), doubled([], 60)),
    "dicts": (JsonCodec(), doubled({}, 60, lambda part: {"a": part, "b": part})),
    "lists as MessagePack": (MessagePackCodec(), doubled([1, "a"], 60)),
    "lists, leniently": (LENIENT, doubled([], 60)),
    "tuples and sets": (LENIENT, {"a": doubled(({1}, ()), 60, lambda part: (part, part))}),
    "lists without a key to pickle": (AutoCodec(), doubled([], 60)),
    "lists after much text": (JsonCodec(), [["x" * 2**20] * 20, doubled([], 60)]),
}


@pytest.mark.parametrize("name", DOUBLED)
def test_a_value_that_holds_one_part_so_often_that_no_store_takes_it_is_refused(name, monkeypatch):
    monkeypatch.setattr("satchel.codec._UNCOUNTED", LARGE)
    codec, value = DOUBLED[name]
    with pytest.raises(ValueTooLargeError, match=r"more than 1,073,741,824 bytes.*key of its own"):
        codec.encode(value)


async def test_a_put_of_such_a_value_soon_ends():
    async with MemoryStore() as store:
        with pytest.raises(ValueTooLargeError, match=r"put of key 'k'.*same lists or dicts"):
            await asyncio.wait_for(store.put("c", "k", doubled([], 60)), 20)


def test_one_that_is_pickled_holds_each_part_once(monkeypatch):
    monkeypatch.setattr("satchel.codec._UNCOUNTED", LARGE)
    codec = AutoCodec(signing_key=KEY)
    payload = codec.encode(doubled([], 60))
    assert len(payload) < 1000
    loaded = codec.decode(payload)
    assert loaded[0] is loaded[1]


def test_what_repeated_parts_add_is_counted_once_for_each_further_place():
    row, numbers = ["x" * 1000], [0] * 1000
    assert repeated_size([["x" * 1000], numbers, {"a": "x" * 1000}, 1.5]) == 0
    assert repeated_size([row] * 4) == 3 * repeated_size([row] * 2) == 3 * 1008
    assert repeated_size(doubled([], 60)) > 2**60
    assert repeated_size([[row, row], {"a": row}, (row, row)]) == 4 * 1008


def test_a_large_value_in_itself_is_refused():
    loop = ["x" * 2**20] * 20
    loop += [loop, loop]
    with pytest.raises(SerializationError, match="nested deeper than 100"):
        JsonCodec().encode(loop)
    assert repeated_size(loop) == 0


def test_large_values_without_repeated_parts_are_taken():
    assert len(JsonCodec().encode(["x" * 2**20] * 20)) > 20 * 2**20


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, 2), [1, 2]),
        ({1}, [1]),
        (math.nan, None),
        ({"at": datetime(2024, 1, 1, tzinfo=UTC)}, {"at": "2024-01-01T00:00:00Z"}),
        (Color.RED, 1),
        ({1: 2}, {"1": 2}),
    ],
)
def test_without_strictness_what_json_can_say_is_converted(value, back):
    codec = JsonCodec(strict=False)
    assert codec.decode(codec.encode(value)) == back
    assert codec.decode(codec.encode_if_small(value)) == back


@pytest.mark.parametrize("value", [object(), "\ud800", {(1, 2): 3}, 1j])
def test_without_strictness_what_json_cannot_say_is_refused(value):
    with pytest.raises(SerializationError):
        JsonCodec(strict=False).encode(value)


class LeavesTrace:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return exec, ("import os; os.environ['SATCHEL_TEST_UNPICKLED'] = 'yes'",)


def test_signed_pickles_come_back():
    codec = SignedPickleCodec(signing_key=KEY)
    for value in [(1, 2), {1: {2}}, Color.RED, datetime(2024, 1, 1, tzinfo=UTC), None]:
        assert codec.decode(codec.encode(value)) == value


def test_nothing_is_unpickled_that_the_key_did_not_sign(monkeypatch):
    trace = "SATCHEL_TEST_UNPICKLED"
    monkeypatch.setenv(trace, "no")  # is put back afterwards
    codec = SignedPickleCodec(signing_key=KEY)
    signed = codec.encode(LeavesTrace())
    forged = {
        "unsigned": pickle.dumps(LeavesTrace()),
        "zero signature": bytes(32) + pickle.dumps(LeavesTrace()),
        "other key": SignedPickleCodec(signing_key=bytes(32)).encode(LeavesTrace()),
        "changed": signed[:-1] + bytes([signed[-1] ^ 1]),
        "truncated": signed[:-1],
        "signature of another": codec.encode(1)[:32] + signed[32:],
        "empty": b"",
        "signature alone": signed[:32],
    }
    for payload in forged.values():
        with pytest.raises(IntegrityError, match="was not unpickled"):
            codec.decode(payload)
    assert os.environ[trace] == "no"
    codec.decode(signed)
    assert os.environ[trace] == "yes"  # which shows that the others would have left it too


@pytest.mark.parametrize("key", [b"", b"short", "x" * 32, None, bytes(31)])
def test_a_weak_signing_key_is_refused(key):
    with pytest.raises(ConfigurationError, match="at least 32 bytes"):
        SignedPickleCodec(signing_key=key)


def test_the_signing_key_is_shown_nowhere():
    key = b"this key is secret, as keys are!"
    codec = SignedPickleCodec(signing_key=key)
    assert "secret" not in repr(codec)
    assert "secret" not in repr(MemoryStore(codec=codec))


def test_what_cannot_be_pickled_is_refused():
    with pytest.raises(SerializationError, match="cannot be pickled"):
        SignedPickleCodec(signing_key=KEY).encode(lambda: None)


def test_the_numbers_of_the_codecs_are_those_documented():
    page = (Path(__file__).parents[1] / "docs" / "format.md").read_text()
    for codec in (JsonCodec, MessagePackCodec, SignedPickleCodec):
        assert f"| {codec.number} | `{codec.name}` |" in page


async def test_a_value_that_is_changed_while_it_is_put_is_refused_by_name():
    value = {str(number): "x" * 20 for number in range(60_000)}
    done = threading.Event()

    def change() -> None:
        number = 0
        while not done.is_set():
            value[f"new {number}"] = number
            number += 1

    changing = threading.Thread(target=change)
    changing.start()
    try:
        async with MemoryStore() as store:
            outcomes = await asyncio.gather(*[store.put("c", "big", value) for _ in range(50)], return_exceptions=True)
    finally:
        done.set()
        changing.join()
    assert {type(outcome) for outcome in outcomes} <= {type(None), SerializationError}
    refusals = [str(outcome) for outcome in outcomes if outcome is not None]
    assert refusals
    assert all("'big' in collection 'c'" in refusal and "changed while it was being" in refusal for refusal in refusals)


class Backwards(Codec):
    """Is a codec of somebody's own."""

    name = "backwards"

    def encode(self, value):
        return value[::-1].encode()

    def decode(self, payload):
        return payload.decode()[::-1]


@pytest.mark.parametrize("number", [None, -1, 0, 1, 2, 4, 127, 256, 200.0, "200", True])
def test_a_codec_whose_number_is_not_free_is_refused(number):
    codec = Backwards()
    codec.number = number
    with pytest.raises(ConfigurationError, match="the number of Backwards must be an int from 128 to 255, got"):
        MemoryStore(codec=codec)


def test_a_codec_without_a_number_is_refused():
    with pytest.raises(ConfigurationError, match="must be an int from 128 to 255, got None"):
        MemoryStore(codec=Backwards())


@pytest.mark.parametrize("number", [128, 255])
async def test_a_codec_with_a_number_of_its_own_is_used(number):
    codec = Backwards()
    codec.number = number
    async with MemoryStore(codec=codec) as store:
        await store.put("c", "k", "abc")
        assert await store.get("c", "k") == "abc"


def test_a_codec_derived_from_a_built_in_one_may_keep_its_number():
    class Own(JsonCodec):
        """Is still JSON."""

    class Other(Own):
        number = 2

    MemoryStore(codec=Own())
    with pytest.raises(ConfigurationError, match="the number of Other"):
        MemoryStore(codec=Other())
