"""What types make a model, what comes back, and what messages never say."""

import asyncio
import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import subprocess
import sys
import threading
import uuid
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NewType, NotRequired, TypedDict

import msgspec
import pydantic
import pydantic.alias_generators
import pytest
import typing_extensions
from annotated_types import Gt

from satchel import (
    BatchError,
    ConfigurationError,
    MemoryStore,
    MissingExtraError,
    ModelMismatchError,
    SerializationError,
    ValueTooLargeError,
)
from satchel._models import is_large, is_large_object, model_for

SECRET = "hunter2"
NOW = dt.datetime(2024, 2, 29, 12, 30, 1, 123456, tzinfo=dt.UTC)


class Colour(enum.Enum):
    RED = "red"


class Place(NamedTuple):
    name: str
    floor: int


@dataclasses.dataclass
class Everything:
    numbers: tuple[int, ...]
    names: set[str]
    by_number: dict[int, str]
    when: dt.datetime
    day: dt.date
    lasted: dt.timedelta
    identity: uuid.UUID
    price: decimal.Decimal
    colour: Colour
    raw: bytes
    place: Place
    nested: "Everything | None" = None


EVERYTHING = Everything(
    (1, 2),
    {"a", "b"},
    {1: "one"},
    NOW,
    NOW.date(),
    dt.timedelta(days=-1, microseconds=3),
    uuid.UUID(int=7),
    decimal.Decimal("1.10"),
    Colour.RED,
    b"\xff\0",
    Place("attic", 3),
)


class Struct(msgspec.Struct):
    shared: ClassVar[threading.Lock] = threading.Lock()
    name: str
    age: int = 0
    friends: "list[Struct]" = []


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str


class Wide(Struct):
    extra: int = 1


class Partial(msgspec.Struct):
    name: str
    age: int | msgspec.UnsetType = msgspec.UNSET


class ById(msgspec.Struct, eq=False):
    name: str


class Unlike(msgspec.Struct, eq=False):
    level: float | None


class Film(TypedDict):
    title: str
    seen: NotRequired[dt.date]


class Play(typing_extensions.TypedDict):
    title: str
    by: "User"


class Scene(typing_extensions.TypedDict):
    number: int


class User(pydantic.BaseModel):
    name: str = pydantic.Field(alias="userName", serialization_alias="USER")
    age: int = pydantic.Field(default=1, gt=0)
    joined: dt.datetime = NOW
    tags: frozenset[str] = frozenset()
    scores: dict[str, int] = {}

    @pydantic.computed_field
    @property
    def shout(self) -> str:
        return self.name.upper()


class Strict(pydantic.BaseModel, strict=True, extra="forbid"):
    when: dt.datetime
    identity: uuid.UUID


class Account(pydantic.BaseModel):
    login: str
    password: pydantic.SecretStr | None = None
    note: str = pydantic.Field(default="", exclude=True)
    _cache: int = pydantic.PrivateAttr(default=0)


@pydantic.dataclasses.dataclass
class Even:
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def check(cls, number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number


@dataclasses.dataclass
class Holder:
    even: Even


Positive = Annotated[int, pydantic.Field(gt=0)]
UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (Everything, EVERYTHING),
        (Everything, dataclasses.replace(EVERYTHING, nested=EVERYTHING)),
        (Struct, Struct("ada", 36, [Struct("bob")])),
        (Renamed, Renamed("ada")),
        (Partial, Partial("ada")),
        (Partial, Partial("ada", 36)),
        (ById, None),
        (Film, {"title": "Metropolis"}),
        (Film, {"title": "Metropolis", "seen": NOW.date()}),
        (Play, {"title": "Hamlet", "by": User(userName="ada")}),
        (Scene, {"number": 3}),
        (User, User(userName="ada", age=36, tags={"x"}, scores={"chess": 3})),
        (Strict, Strict(when=NOW, identity=uuid.UUID(int=1))),
        (Account, Account(login="ada")),
        (Even, Even(2)),
        (Holder, Holder(Even(4))),
        (dict[str, User], {"ada": User(userName="ada")}),
        (list[Struct], [Struct("ada")]),
        (Struct | None, None),
        (User | Even, Even(2)),
        (int | str, "1"),
        (int, 1),
        (float, 2),
        (bool, True),
        (str, ""),
        (list[int], []),
        (set[int], {1, 2}),
        (tuple[int, str], (1, "a")),
        (dict[int, str], {1: "a"}),
        (dict[uuid.UUID, int], {uuid.UUID(int=3): 3}),
        (collections.abc.Sequence[int], [1]),
        (bytes, b"\xff"),
        (bytes | None, b"\xff"),
        (list[bytes], [b"\xff"]),
        (complex, 1j),
        (Positive, 3),
        (Annotated[int, Gt(0)], 3),
        (UserId, 3),
        (Literal["a", "b"], "a"),
        (Colour, Colour.RED),
        (dt.timedelta, dt.timedelta(seconds=1)),
        (dt.datetime | str, "2020-01-01"),
        (Any, {"a": [1, None]}),
        (None, b"x"),
    ],
)
async def test_what_is_put_comes_back_equal_and_of_its_type(model, value):
    value = ById("ada") if model is ById else value
    things = MemoryStore().collection("things", model=model)
    await things.put("k", value)
    found = await things.require("k")
    assert (found.name if model is ById else found) == (value.name if model is ById else value)
    assert type(found) is type(value) or (model is float and type(found) is float)


