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
    StoreUnavailableError,
)
from satchel.caching import Cached, cached, cached_many, canonical
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import PrefixKeysWrapper, SingleFlightWrapper
from tests.scripted import BatchStore, Server, turns
from tests.wrappers.single_flight import Factory, quiet


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


async def test_any_name_may_be_that_of_a_keyword_of_a_function_with_tags(store, runs):
    @cached(store, "c", tags=lambda **values: sorted(values))
    async def named(**values: int) -> dict[str, int]:
        runs["calls"] += 1
        return values

    for values in ({"tags": 1}, {"self": 1, "tags": 2}):
        assert await named(**values) == await named.peek(**values) == values
    assert runs["calls"] == 2
    assert await named.refresh(tags=1) == {"tags": 1}


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


@cached_many(MemoryStore(), "module")
async def many_at_the_top(self: list[int]) -> dict[int, int]:
    return {number: 2 * number for number in self}


async def test_a_function_of_many_is_pickled_and_copied_as_a_function_is():
    assert pickle.loads(pickle.dumps(many_at_the_top)) is many_at_the_top  # made here
    assert copy.deepcopy({"function": many_at_the_top}) == {"function": many_at_the_top}


async def test_a_function_of_many_takes_its_argument_by_name_whatever_the_name(store):
    @cached_many(store, "c")
    async def films(numbers: list[int] = (7,)):
        return {number: 2 * number for number in numbers}

    assert await films(numbers=[1, 2]) == {1: 2, 2: 4}
    assert await films() == {7: 14}
    assert await many_at_the_top(self=[3]) == await many_at_the_top([3]) == {3: 6}
    for wrong in ({"items": [1]}, {"numbers": [1], "other": [2]}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            await films(**wrong)
    with pytest.raises(TypeError, match="too many positional"):
        await films([1], [2])


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


async def test_a_method_leaves_its_object_out_of_the_key(store, runs):
    class Shop:
        @cached(store, "c", ignore=("self",))
        async def price(self, number, *, session=None):
            runs[number] += 1
            return [number]

    one, other = Shop(), Shop()
    assert await one.price(1) == await other.price(number=1) == await Shop.price(one, 1) == [1]
    assert runs == {1: 1}
    assert one.price.key_for(1).endswith("price(number=1, session=None)")
    assert await other.price.invalidate(1) is True


def test_what_is_ignored_has_to_be_an_argument(store):
    async def film(number): ...

    with pytest.raises(ConfigurationError, match=r"ignore names 'self', which is no argument of .*film"):
        cached(store, "c", ignore=("self",))(film)
    with pytest.raises(ConfigurationError, match=r"ignore must be a list of names.*ignore=\('number',\)"):
        cached(store, "c", ignore="number")
    with pytest.raises(ConfigurationError, match="ignore and key contradict each other"):
        cached(store, "c", ignore=("number",), key=str)


async def test_the_time_to_live_may_come_from_the_result(store, runs, clock):
    @cached(store, "c", ttl=lambda token: token["expires_in"])
    async def token(user):
        runs[user] += 1
        return {"expires_in": user}

    assert await token(10) == await token(10) == {"expires_in": 10}
    await token(None)
    assert (await store.get_entry("c", token.key_for(10))).ttl == 10
    assert (await store.get_entry("c", token.key_for(None))).ttl is None
    clock.advance(11)
    await token(10)
    await token(None)
    assert runs == {10: 2, None: 1}


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), "60"])
async def test_a_time_to_live_from_a_result_is_checked(store, ttl):
    @cached(store, "c", ttl=lambda result: result)
    async def film():
        return ttl if ttl == ttl else 5  # NaN is kept by no store

    decorated = film if ttl == ttl else cached(store, "c", ttl=lambda _: ttl)(film.__wrapped__)  # as above
    with pytest.raises(InvalidTTLError):
        await decorated()


