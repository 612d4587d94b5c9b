"""Where a value would not come back unchanged: the path, the cure, and that the cure works."""

import dataclasses
import datetime as dt
import decimal
import math
import uuid
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from pydantic import BaseModel, ConfigDict

from satchel import MemoryStore, SerializationError

SECRET = "hunter2"
BERLIN = ZoneInfo("Europe/Berlin")
CHANGES = [
    pytest.param(dt.datetime(2024, month, day, 2, 30, tzinfo=BERLIN, fold=fold), id=f"{name}, fold={fold}")
    for month, day, name in ((10, 27, "repeated"), (3, 31, "skipped"))
    for fold in (0, 1)
]


class Animal(pydantic.BaseModel):
    name: str


class Dog(Animal):
    tricks: int = 0


class Owner(pydantic.BaseModel):
    pet: Animal


class SerializingOwner(pydantic.BaseModel):
    pet: pydantic.SerializeAsAny[Animal]


class Street(pydantic.BaseModel):
    owners: list[Owner] = []
    by_name: dict[str, Owner] = {}


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Puppy(pydantic.BaseModel):
    kind: Literal["puppy"] = "puppy"
    tricks: int = 0


class OwnerOfEither(pydantic.BaseModel):
    pet: Annotated[Cat | Puppy, pydantic.Field(discriminator="kind")]


class Circle(msgspec.Struct, tag=True):
    radius: int


class Square(msgspec.Struct, tag=True):
    side: int


class Drawing(msgspec.Struct):
    shapes: list[Circle | Square]


@dataclasses.dataclass
class Base:
    x: int = 0


@dataclasses.dataclass
class Derived(Base):
    y: int = 0


@dataclasses.dataclass
class HoldsBase:
    base: Base


class Open(pydantic.BaseModel, extra="allow"):
    a: int = 1


class OpenToDates(pydantic.BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, dt.datetime]


class Login(pydantic.BaseModel):
    password: pydantic.SecretStr


class Logins(pydantic.BaseModel):
    all: list[Login]


class KeptLogin(pydantic.BaseModel):
    password: pydantic.SecretStr

    @pydantic.field_serializer("password", when_used="json")
    def reveal(self, password: pydantic.SecretStr) -> str:
        return password.get_secret_value()