@pytest.mark.parametrize(
    ("model", "value", "field"),
    [
        (Struct, Struct("ada", SECRET), "$.age: Expected int, got str"),
        (Struct, Struct("ada", True), "$.age: Expected int, got bool"),
        (Struct, Struct("ada", 1, [Struct("bob"), Struct(3)]), "$.friends[1].name: Expected str, got int"),
        (Struct, {"name": SECRET}, "is of type dict, not Struct"),
        (Struct, Wide(SECRET), "comes back as Struct, which is the type declared; declare a union of the classes"),
        (Struct, None, "is of type NoneType, not Struct"),
        (Film, {"seen": NOW.date()}, "Object missing required field title"),
        (Film, {"title": SECRET, "seen": SECRET}, "$.seen: the model refuses it"),
        (User, User.model_construct(name=SECRET, age=-1), "$.age: greater_than"),
        (User, User.model_construct(name=SECRET, scores={SECRET: SECRET}), "$.scores[...]: int_parsing"),
        (User, {"name": SECRET}, "is of type dict, not User"),
        (Even, object(), "is of type object, not Even"),
        (int, True, "Expected int, got bool"),
        (int, SECRET, "Expected int, got str"),
        (dict[str, int], {SECRET: SECRET}, "$[...]: Expected int, got str"),
        (list[int], (1, 2), "is of type tuple, but comes back as list; declare the type that it has"),
        (Positive, -12345, "$: greater_than"),
        (bytes, SECRET, "expected bytes, got str"),
        (bytes, bytearray(b"x"), "expected bytes, got bytearray"),
        (Literal["a"], SECRET, "the model refuses it"),
        (dt.datetime | str, NOW, "is of type datetime, but comes back as str"),
    ],
)
async def test_what_does_not_fit_is_refused_before_any_io_without_showing_it(model, value, field):
    store = MemoryStore()
    things = store.collection("things", model=model)
    with pytest.raises(ModelMismatchError) as caught:
        await things.put("the key", value)
    _says(caught.value, field)
    assert not await store.exists("things", "the key")


@pytest.mark.parametrize(
    ("model", "value", "field"),
    [
        (list[str], ["\ud800"], "$[0]: JSON cannot represent a str with a lone surrogate"),
        (list[Any], [object()], "$[0]: JSON cannot represent an object of type object"),
        (Account, Account(login="ada", password=SECRET), "$.password"),
        (Account, Account(login="ada", note=SECRET), "$.note"),
        (Everything, dataclasses.replace(EVERYTHING, numbers=[1, 2]), "$.numbers"),
        (Everything, dataclasses.replace(EVERYTHING, by_number=[]), "$.by_number"),
        (User, User.model_construct(name="ada", age="36"), "$.age"),
        (Film, {"title": "Metropolis", "unknown": SECRET}, "$"),
        (list[Any], [NOW], "$"),
        (Unlike, Unlike(float("nan")), "$.level"),
    ],
)
async def test_what_would_come_back_different_is_refused(model, value, field):
    things = MemoryStore().collection("things", model=model)
    with pytest.raises((SerializationError, ModelMismatchError)) as caught:
        await things.put("the key", value)
    _says(caught.value, field)


async def test_a_private_attribute_would_be_lost_and_is_refused():
    account = Account(login="ada")
    account._cache = 3
    with pytest.raises(SerializationError, match="would not come back"):
        await MemoryStore().collection("things", model=Account).put("k", account)


async def test_what_json_does_not_keep_is_refused_by_the_store_too():
    things = MemoryStore().collection("things", model=Struct)
    with pytest.raises(SerializationError, match=r"\$\.age: an int beyond 64 bits"):
        await things.put("k", Struct("ada", 2**70))


