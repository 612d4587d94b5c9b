"""Functions whose results are kept: how often they run, and what callers see."""

import asyncio
import copy
import enum
import inspect
import pickle
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from satchel import (
    ConfigurationError,
    InvalidKeyError,
    InvalidTTLError,
    MemoryStore,
    ModelMismatchError,
    SerializationError,
)
from satchel.caching import Cached, cached, canonical
from satchel.testing import FakeClock
from satchel.wrappers import PrefixKeysWrapper, SingleFlightWrapper
from tests.scripted import BatchStore, Server, turns


class Film(BaseModel):
    title: str


@dataclass
class Rating:
    stars: int


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["plain", "single flight"])
def store(request, clock):
    inner = MemoryStore(clock=clock)
    return inner if request.param == "plain" else SingleFlightWrapper(inner)


@pytest.fixture
def runs():
    return Counter()


async def test_the_function_runs_for_what_is_absent_alone(store, runs, clock):
    @cached(store, "c", ttl=60)
    async def double(number):
        runs[number] += 1
        return 2 * number

    assert [await double(number) for number in (1, 2, 1, 1)] == [2, 4, 2, 2]
    assert runs == {1: 1, 2: 1}
    clock.advance(61)
    assert await double(1) == 2
    assert runs == {1: 2, 2: 1}


async def test_none_is_kept(store, runs):
    @cached(store, "c")
    async def nothing():
        runs["nothing"] += 1

    assert [await nothing() for _ in "abc"] == [None] * 3
    assert runs["nothing"] == 1


async def test_first_calls_at_the_same_time_run_it_once(runs):
    @cached(BatchStore(Server(delay=lambda: 3)), "c")
    async def slow(number):
        runs[number] += 1
        await turns(10)
        return [number]

    results = await asyncio.gather(*[slow(number % 3) for number in range(60)])
    assert results == [[number % 3] for number in range(60)]
    assert runs == {0: 1, 1: 1, 2: 1}
    results[0].append("mine")
    assert await slow(0) == results[3] == [0]


async def test_an_error_is_not_kept(store, runs):
    @cached(store, "c")
    async def fails_once():
        runs["calls"] += 1
        if runs["calls"] == 1:
            raise ZeroDivisionError("once")
        return "fine"

    errors = await asyncio.gather(fails_once(), fails_once(), return_exceptions=True)
    assert [type(error) for error in errors] == [ZeroDivisionError] * 2
    assert await fails_once() == "fine"
    assert runs["calls"] == 2


async def test_all_forms_of_one_call_are_one(store, runs):
    @cached(store, "c")
    async def call(a, /, b=2, *more, c, d=None, **others):
        runs["calls"] += 1
        return [a, b, list(more), c, d, others]

    expected = [1, 2, [], 3, None, {"x": 1, "y": 2}]
    assert await call(1, c=3, x=1, y=2) == expected
    assert await call(1, 2, y=2, d=None, x=1, c=3) == expected
    assert await call(1, b=2, c=3, x=1, y=2) == expected
    assert runs["calls"] == 1
    assert await call(1, 2, 5, c=3) == [1, 2, [5], 3, None, {}]
    assert call.key_for(1, c=3).endswith("call(a=1, b=2, more=(,), c=3, d=None, others={})")


async def test_arguments_of_different_types_are_different(store, runs):
    @cached(store, "c")
    async def kind(value):
        runs["calls"] += 1
        return type(value).__name__

    values = [1, True, 1.0, "1", b"1", Decimal(1), [1], (1,), {1}, frozenset({1}), {1: 1}, None, "None", "True"]
    assert [await kind(value) for value in values] == [type(value).__name__ for value in values]
    assert runs["calls"] == len(values)


class Colour(enum.Enum):
    RED = 1


class Alike(enum.Enum):
    TEXT = "1"
    NUMBER = 1


class Bits(enum.IntFlag):
    ONE = 1


class Shade(enum.StrEnum):
    RED = "RED"


class Level(enum.IntEnum):
    RED = 1