class Shouting(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def shout(cls, name: str) -> str:
        return f"{name}!"


class HoldsShouting(pydantic.BaseModel):
    inner: Shouting


class ShoutingOnce(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def shout(cls, name: str) -> str:
        return f"{name.removesuffix('!')}!"


class Picture(pydantic.BaseModel):
    raw: bytes


class Pictures(pydantic.BaseModel):
    all: dict[str, list[Picture]]


class EncodedPicture(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    raw: bytes
    when: dt.datetime | None = None


class Loose(pydantic.BaseModel):
    items: list = []
    by: dict = {}


class Private(pydantic.BaseModel):
    _cache: Any = pydantic.PrivateAttr(None)


class HoldsPrivate(pydantic.BaseModel):
    inner: list[Private]


class Excluding(pydantic.BaseModel):
    note: str = pydantic.Field("", exclude=True)


class Handled(pydantic.BaseModel):
    handled: Any
    other: Any

    @pydantic.field_serializer("handled")
    def handle(self, handled: Any) -> str:
        return "handled"


class Stuck(pydantic.BaseModel):
    name: str

    @pydantic.field_serializer("name")
    def fail(self, name: str) -> str:
        raise ValueError(name)


@dataclasses.dataclass
class Anything:
    a: Any


@dataclasses.dataclass
class Number:
    number: float


@dataclasses.dataclass
class Numbers:
    all: list[Number]


class Moment(pydantic.BaseModel):
    at: dt.datetime


class OpenMoment(pydantic.BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, dt.datetime]


class StructMoment(msgspec.Struct):
    at: dt.datetime


@dataclasses.dataclass
class DataMoment:
    at: dt.datetime
    note: str = dataclasses.field(default="", compare=False)


def with_private() -> Private:
    private = Private()
    private._cache = SECRET
    return private


DOG = Dog(name=SECRET, tricks=1)
SUBCLASS = "declare a union of the classes, told apart by a discriminator"
AGAIN = "let validators return their own results as they are"


@pytest.mark.parametrize(
    ("value", "path", "cure"),
    [
        (Owner(pet=DOG), "$.pet", SUBCLASS),
        (SerializingOwner(pet=DOG), "$.pet", "SerializeAsAny alone writes a subclass, but does not read it"),
        (Street(owners=[Owner(pet=Animal(name="x")), Owner(pet=DOG)]), "$.owners[1].pet", SUBCLASS),
        (Street(by_name={SECRET: Owner(pet=DOG)}), "$.by_name[...].pet", SUBCLASS),
        (HoldsBase(Derived()), "$.base", "a tag (Struct)"),
        (Open(**{SECRET: dt.datetime.now(dt.UTC)}), "$[...]", "__pydantic_extra__: dict[str, ...]"),
        (Open(**{SECRET: (1, 2)}), "$[...]", "declare the field"),
        (Open(**{SECRET: math.nan}), "$[...]", "a float that is NaN or infinite cannot be stored"),
        (Open(**{SECRET: object()}), "$[...]", "JSON cannot represent an object of type object"),
        (Login(password=SECRET), "$.password", "add a field_serializer that returns get_secret_value()"),
        (Logins(all=[Login(password=SECRET)]), "$.all[0].password", "get_secret_value()"),
        (Shouting(name=SECRET), "$.name", AGAIN),
        (HoldsShouting(inner=Shouting(name=SECRET)), "$.inner.name", "add a field_serializer that undoes"),
        (Picture(raw=b"\xff"), "$.raw", 'ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")'),
        (Pictures(all={SECRET: [Picture(raw=b"\xff")]}), "$.all[...][0].raw", "ConfigDict("),
        (Loose(items=[1, (SECRET,)]), "$.items[1]", "is of type tuple, but comes back as list; declare the type"),
        (Loose(by={"a": {"b": {1}}}), "$.by[...][...]", "is of type set, but comes back as list"),
        (Loose(by={1: SECRET}), "$.by", "JSON has only str for keys"),
        (HoldsPrivate(inner=[with_private()]), "$.inner[0]._cache", "make it a field, or leave it unset"),
        (with_private(), "$._cache", "a private attribute is not stored"),
        (Excluding(note=SECRET), "$.note", "left out by exclude=True"),
        (Handled(handled=object(), other=[object()]), "$.other[0]", "JSON cannot represent"),
        (Stuck(name=SECRET), "$.name", "the model's own serializer refuses it"),
        (Anything(object()), "$.a", "JSON cannot represent an object of type object"),
        (Anything([{"x": {(1, 2): 3}}]), "$.a[0][...]", "JSON cannot represent a key of type tuple; use str for keys"),
        (Anything({1: SECRET}), "$.a", "JSON has only str for keys"),
        (Anything({1, 2}), "$.a", "is of type set, but comes back as list"),
        (Anything(math.nan), "$.a", "a float that is NaN or infinite cannot be stored"),
        (Number(math.nan), "$.number", "a float that is NaN or infinite cannot be stored; use None or a str"),
        (Numbers([Number(1.0), Number(-math.inf)]), "$.all[1].number", "a float that is NaN or infinite"),
    ],
    ids=lambda given: type(given).__name__ if not isinstance(given, str) else given[:30],
)
async def test_a_refusal_names_the_part_and_the_cure_before_any_io(value, path, cure):
    store = MemoryStore()
    things = store.collection("things", model=type(value))
    with pytest.raises(SerializationError) as caught:
        await things.put("the key", value)
    message = str(caught.value)
    assert f" at {path}: " in message
    assert cure in message
    assert "key 'the key' of collection 'things'" in message
    assert SECRET not in f"{message} {caught.value.__cause__} {caught.value.__context__}"
    assert not await store.exists("things", "the key")


@pytest.mark.parametrize(
    ("kind", "value"),
    [(dict, {(1, 2): 3}), (dict, {None: 1}), (dict[Any, int], {(1,): 1}), (dict[str, Any], {"a": {(1,): 1}})],
)
async def test_odd_keys_of_a_dict_are_for_json_to_refuse(kind, value):
    with pytest.raises(SerializationError, match="JSON cannot represent a key of type"):
        await MemoryStore().collection("things", model=kind).put("k", value)


class Color(Enum):
    RED = 1


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: int = 1


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (tuple[int, int], (1, 2)),
        (None, None),
        (int | None, None),
        (Frozen, Frozen()),
        (Color, Color.RED),
        (Any, (1, 2)),
        (Any, None),
    ],
    ids=str,
)
async def test_keys_that_pydantic_writes_but_cannot_read_are_for_json_to_refuse(kind, key):
    class Table(BaseModel):
        cells: dict[kind, int]

    tables = MemoryStore().collection("tables", model=list[Table])
    refusal = rf"at \$\[0\]\.cells: JSON cannot represent a key of type {type(key).__name__}; use str for keys"
    with pytest.raises(SerializationError, match=refusal):
        await tables.put("k", [Table(cells={key: 1})])


@pytest.mark.parametrize(
    "value",
    [
        OwnerOfEither(pet=Puppy(tricks=3)),
        Drawing([Circle(1), Square(2)]),
        Open(x=1, y=["a", {"b": None}]),
        OpenToDates(x=dt.datetime.now(dt.UTC)),
        KeptLogin(password=SECRET),
        ShoutingOnce(name="ada"),
        Picture(raw="é".encode()),
        EncodedPicture(raw=b"\xff\0", when=dt.datetime.now(dt.UTC)),
        EncodedPicture(raw=b""),
        Handled(handled="handled", other=1),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_the_cures_work(value):
    things = MemoryStore().collection("things", model=type(value))
    await things.put("k", value)
    assert await things.require("k") == value


async def test_bytes_that_are_text_are_stored_as_that_text():
    store = MemoryStore()
    await store.collection("things", model=Picture).put("k", Picture(raw="é".encode()))
    assert await store.get("things", "k") == {"raw": "é"}


def moment_of(value: Any) -> dt.datetime:
    """Return the one moment in a value."""
    while not isinstance(value, dt.datetime):
        if isinstance(value, OpenMoment):
            value = value.at
        elif isinstance(value, (list, set)):
            (value,) = value
        else:
            value = next(iter(value)) if isinstance(value, dict) else value.at
    return value


@pytest.mark.parametrize("moment", CHANGES)
@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (dt.datetime, lambda moment: moment),
        (list[dt.datetime], lambda moment: [moment]),
        (set[dt.datetime], lambda moment: {moment}),
        (dict[dt.datetime, int], lambda moment: {moment: 1}),
        (Moment, lambda moment: Moment(at=moment)),
        (list[Moment], lambda moment: [Moment(at=moment)]),
        (OpenMoment, lambda moment: OpenMoment(at=moment)),
        (StructMoment, StructMoment),
        (DataMoment, lambda moment: DataMoment(moment, "a note")),
        (dict[str, DataMoment], DataMoment),
    ],
    ids=lambda given: given.__name__ if isinstance(given, type) else None,
)
async def test_a_time_in_a_change_of_clocks_comes_back_as_its_offset(moment, kind, make):
    value = {"k": make(moment)} if kind == dict[str, DataMoment] else make(moment)
    things = MemoryStore().collection("things", model=kind)
    await things.put("k", value)
    found = await things.require("k")
    back = moment_of(found["k"] if kind == dict[str, DataMoment] else found)
    assert back.replace(tzinfo=None) == moment.replace(tzinfo=None, fold=0)
    assert back.utcoffset() == moment.utcoffset()
    assert not isinstance(back.tzinfo, ZoneInfo)


async def test_a_moment_that_comes_back_as_another_is_still_refused():
    class Rounded(pydantic.BaseModel):
        at: dt.datetime

        @pydantic.field_validator("at")
        @classmethod
        def round(cls, at: dt.datetime) -> dt.datetime:
            return at.replace(minute=0)

    moment = Rounded.model_construct(at=dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN))
    with pytest.raises(SerializationError, match=r"\$\.at"):
        await MemoryStore().collection("things", model=Rounded).put("k", moment)