@pytest.mark.parametrize(
    ("model", "stored", "field"),
    [
        (Struct, {"name": "ada", "age": SECRET}, "$.age: Expected int, got str"),
        (Struct, {"age": 3}, "$: Object missing required field name"),
        (Struct, SECRET, "$: Expected object, got str"),
        (Colour, SECRET, "$: the model refuses it"),
        (User, {"name": "ada", "age": SECRET}, "$.age: int_parsing"),
        (User, {"name": "ada", "scores": {SECRET: SECRET}}, "$.scores[...]: int_parsing"),
        (list[User], [{"name": "ada"}, {SECRET: 1}], "$[1].name: missing"),
        (Even, {"number": 31337}, "$.number: value_error"),
        (Strict, {"when": SECRET, "identity": str(uuid.UUID(int=1))}, "$.when: datetime_parsing"),
        (Strict, {"when": NOW.isoformat(), "identity": str(uuid.UUID(int=1)), SECRET: 1}, "$[...]: extra_forbidden"),
        (bytes, SECRET, "expected bytes, got str"),
        (int, b"hunter2", "Expected int, got bytes"),
    ],
)
async def test_a_stored_value_that_no_longer_fits_is_named_but_not_shown(model, stored, field):
    store = MemoryStore()
    await store.put("things", "the key", stored)
    with pytest.raises(ModelMismatchError) as caught:
        await store.collection("things", model=model).get("the key")
    _says(caught.value, field)


def _says(error, field):
    text = f"{error} {error!r} {error.__cause__} {error.__context__}"
    assert field in text
    assert "'the key'" in text
    assert "'things'" in text
    for hidden in (SECRET, "31337", "12345"):
        assert hidden not in text


class Nothing:
    pass