SUPPORTED = [
    None, True, False, 0, 1, -1, 10**50, 0.5, 1.0, float("inf"), "", "1", "a", "ä", "\ud800", "'", '"', "\\", "a, b=1",
    b"", b"a", [], (), ["a", "b"], ["a, b"], [["a"], "b"], [["a", "b"]], ("a", "b"), ("a",), {}, {"a": 1}, {1: "a"},
    {"a": 1, "b": 2}, {"a, 'b': 2": 1}, set(), {1}, {1, 2}, frozenset(), date(2026, 1, 1),
    datetime(2026, 1, 1),  # noqa: DTZ001  # one without a zone
    datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Paris")), timedelta(1), timedelta(seconds=1), Decimal("1.5"),
    UUID(int=1), Colour.RED, Shade.RED, Level.RED, Alike.TEXT, Alike.NUMBER,
    Bits(0), Bits.ONE, Bits(8), Bits(16), "RED", [None], [[]], ([],), [()],
]  # fmt: skip


def test_no_two_values_have_the_same_form():
    forms = [canonical(value) for value in SUPPORTED]
    assert [form for form, count in Counter(forms).items() if count > 1] == []
    assert all(form.isascii() for form in forms)


def test_order_within_dicts_and_sets_does_not_matter():
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert list({0, 8}) != list({8, 0})
    assert canonical({0, 8}) == canonical({8, 0})
    assert canonical(["a", "b"]) != canonical(["b", "a"])


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.uuids()
hashable = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(hashable, inner, max_size=3),
    max_leaves=8,
)