async def test_a_value_that_holds_itself_is_refused_in_words():
    looped: list[Any] = []
    looped.append(looped)
    for kind, value in ((list, looped), (Anything, Anything(looped)), (Loose, Loose.model_construct(items=looped))):
        with pytest.raises(SerializationError, match=r"holds itself|JSON cannot represent"):
            await MemoryStore().collection("things", model=kind).put("k", value)


async def test_objects_compared_by_identity_come_back_within_others():
    @dataclasses.dataclass(eq=False)
    class Plain:
        name: str

    things = MemoryStore().collection("things", model=list[Plain])
    await things.put("k", [Plain("ada")])
    assert [plain.name for plain in await things.require("k")] == ["ada"]


@dataclasses.dataclass
class Declared:
    day: dt.date
    numbers: set[int]
    pair: tuple[int, str]
    price: decimal.Decimal
    identity: uuid.UUID


@dataclasses.dataclass
class Numbered:
    by: dict[int, str]


@dataclasses.dataclass
class Raw:
    raw: bytes


class Sparse(msgspec.Struct):
    age: int | msgspec.UnsetType = msgspec.UNSET


ROWS: dict[str, list[Any]] = {
    "a date, time, UUID, decimal, enum, set or tuple in a field of that type": [
        Declared(dt.date(2024, 2, 29), {1}, (1, "a"), decimal.Decimal("1.10"), uuid.UUID(int=7)),
    ],
    "the same in a field of type `Any`, `list` or `dict`": [
        Anything(dt.date(2024, 2, 29)),
        Loose(items=[uuid.UUID(int=7)]),
        Loose(by={"a": (1,)}),
    ],
    "a dict with int keys in a field `dict[int, ...]`": [Numbered({1: "a"})],
    "the same in a field of type `dict`": [Loose(by={1: "a"})],
    "a dict with tuples, `None` or objects with fields as keys": [
        Anything({(1, 2): 3}),
        Loose(by={(1, 2): 3}),
        Loose(by={None: 3}),
        Loose(by={Frozen(): 3}),
    ],
    "an instance of a subclass in a field of the base class": [
        Owner(pet=DOG),
        SerializingOwner(pet=DOG),
        HoldsBase(Derived()),
    ],
    "a union told apart by a discriminator or a tag": [OwnerOfEither(pet=Puppy()), Drawing([Circle(1), Square(2)])],
    '`extra="allow"` with JSON values': [Open(x=[1, {"b": None}])],
    '`extra="allow"` with other values': [Open(x=dt.date(2024, 2, 29)), Open(x=(1,))],
    "`SecretStr`": [Login(password=SECRET)],
    "`SecretStr` with such a serializer": [KeptLogin(password=SECRET)],
    "a validator that changes its own result": [Shouting(name="ada")],
    "a validator that leaves its own result unchanged": [ShoutingOnce(name="ada")],
    "an excluded field or a private attribute that has been set": [Excluding(note="x"), with_private()],
    "`bytes` in a dataclass or Struct": [Raw(b"\xff")],
    "`bytes` in a pydantic model, valid UTF-8": [Picture(raw="é".encode())],
    "`bytes` in a pydantic model, not UTF-8": [Picture(raw=b"\xff")],
    "the same with that configuration": [EncodedPicture(raw=b"\xff")],
    "NaN or infinity": [Number(math.nan), Number(math.inf), Anything(math.nan)],
    "a Struct field that is `UNSET`": [Sparse()],
}