@dataclasses.dataclass
class Dangling:
    other: "NoSuchName"  # noqa: F821  # that it is missing is what is tested


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (5, "got an instance of int"),
        (SECRET, "got an instance of str"),
        (Struct("ada"), "got an instance of Struct"),
        (lambda value: value, "got an instance of function"),
        ([int], "got an instance of list"),
        ({"a": int}, "got an instance of dict"),
        (Nothing, "model Nothing cannot be validated"),
        (list[Nothing], "cannot be validated"),
        (Struct | User, "cannot be validated"),
        (Dangling, "NoSuchName"),
    ],
)
def test_what_is_no_model_is_a_configuration_error_that_names_it(model, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        MemoryStore().collection("things", model=model)
    assert SECRET not in str(caught.value)


def test_a_model_that_takes_pydantic_says_so_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(MissingExtraError, match=r'pip install "satchel\[pydantic\]"'):
        MemoryStore().collection("things", model=dt.datetime | str)
    assert MemoryStore().collection("things", model=Struct)


@pytest.mark.parametrize(
    "model", [Everything, Struct, Film, dict[str, int], set[int], tuple[int, ...], Place, int | str]
)
def test_what_msgspec_can_validate_does_not_take_pydantic(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert type(model_for(model)).__name__ == "_Msgspec"


@pytest.mark.parametrize("model", [User, Even, Holder, Positive, Annotated[int, Gt(0)], list[User], pydantic.SecretStr])
def test_what_means_something_to_pydantic_alone_is_left_to_it(model):
    assert type(model_for(model)).__name__ == "_Pydantic"


class Camel(pydantic.BaseModel, alias_generator=pydantic.alias_generators.to_camel):
    first_name: str
    inner: "list[Camel]" = []


@pydantic.dataclasses.dataclass
class Aliased:
    first_name: str = pydantic.Field(validation_alias=pydantic.AliasPath("names", 0))


@dataclasses.dataclass
class HoldsAliased:
    people: list[Camel]
    strictly: Annotated[dt.date | None, pydantic.Strict()] = None


@pytest.mark.parametrize(
    "value",
    [
        Camel(firstName="ada", inner=[Camel(firstName="bob")]),
        Aliased(names=["ada"]),
        HoldsAliased([Camel(firstName="ada")]),
        HoldsAliased([Camel(firstName="ada")], NOW.date()),
    ],
    ids=repr,
)
async def test_aliases_do_not_matter_wherever_they_are(value):
    things = MemoryStore().collection("things", model=type(value))
    await things.put("k", value)
    assert await things.get("k") == value


async def test_fields_are_stored_under_their_python_names():
    store = MemoryStore()
    await store.collection("users", model=User).put("ada", User(userName="ada"))
    assert set(await store.get("users", "ada")) == {"name", "age", "joined", "tags", "scores"}


def test_importing_satchel_imports_no_pydantic():
    subprocess.run(
        [sys.executable, "-c", "import sys, satchel; sys.exit('pydantic' in sys.modules or 'fastapi' in sys.modules)"],
        check=True,
    )


@pytest.mark.parametrize(
    ("value", "large"),
    [
        ([1] * 10_000, True),
        ({"a": [{"b": [1] * 10} for _ in range(2000)]}, True),
        ([1] * 1000, False),
        ({"a": {"b": "x" * 1_000_000}}, False),
        (b"x" * 1_000_000, False),
        (None, False),
    ],
)
def test_large_is_a_matter_of_how_many_objects_there_are(value, large):
    assert is_large(value) is large
    assert is_large_object(Holder(value)) is large


@dataclasses.dataclass
class Twin:
    left: "Twin | None" = None
    right: "Twin | None" = None


class TwinStruct(msgspec.Struct):
    left: "TwinStruct | None" = None
    right: "TwinStruct | None" = None


class TwinModel(pydantic.BaseModel):
    left: "TwinModel | None" = None
    right: "TwinModel | None" = None


def doubled(make, times):
    value = make(None, None)
    for _ in range(times):
        value = make(value, value)
    return value


def list_of(left, right):
    return [left, right]


def model_of(left, right):
    return TwinModel.model_construct(left=left, right=right)


TWINS = [(list[Any], list_of), (Twin, Twin), (TwinStruct, TwinStruct), (TwinModel, model_of)]


@pytest.mark.parametrize(("kind", "make"), TWINS)
async def test_parts_that_are_held_many_times_over_are_refused_at_once(kind, make, monkeypatch):
    monkeypatch.setattr("satchel._models._MANY", 10_000)
    twins = MemoryStore().collection("twins", model=kind)
    with pytest.raises(ValueTooLargeError, match=r"^the value for key 'a' of collection 'twins' holds the same"):
        await asyncio.wait_for(twins.put("a", doubled(make, 60)), 20)
    await twins.put("a", doubled(make, 12))
    assert await twins.get("a") == doubled(make, 12)


async def test_functions_may_keep_once_what_a_value_holds_many_times_over(monkeypatch):
    monkeypatch.setattr("satchel._models._MANY", 10_000)
    levels = MemoryStore().collection("levels", encode=lambda value: 60, decode=lambda times: doubled(list_of, times))
    await levels.put("a", doubled(list_of, 60))
    assert (await levels.get("a"))[0][1][0][1]


def test_a_large_part_that_is_held_many_times_over_is_looked_at_in_little_memory():
    value = [[0] * 1_000_000] * 8000
    assert is_large_object(value)


class BrokenError(Exception):
    """Has what pydantic's errors have, under the same name, and refuses."""

    def errors(self):
        raise RuntimeError(SECRET)


WRONG = [KeyError, AttributeError, RuntimeError, AssertionError, OSError, BrokenError]


def _check(error, name):
    if name == SECRET:
        raise error(name)


def _models_that_raise(error):
    class OfMsgspec(msgspec.Struct):
        name: str

        def __post_init__(self):
            _check(error, self.name)

    @dataclasses.dataclass
    class OfDataclass:
        name: str

        def __post_init__(self):
            _check(error, self.name)

    class OfPydantic(pydantic.BaseModel):
        name: str

        @pydantic.model_validator(mode="after")
        def check(self):
            _check(error, self.name)
            return self

    return OfMsgspec, OfDataclass, OfPydantic


@pytest.mark.parametrize("error", WRONG)
async def test_whatever_a_models_own_check_raises_is_a_misfit_that_shows_no_value(error):
    for model in _models_that_raise(error):
        store = MemoryStore()
        things = store.collection("things", model=model)
        await store.put_many("things", {"good": {"name": "ada"}, "the key": {"name": SECRET}})
        with pytest.raises(ModelMismatchError) as caught:
            await things.get("the key")
        _says(caught.value, f"does not fit {model.__qualname__} at $")
        with pytest.raises(BatchError) as many:
            await things.get_many(["good", "the key"])
        assert set(many.value.failed) == {"the key"}
        _says(many.value, "1 of 2")
        changed = model(name="ada")
        changed.name = SECRET
        with pytest.raises(ModelMismatchError) as caught:
            await things.put("the key", changed)
        _says(caught.value, f"does not fit {model.__qualname__} at $")


async def test_an_error_of_the_check_is_named_by_its_type():
    store = MemoryStore()
    await store.put("things", "the key", {"name": SECRET})
    for model in _models_that_raise(KeyError):
        with pytest.raises(ModelMismatchError, match="the model raised KeyError"):
            await store.collection("things", model=model).get("the key")