async def test_the_time_to_live_of_a_result_has_the_time_of_stale_after_it(clock, runs):
    store = SingleFlightWrapper(MemoryStore(clock=clock))

    @cached(store, "c", ttl=lambda result: 60, stale=30)
    async def version():
        runs["calls"] += 1
        return runs["calls"]

    assert await version() == 1
    assert (await store.get_entry("c", version.key_for())).ttl == 90
    clock.advance(59)
    assert await version() == 1
    clock.advance(2)
    assert await version() == 1
    await quiet()
    assert await version() == 2


async def test_results_are_kept_only_when_they_should_be(store, runs):
    @cached(store, "c", when=lambda film: film is not None)
    async def film(number):
        runs[number] += 1
        return None if number == 0 else number

    assert [await film(number) for number in (0, 0, 1, 1)] == [None, None, 1, 1]
    assert runs == {0: 2, 1: 1}
    runs.clear()
    assert await asyncio.gather(film(0), film(0)) == [None, None]
    assert runs == {0: 1}


async def later(result):
    return True


class Later:
    async def __call__(self, result):
        return True


@pytest.mark.parametrize("options", [{"when": later}, {"ttl": later}, {"when": 5}, {"when": "yes"}])
def test_functions_of_the_result_are_plain(store, options):
    with pytest.raises(ConfigurationError, match=r"must be a (plain )?function"):
        cached(store, "c", **options)


async def test_a_function_of_the_result_that_is_to_be_awaited_is_refused(store):
    with pytest.raises(ConfigurationError, match="when must be a plain function"):
        await cached(store, "c", when=Later())(anything)()


async def test_a_call_waits_for_its_timeout_and_a_result_that_comes_later_is_kept():
    store, factory = SingleFlightWrapper(MemoryStore()), Factory("late", held=True)

    @cached(store, "c", timeout=0.01)
    async def slow():
        return await factory()

    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"was not made within 0.01 s; it is kept when it comes"):
            await slow()
    factory.gate.set()
    await quiet()
    assert await slow() == "late"
    assert factory.runs == 1


async def test_a_timeout_of_the_function_itself_passes_as_it_is():
    @cached(SingleFlightWrapper(MemoryStore()), "c", timeout=50)
    async def slow():
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await slow()


async def test_closing_ends_what_came_too_late():
    store, factory = SingleFlightWrapper(MemoryStore()), Factory("late", held=True)

    @cached(store, "c", timeout=0.01)
    async def slow():
        return await factory()

    with pytest.raises(TimeoutError):
        await slow()
    await store.aclose()
    assert factory.cancelled == 1


async def test_a_stale_result_is_served_only_if_the_function_fails(clock, caplog):
    store, factory = SingleFlightWrapper(MemoryStore(clock=clock)), Factory(1, ZeroDivisionError("secret"), 3)

    @cached(store, "c", ttl=60, stale=600, on_error="stale")
    async def rate():
        return await factory()

    assert [await rate(), await rate()] == [1, 1]
    clock.advance(61)
    assert await rate() == 1
    assert "an entry of 'c' is served although it is over: ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text
    assert await rate() == 3
    assert factory.runs == 3


async def test_a_stale_result_is_served_if_the_function_takes_too_long(clock):
    store, factory = SingleFlightWrapper(MemoryStore(clock=clock)), Factory(1, 2)

    async def rate():
        return await factory()

    patient, impatient = (
        cached(store, "c", ttl=60, stale=600, on_error="stale", timeout=seconds)(rate) for seconds in (60, 0.01)
    )
    assert await patient() == 1
    clock.advance(61)
    factory.gate.clear()
    assert await impatient() == 1
    factory.gate.set()
    await quiet()
    assert await patient() == 2