def rows_of_the_page() -> dict[str, str]:
    """Return what the first two columns of the table in docs/collections.md say."""
    page = (Path(__file__).parents[1] / "docs" / "collections.md").read_text("utf-8")
    table = page[page.index("| Value | Comes back |") :].partition("\n\n")[0].splitlines()[2:]
    return {cells[1].strip(): cells[2].strip() for cells in (row.split("|") for row in table)}


def test_the_table_of_the_page_has_the_rows_tested_here():
    assert rows_of_the_page().keys() == ROWS.keys()


@pytest.mark.parametrize("row", ROWS)
async def test_the_table_of_the_page_tells_the_truth(row):
    for value in ROWS[row]:
        things = MemoryStore().collection("things", model=type(value))
        if rows_of_the_page()[row] == "yes":
            await things.put("k", value)
            assert await things.get("k") == value
        else:
            with pytest.raises(SerializationError):
                await things.put("k", value)


async def test_every_field_of_a_model_that_was_read_counts_as_set():
    dogs = MemoryStore().collection("dogs", model=Dog)
    await dogs.put("k", Dog(name="x"))
    assert (await dogs.require("k")).model_fields_set == {"name", "tricks"}


async def test_an_offset_with_seconds_is_named_as_the_cause():
    times = MemoryStore().collection("times", model=dt.datetime)
    with pytest.raises(SerializationError, match=r"\$: its offset from UTC has seconds.*convert it to UTC"):
        await times.put("k", dt.datetime(1880, 1, 1, tzinfo=BERLIN))
    await times.put("k", dt.datetime(1880, 1, 1, tzinfo=BERLIN).astimezone(dt.UTC))


async def test_nan_in_an_optional_number_is_named_as_the_cause():
    numbers = MemoryStore().collection("numbers", model=float | None)
    with pytest.raises(SerializationError, match=r"JSON as it is at \$: a float that is NaN or infinite cannot be"):
        await numbers.put("k", math.nan)