def typed(value):
    """A form that compares by type and value, made in another way."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return kind, frozenset((typed(key), typed(item)) for key, item in value.items())
    if isinstance(value, frozenset):
        return kind, frozenset(map(typed, value))
    if isinstance(value, (list, tuple)):
        return kind, tuple(map(typed, value))
    return kind, repr(value)


@given(anything, anything)
def test_values_have_the_same_form_only_if_they_are_the_same(one, other):
    assert (canonical(one) == canonical(other)) is (typed(one) == typed(other))


@given(st.lists(st.text("a,'\"()=[]{} b\\", max_size=4), min_size=1, max_size=3), st.data())
def test_texts_cannot_pretend_to_be_several_arguments(texts, data):
    others = data.draw(st.lists(st.text("a,'\"()=[]{} b\\", max_size=4), min_size=1, max_size=3))

    @cached(MemoryStore(), "c")
    async def call(*args, **kwargs): ...

    assert (call.key_for(*texts) == call.key_for(*others)) is (texts == others)
    named, others_named = dict(enumerate_names(texts)), dict(enumerate_names(others))
    assert (call.key_for(**named) == call.key_for(**others_named)) is (named == others_named)


def enumerate_names(texts):
    return ((f"name{index}", text) for index, text in enumerate(texts))


class Odd(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        (object(), "object"),
        (Odd("a"), "tests.test_caching.Odd"),
        ([{"a": (Fraction(1, 2),)}], "fractions.Fraction"),
        (len, "builtin_function_or_method"),
        (bytearray(b"a"), "bytearray"),
        (Film(title="a"), "tests.test_caching.Film"),
    ],
)
async def test_arguments_without_a_form_are_refused(store, runs, argument, kind):
    @cached(store, "c")
    async def call(number, thing=None):
        runs["calls"] += 1

    for use in (call, call.invalidate):
        with pytest.raises(
            ConfigurationError, match=r"argument 'thing' of .*call holds an? .*; give cached\(.*key="
        ) as no:
            await use(1, argument)
        assert f"holds a{'n' * (kind[:1] in 'aeio')} {kind}, which cannot be part of a key" in str(no.value)
    assert runs["calls"] == 0


async def test_wrong_arguments_are_refused_as_by_the_function(store):
    @cached(store, "c")
    async def call(number): ...

    for arguments, named in [((), {}), ((1, 2), {}), ((), {"other": 1})]:
        with pytest.raises(TypeError):
            await call(*arguments, **named)


async def test_it_shares_what_the_wrapper_knows(runs):
    store = SingleFlightWrapper(MemoryStore())

    async def make():
        runs["calls"] += 1
        await turns(10)
        return "made"

    film = cached(store, "c", key=lambda: "k")(make)
    assert await asyncio.gather(film(), store.get_or_put("c", "k", make), film()) == ["made"] * 3
    assert runs["calls"] == 1


async def test_functions_in_one_collection_keep_apart(store):
    @cached(store, "c")
    async def one(number):
        return "one"

    @cached(store, "c")
    async def other(number):
        return "other"

    assert [await one(1), await other(1), await one(1)] == ["one", "other", "one"]
    assert one.key_for(1) == f"{__name__}.{one.__qualname__}(number=1)"


async def test_long_keys_end_in_a_hash_of_the_whole(store):
    for place in (store, PrefixKeysWrapper(store, prefix="p" * 1000)):

        @cached(place, "c")
        async def length(text):
            return len(text)

        texts = ["x" * 5000, "x" * 5000 + "y", "ä" * 5000, "x" * 4990]
        assert [await length(text) for text in texts] == list(map(len, texts))
        keys = [length.key_for(text) for text in texts]
        assert {len(key) for key in keys} == {place.max_key_bytes}
        assert len(set(keys)) == 4
        assert all(key.startswith(f"{__name__}.") and key[-65] == "#" for key in keys)


async def test_invalidate_forgets_one_call(store, runs):
    @cached(store, "c")
    async def call(number, *, upper=False):
        runs[number] += 1
        return number

    await call(1)
    await call(2)
    assert await call.invalidate(number=1, upper=False) is True
    assert await call.invalidate(1) is False
    await call(1)
    await call(2)
    assert runs == {1: 2, 2: 1}


async def test_a_result_that_is_being_made_is_forgotten_too(store, runs):
    gate = asyncio.Event()

    @cached(store, "c")
    async def call(number):
        runs[number] += 1
        await gate.wait()
        return f"made {runs[number]}"

    before = asyncio.create_task(call(1))
    await turns(20)
    await call.invalidate(1)
    gate.set()
    assert await before == "made 1"
    assert await call(1) == "made 2"


async def test_a_key_of_the_callers_own_is_the_whole_key(store, runs):
    @cached(store, "films", key=lambda number, language="de": f"{number}/{language}")
    async def film(number, language="de"):
        runs["calls"] += 1
        return [number, language]

    assert await film(7) == await film(number=7) == await film(7, "de") == [7, "de"]
    assert runs["calls"] == 1
    assert film.key_for(7) == "7/de"
    assert await store.get("films", "7/de") == [7, "de"]
    assert await film.invalidate(7, language="de") is True


async def test_a_key_that_is_none_is_refused(store):
    @cached(store, "films", key=lambda number: number)
    async def film(number): ...

    with pytest.raises(InvalidKeyError, match="key must be a str, got int"):
        await film(5)


class Library:
    def __init__(self, store, name):
        self.name = name
        self.runs = 0

    def key(self, number):
        return f"{self.name}/{number}"

    async def find(self, number):
        """Find a book."""
        self.runs += 1
        return f"{self.name} {number}"


async def test_methods_take_a_key(store):
    class Cities(Library):
        find = cached(store, "books", key=Library.key)(Library.find)
        find_by_default = cached(store, "books")(Library.find)

        @staticmethod
        @cached(store, "books")
        async def count(number):
            return number

    rome, oslo = Cities(store, "Rome"), Cities(store, "Oslo")
    assert [await rome.find(1), await oslo.find(number=1), await rome.find(1)] == ["Rome 1", "Oslo 1", "Rome 1"]
    assert (rome.runs, oslo.runs) == (1, 1)
    assert await Cities.find(rome, 1) == "Rome 1"
    assert rome.find.key_for(1) == "Rome/1"
    assert await rome.find.invalidate(1) is True
    assert str(inspect.signature(rome.find)) == "(number)"
    assert str(inspect.signature(Cities.find)) == "(self, number)"
    assert rome.find.__doc__ == "Find a book."
    assert await rome.count(5) == await Cities.count(5) == 5
    with pytest.raises(ConfigurationError, match=r"argument 'self' of .*find holds a .*Cities"):
        await rome.find_by_default(1)


def test_it_looks_as_the_function_does(store):
    async def film(number: int, *, language: str = "de") -> str:
        """Look a film up."""
        return f"{number}{language}"

    decorated = cached(store, "films")(film)
    assert isinstance(decorated, Cached)
    assert (decorated.__name__, decorated.__qualname__, decorated.__module__, decorated.__doc__) == (
        film.__name__,
        film.__qualname__,
        film.__module__,
        "Look a film up.",
    )
    assert inspect.signature(decorated) == inspect.signature(film)
    assert inspect.get_annotations(decorated.__wrapped__) == inspect.get_annotations(film)
    assert decorated.__wrapped__ is film
    if hasattr(inspect, "markcoroutinefunction"):
        assert inspect.iscoroutinefunction(decorated)


def plain(): ...


async def generator():
    yield 1


class Callable:
    async def __call__(self): ...


@pytest.mark.parametrize("function", [plain, generator, Callable(), 5, len, staticmethod(plain)])
def test_what_is_no_async_function_is_refused(store, function):
    with pytest.raises(ConfigurationError, match="cached takes an async function"):
        cached(store, "c")(function)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ttl": 0}, InvalidTTLError),
        ({"stale": 5}, ConfigurationError),
        ({"ttl": 5, "early": -1}, ConfigurationError),
        ({"key": "k"}, ConfigurationError),
        ({"model": 5}, ConfigurationError),
    ],
)
def test_options_are_checked_when_it_is_decorated(store, options, error):
    with pytest.raises(error):
        cached(store, "c", **options)


def test_collection_and_store_are_checked_when_it_is_decorated(store):
    with pytest.raises(InvalidKeyError):
        cached(store, "")
    with pytest.raises(ConfigurationError, match="takes a store"):
        cached(None, "c")


def test_an_async_key_function_is_refused_when_it_is_decorated(store):
    async def key(number):
        return str(number)

    with pytest.raises(ConfigurationError, match="key must be a plain function that returns a key, got an async one"):
        cached(store, "c", key=key)


@pytest.mark.parametrize("options", [{"stale": 5}, {"early": 1.0}])
def test_what_runs_in_the_background_needs_a_store_that_ends_it(options):
    with pytest.raises(ConfigurationError, match=r"MemoryStore\(\) would not stop .* SingleFlightWrapper"):
        cached(MemoryStore(), "c", ttl=60, **options)


async def test_a_stale_result_is_served_while_it_is_refreshed(clock, runs):
    store = SingleFlightWrapper(MemoryStore(clock=clock))

    @cached(store, "c", ttl=60, stale=30)
    async def version():
        runs["calls"] += 1
        return runs["calls"]

    assert await version() == 1
    clock.advance(61)
    assert await version() == 1
    await turns(20)
    assert await version() == 2
    await store.aclose()


async def test_a_result_that_no_store_takes_is_refused(store):
    @cached(store, "c")
    async def film():
        return {"of": Film(title="a")}

    with pytest.raises(SerializationError, match=r"\$\.of"):
        await film()


@pytest.mark.parametrize(("model", "result"), [(Film, Film(title="a")), (Rating, Rating(stars=5)), (set[int], {1, 2})])
async def test_results_of_a_model_come_back_as_they_were(store, runs, model, result):
    @cached(store, "c", model=model)
    async def make():
        runs["calls"] += 1
        return result

    results = [*await asyncio.gather(make(), make()), await make()]
    assert results == [result] * 3
    assert [type(each) for each in results] == [type(result)] * 3
    assert len(set(map(id, results))) == 3
    assert runs["calls"] == 1


async def test_a_result_that_is_not_of_the_model_is_refused(store):
    @cached(store, "c", model=Rating)
    async def rating():
        return "five stars"

    with pytest.raises(ModelMismatchError):
        await rating()
    assert await store.get("c", rating.key_for()) is None


async def test_any_name_may_be_that_of_a_keyword(store, runs):
    @cached(store, "c")
    async def named(**values: int) -> dict[str, int]:
        runs["calls"] += 1
        return values

    assert await named(self=1, instance=2, key=3) == {"self": 1, "instance": 2, "key": 3}
    assert await named(key=3, instance=2, self=1) == {"self": 1, "instance": 2, "key": 3}
    assert runs["calls"] == 1
    assert named.key_for(self=1) != named.key_for(self=2)
    assert await named.invalidate(self=1, instance=2, key=3) is True


def recursive():
    items = []
    items.append(items)
    return items


def deep():
    items = []
    for _ in range(100_000):
        items = [items]
    return items


@pytest.mark.parametrize("make", [recursive, deep, lambda: 10**5000, lambda: {"a": [10**5000]}])
async def test_an_argument_of_which_no_key_can_be_made_is_refused_by_name(store, runs, make):
    @cached(store, "c")
    async def takes(number, items):
        runs["calls"] += 1

    with pytest.raises(ConfigurationError, match=r"argument 'items' of .*takes") as caught:
        await takes(1, make())
    assert "give cached(..., key=)" in str(caught.value)
    assert runs["calls"] == 0


async def test_a_cached_function_is_a_coroutine_function_on_every_python(store, runs):
    @cached(store, "outer")
    @cached(store, "inner")
    async def twice(number: int = 2) -> int:
        """Double it."""
        runs["calls"] += 1
        return 2 * number

    assert inspect.iscoroutinefunction(twice)
    assert inspect.iscoroutinefunction(twice.__wrapped__)
    assert str(inspect.signature(twice)) == "(number: int = 2) -> int"
    assert await twice(4) == await twice(number=4) == 8
    assert runs["calls"] == 1
    assert await store.exists("inner", twice.key_for(4))
    assert await store.exists("outer", twice.key_for(4))


class Shelf:
    def __init__(self, name):
        self.name = name

    @cached(MemoryStore(), "shelves", key=lambda shelf, number: f"{shelf.name}/{number}")
    async def book(self, number: int) -> str:
        return f"{self.name} {number}"


@cached(MemoryStore(), "module")
async def at_the_top(number: int) -> int:
    return 2 * number


async def test_a_cached_function_is_pickled_and_copied_as_a_function_is():
    assert pickle.loads(pickle.dumps(at_the_top)) is at_the_top  # made here
    assert copy.deepcopy(at_the_top) is at_the_top
    assert copy.copy(at_the_top) is at_the_top
    assert copy.deepcopy({"function": at_the_top}) == {"function": at_the_top}
    assert pickle.loads(pickle.dumps(Shelf.book)) is Shelf.book  # made here
    bound = pickle.loads(pickle.dumps(Shelf("Films").book))  # made here
    assert await bound(7) == "Films 7"
    assert await copy.deepcopy(Shelf("Songs").book)(7) == "Songs 7"


async def test_a_cached_function_within_another_is_not_pickled(store):
    @cached(store, "c")
    async def inner():
        return 1

    with pytest.raises((AttributeError, pickle.PicklingError), match="inner"):
        pickle.dumps(inner)
    assert copy.deepcopy(inner) is inner


async def rate() -> Rating:
    return Rating(3)


async def maybe_rate() -> Rating | None:
    return None


async def rated() -> list[Rating]:
    return [Rating(3)]


async def film() -> "Film":
    return Film(title="M")


async def day() -> date:
    return date(2026, 1, 2)


async def pair() -> tuple[int, str]:
    return (1, "a")


async def by_number() -> dict[int, str]:
    return {1: "a"}


async def plain() -> dict[str, list[int | None]]:
    return {"a": [1, None]}


async def raw() -> bytes | None:
    return b"raw"


async def anything() -> object:
    return "anything"


RESULTS = [rate, maybe_rate, rated, film, day, pair, by_number, plain, raw, anything]


@pytest.mark.parametrize("function", RESULTS, ids=lambda function: function.__name__)
async def test_results_come_back_as_the_annotation_says(store, function):
    decorated = cached(store, "c")(function)
    expected = await function()
    results = [await decorated(), await decorated()]
    assert results == [expected] * 2
    assert [type(result) for result in results] == [type(expected)] * 2


async def test_plain_results_are_stored_as_they_were(store):
    for function in (plain, raw, anything):
        decorated = cached(store, "c")(function)
        await decorated()
        assert await store.get("c", decorated.key_for()) == await function()


class Connection:
    pass


def test_a_function_whose_results_cannot_be_kept_is_refused_when_it_is_decorated(store):
    async def connect() -> Connection:
        return Connection()

    with pytest.raises(ConfigurationError, match=r"connect returns .*Connection, which cannot be kept.*model="):
        cached(store, "c")(connect)
    assert inspect.iscoroutinefunction(cached(store, "c", model=Any)(connect))


async def test_an_annotation_that_cannot_be_evaluated_says_nothing(store):
    async def unknown() -> "NotDefined":  # noqa: F821  # that is the point
        return 1

    assert await cached(store, "c")(unknown)() == 1


async def test_a_result_that_is_made_is_kept_although_its_caller_is_cancelled(runs):
    class Slow(MemoryStore):
        asked, answers = asyncio.Event(), asyncio.Event()

        async def put_if_absent(self, *arguments, **named):
            self.asked.set()
            await self.answers.wait()
            return await super().put_if_absent(*arguments, **named)

    store = Slow()

    @cached(store, "c")
    async def made():
        runs["calls"] += 1
        return "made"

    task = asyncio.create_task(made())
    await store.asked.wait()
    task.cancel()
    await turns(3)
    store.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await made() == "made"
    assert runs["calls"] == 1