async def test_after_the_time_of_stale_the_error_is_raised(clock):
    store, factory = SingleFlightWrapper(MemoryStore(clock=clock)), Factory(1, ZeroDivisionError())

    @cached(store, "c", ttl=60, stale=600, on_error="stale")
    async def rate():
        return await factory()

    await rate()
    clock.advance(661)
    with pytest.raises(ZeroDivisionError):
        await rate()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "stale"}, "needs stale="),
        ({"on_error": "ignore"}, "unknown on_error. Known: raise, stale"),
        ({"timeout": 0}, "timeout must be a number of seconds"),
        ({"timeout": 5}, "SingleFlightWrapper"),
    ],
)
def test_options_for_trouble_are_checked_when_it_is_decorated(options, message):
    with pytest.raises(ConfigurationError, match=message):
        cached(MemoryStore(), "c", **options)


async def test_refresh_calls_the_function_now_and_keeps_what_it_gives(store, runs):
    @cached(store, "c", model=Rating)
    async def rating():
        runs["calls"] += 1
        return Rating(runs["calls"])

    assert await rating.peek() is None
    assert await rating.refresh() == Rating(1)
    assert await rating() == await rating.peek() == Rating(1)
    assert await rating.refresh() == Rating(2)
    assert await rating() == await rating.peek() == Rating(2)


async def test_a_refresh_does_not_join_a_call_from_before_and_that_one_is_not_kept(store):
    factory = Factory("before", "after", held=True)

    @cached(store, "c")
    async def read():
        return await factory()

    before = asyncio.create_task(read())
    await turns(10)
    after = asyncio.create_task(read.refresh())
    await turns(10)
    factory.gate.set()
    assert [await before, await after, await read()] == ["before", "after", "after"]


async def test_a_refresh_that_fails_leaves_what_is_kept(store):
    factory = Factory("kept", ZeroDivisionError())

    @cached(store, "c")
    async def read():
        return await factory()

    await read()
    with pytest.raises(ZeroDivisionError):
        await read.refresh()
    assert await read() == "kept"


async def test_the_store_may_be_found_at_each_call(runs):
    stores = [MemoryStore(), MemoryStore()]

    @cached(lambda: stores[0], "c", ttl=60, stale=30, tags=lambda number: ["tag"])
    async def double(number: int) -> Rating:
        runs[number] += 1
        return Rating(2 * number)

    assert await double(1) == await double(1) == Rating(2)
    stores.reverse()
    assert await double.peek(1) is None
    assert await double(1) == Rating(2)
    assert runs == {1: 2}
    assert [await store.exists("c", double.key_for(1)) for store in stores] == [True, True]
    assert await double.invalidate(1) is True
    assert [await store.exists("c", double.key_for(1)) for store in stores] == [False, True]


async def make_store():
    return MemoryStore()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (make_store, "got an async function"),
        (MemoryStore, "got the class MemoryStore"),
        ("memory://", "got an object of type str"),
    ],
)
def test_what_is_neither_a_store_nor_a_function_is_refused_when_it_is_decorated(given, message):
    with pytest.raises(ConfigurationError, match=message):
        cached(given, "c")


@pytest.mark.parametrize("result", [None, "memory://", make_store])
async def test_a_function_that_finds_no_store_is_refused(result):
    @cached(lambda: result() if result is make_store else result, "c")
    async def double(number): ...

    with pytest.raises(ConfigurationError, match="cached, from the function given to it, takes a store"):
        await double(1)


def test_the_model_is_checked_although_the_store_comes_later():
    async def connect() -> Connection:
        return Connection()

    with pytest.raises(ConfigurationError, match="cannot be kept"):
        cached(MemoryStore().collection, "c")(connect)
    with pytest.raises(InvalidKeyError):
        cached(lambda: MemoryStore(), "")  # noqa: PLW0108  # a class is refused


async def test_a_store_that_fails_is_an_error_and_the_next_call_works():
    store = FlakyStore()

    @cached(store, "c")
    async def double(number):
        return 2 * number

    store.fail_next(1)
    with pytest.raises(StoreUnavailableError):
        await double(1)
    assert await double(1) == 2


def many(store, calls, **options):
    @cached_many(store, "c", **options)
    async def films(numbers: list[int]) -> dict[int, Rating]:
        calls.append(list(numbers))
        await turns(5)
        return {number: Rating(number) for number in numbers if number >= 0}

    return films


async def test_of_many_the_missing_ones_are_made_in_one_call(store, clock):
    calls = []
    films = many(store, calls, ttl=60)
    assert await films([2, 1, 2]) == {2: Rating(2), 1: Rating(1)}
    assert list(await films([3, 1, -1, 2])) == [3, 1, 2]
    assert calls == [[2, 1], [3, -1]]
    assert await films.peek([1, 5]) == {1: Rating(1)}
    assert await films([]) == await films.peek(()) == {}
    assert films.key_for(1).endswith("films(1)")
    clock.advance(61)
    assert await films.peek([1]) == {}


async def test_calls_for_many_at_the_same_time_share_what_they_both_miss(store):
    calls = []
    films = many(store, calls)
    found = await asyncio.gather(films([1, 2]), films([2, 3]), films([1, 3]))
    assert [list(each) for each in found] == [[1, 2], [2, 3], [1, 3]]
    assert sorted(number for call in calls for number in call) == [1, 2, 3]


async def test_an_error_of_many_is_raised_and_not_kept(store):
    factory = Factory(ZeroDivisionError("once"), {1: 1, 2: 2})

    @cached_many(store, "c")
    async def films(numbers):
        return await factory()

    with pytest.raises(ZeroDivisionError, match="once"):
        await films([1, 2])
    assert await films([1, 2]) == {1: 1, 2: 2}


async def test_a_caller_of_many_who_is_cancelled_ends_the_call_if_nobody_else_waits(store):
    factory = Factory({1: 1}, held=True)

    @cached_many(store, "c")
    async def films(numbers):
        return await factory()

    tasks = [asyncio.create_task(films([1])) for _ in range(2)]
    await turns(20)
    tasks[0].cancel()
    await turns(20)
    assert factory.cancelled == 0
    tasks[1].cancel()
    await asyncio.wait(tasks)
    await turns(20)
    assert factory.cancelled == 1


async def test_many_are_forgotten_also_while_they_are_made(store):
    calls = []
    films = many(store, calls, key=str)
    await films([1])
    under_way = asyncio.create_task(films([1, 2]))
    await turns(4)
    assert await films.invalidate([1, 2, 3]) == 1
    assert await under_way == {1: Rating(1), 2: Rating(2)}
    assert await films.peek([1, 2]) == {}


async def test_lifetime_and_whether_it_is_kept_come_from_each_result_of_many(store):
    films = many(store, [], ttl=lambda rating: rating.stars * 10, when=lambda rating: rating.stars != 2, key=str)
    assert list(await films([1, 2, 3])) == [1, 2, 3]
    assert [(await store.get_entry("c", key)).ttl for key in ("1", "3")] == [10, 30]
    assert not await store.exists("c", "2")


async def test_a_function_of_many_returns_a_dict_and_takes_one_argument(store):
    @cached_many(store, "c")
    async def films(numbers):
        return numbers

    with pytest.raises(TypeError, match="must return a dict, got list"):
        await films([1])

    async def method(self, numbers): ...
    async def spread(*numbers): ...
    async def named(*, numbers): ...

    for function in (method, spread, named):
        with pytest.raises(ConfigurationError, match="one argument, the list of items"):
            cached_many(store, "c")(function)
    with pytest.raises(ConfigurationError, match="cached_many takes an async function"):
        cached_many(store, "c")(len)
    with pytest.raises(ConfigurationError, match="which cannot be part of a key"):
        await films([object()])


def test_a_function_of_many_looks_as_it_did(store):
    films = many(store, [])
    assert inspect.iscoroutinefunction(films)
    assert str(inspect.signature(films)) == "(numbers: list[int]) -> dict[int, tests.test_caching.Rating]"
    assert repr(films).startswith("<cached_many <function many.<locals>.films")
