"""Everyday verbs of a collection: pop, copy, move, pages, folders, factories, and how values are encoded."""

import asyncio
import dataclasses
import secrets

import pytest

from satchel import (
    AutoCodec,
    BatchError,
    Capability,
    ConfigurationError,
    DiskStore,
    IntegrityError,
    InvalidKeyError,
    JsonCodec,
    KeyMissingError,
    MemoryStore,
    MessagePackCodec,
    ModelMismatchError,
    NullStore,
    SerializationError,
    SignedPickleCodec,
    UnsupportedOperationError,
)
from satchel.testing import FakeClock
from satchel.wrappers import BaseWrapper, SingleFlightWrapper

KEY = b"k" * 32
KEYS = ["a", "films/1", "films/2", "films/old/3", "users/ada", "users/bob"]


@dataclasses.dataclass
class User:
    name: str
    visits: int = 0


@dataclasses.dataclass
class Name:
    name: str


class Without(BaseWrapper):
    """Store without some capabilities."""


@pytest.fixture(params=["memory", "disk"])
async def store(request, tmp_path):
    async with MemoryStore() if request.param == "memory" else DiskStore(tmp_path) as store:
        yield store


@pytest.fixture
async def films(store):
    films = store.collection("c")
    await films.put_many({key: number for number, key in enumerate(KEYS)})
    return films


async def test_pop_gives_a_value_to_one_caller(films):
    assert await films.pop("a") == 0
    assert await films.pop("a") is None
    assert await films.pop("a", "none") == "none"
    await films.put("a", 7)
    assert sorted(map(str, await asyncio.gather(*[films.pop("a") for _ in range(5)]))) == ["7", *["None"] * 4]


async def test_pop_keeps_what_does_not_fit(store):
    await store.put("users", "ada", {"nick": "ada"})
    with pytest.raises(ModelMismatchError):
        await store.collection("users", model=User).pop("ada")
    assert await store.exists("users", "ada")


async def test_copy_and_move_keep_the_deadline():
    clock = FakeClock()
    films = MemoryStore(clock=clock).collection("c")
    await films.put("a", 1, ttl=10)
    clock.advance(4)
    await films.copy("a", "b")
    await films.move("a", "c")
    assert [key async for key in films.keys(after="")] == ["b", "c"]
    assert (await films.get_entry("b")).ttl == (await films.get_entry("c")).ttl == 6
    await films.put("lasting", 1)
    await films.move("lasting", "b")
    assert (await films.get_entry("b")).ttl is None


@pytest.mark.parametrize("verb", ["copy", "move"])
async def test_copy_and_move_refuse_what_makes_no_sense(films, verb):
    with pytest.raises(KeyMissingError, match="'missing'"):
        await getattr(films, verb)("missing", "b")
    with pytest.raises(ValueError, match="same key 'a'"):
        await getattr(films, verb)("a", "a")
    with pytest.raises(InvalidKeyError):
        await getattr(films, verb)("a", "")
    assert await films.count() == len(KEYS)


async def test_what_the_store_cannot_do_is_refused_by_name():
    films = Without(MemoryStore(), drops=Capability.CONDITIONAL | Capability.ENUMERATE_KEYS).collection("c")
    for call in (lambda: films.pop("a"), lambda: films.move("a", "b")):
        with pytest.raises(UnsupportedOperationError, match="CONDITIONAL"):
            await call()
    for call in (films.count, lambda: films.delete_prefix("a")):
        with pytest.raises(UnsupportedOperationError, match="ENUMERATE_KEYS"):
            await call()
    for listing in (films.keys, films.values, films.items, films.prefixes):
        with pytest.raises(UnsupportedOperationError, match="ENUMERATE_KEYS"):
            listing()


async def test_keys_values_and_items_are_chosen(films):
    assert sorted([key async for key in films.keys(glob="films/*")]) == ["films/1", "films/2"]
    assert [key async for key in films.keys(glob="**/[0-9]")] == []
    assert sorted([value async for value in films.values(glob="films/**")]) == [1, 2, 3]
    assert sorted([item async for item in films.items(depth=1)]) == [("a", 0)]
    assert sorted([key async for key in films.keys(prefix="films/", depth=1)]) == ["films/1", "films/2"]
    assert sorted([key async for key in films.keys(exclude_prefix="films/")]) == ["a", "users/ada", "users/bob"]
    assert [key async for key in films.keys(prefix="films/", glob="users/*")] == []
    assert [key async for key in films.keys(glob="*/*", limit=0)] == []
    assert len([key async for key in films.keys(glob="*/*", limit=3)]) == 3


async def test_a_filtered_page_continues_where_the_last_one_ended(films):
    found: list[str] = []
    while page := [key async for key in films.keys(glob="*/*", limit=2, after=found[-1] if found else "")]:
        found += page
    assert found == [key for key in KEYS if key.count("/") == 1]
    assert [item async for item in films.items(after="films/2", limit=2)] == [("films/old/3", 3), ("users/ada", 4)]


async def test_bad_choices_are_refused_at_the_call(films):
    for wrong in ({"glob": ""}, {"depth": 0}, {"limit": -1}, {"exclude_prefix": ""}):
        for listing in (films.keys, films.values, films.items):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                listing(**wrong)
    with pytest.raises(InvalidKeyError, match="after"):
        films.keys(after=3)
    with pytest.raises(ValueError, match="delimiter"):
        films.prefixes("")
    with pytest.raises(ValueError, match=r"destroy\(\)"):
        await films.delete_prefix("")


async def test_count_folders_and_delete_prefix(films):
    assert (await films.count(), await films.count(prefix="films/")) == (6, 3)
    assert sorted([folder async for folder in films.prefixes()]) == ["films/", "users/"]
    assert [folder async for folder in films.prefixes(prefix="films/")] == ["films/old/"]
    assert sorted([folder async for folder in films.prefixes("l")]) == ["fil"]
    assert await films.delete_prefix("films/") == 3
    assert await films.delete_prefix("films/") == 0
    assert [key async for key in films.keys(after="")] == ["a", "users/ada", "users/bob"]


async def test_delete_prefix_goes_over_all_pages(store):
    films = store.collection("many")
    await films.put_many({f"a{number}": 1 for number in range(1203)} | {"b": 1})
    assert await films.delete_prefix("a") == 1203
    assert await films.count() == 1


async def test_get_or_put_calls_once_for_all_and_gives_the_model(store):
    users, calls = store.collection("users", model=User, ttl=6000), []

    async def load() -> User:
        calls.append(1)
        await asyncio.sleep(0.01)
        return User("ada", 3)

    others = store.collection("users", model=User)
    found = await asyncio.gather(*[users.get_or_put("ada", load) for _ in range(5)], others.get_or_put("ada", load))
    assert found == [User("ada", 3)] * 6
    assert len(calls) == 1
    assert 5900 < (await users.get_entry("ada")).ttl <= 6000
    assert await users.get_or_put("ada", load) == User("ada", 3)
    assert len(calls) == 1


async def test_what_is_deleted_while_its_factory_runs_stays_deleted(store):
    users = store.collection("users")
    for remove in (
        lambda: users.delete("k"),
        lambda: users.delete_many(["k"]),
        lambda: users.pop("k"),
        lambda: store.collection("users").destroy(),
    ):
        begun, go = asyncio.Event(), asyncio.Event()

        async def old(begun=begun, go=go):
            begun.set()
            await go.wait()
            return "old"

        making = asyncio.create_task(users.get_or_put("k", old))
        await begun.wait()
        await remove()
        go.set()
        assert await making == "old"
        assert not await users.exists("k")


async def test_get_or_put_refuses_bad_input(store):
    users = store.collection("users", model=User)

    async def wrong():
        return "no user"

    with pytest.raises(ModelMismatchError, match="'ada'"):
        await users.get_or_put("ada", wrong)
    with pytest.raises(TypeError, match="factory must be an async function"):
        await users.get_or_put("ada", "no function")
    with pytest.raises(TypeError, match="async function"):
        await users.get_or_put("ada", lambda: User("ada"))
    with pytest.raises(ConfigurationError, match="SingleFlightWrapper"):
        await users.get_or_put("ada", wrong, ttl=5, stale=5)
    assert await users.count() == 0


async def test_get_or_put_is_the_wrappers_own_where_there_is_one():
    async with SingleFlightWrapper(MemoryStore()) as store:
        users = store.collection("users", model=User)

        async def load() -> User:
            return User("ada")

        assert await users.get_or_put("ada", load, ttl=60, stale=60) == User("ada")
        assert 100 < (await users.get_entry("ada")).ttl <= 120


async def test_a_call_names_another_model(store):
    users = store.collection("users", model=User)
    await users.put("ada", User("ada", 2))
    assert await users.get("ada", model=dict) == {"name": "ada", "visits": 2}
    assert await users.get("missing", 7, model=Name) == 7
    assert await users.require("ada", model=Name) == Name("ada")
    assert (await users.get_entry("ada", model=Name)).value == Name("ada")
    assert await users.get_many(["ada"], model=Name) == {"ada": Name("ada")}
    assert (await users.get_entries(["ada"], model=Name))["ada"].value == Name("ada")
    assert [value async for value in users.values(model=Name)] == [Name("ada")]
    assert [item async for item in users.items(model=Name)] == [("ada", Name("ada"))]
    assert await users.get("ada") == User("ada", 2)
    with pytest.raises(ModelMismatchError, match="does not fit int"):
        await users.get("ada", model=int)
    with pytest.raises(ConfigurationError, match="model must be a type"):
        await users.get("ada", model=7)


async def test_functions_encode_and_decode(store):
    numbers = store.collection("n", encode=lambda value: [value.real, value.imag], decode=lambda pair: complex(*pair))
    await numbers.put("i", 1j)
    assert await store.get("n", "i") == [0.0, 1.0]
    assert await numbers.get("i") == 1j
    assert [item async for item in numbers.items()] == [("i", 1j)]
    await store.put("n", "bad", "secret")
    with pytest.raises(ModelMismatchError, match=r"'bad' of collection 'n' does not fit decode at \$: decode raised"):
        await numbers.get("bad")
    with pytest.raises(SerializationError, match="refused by encode, which raised AttributeError"):
        await numbers.put("bad", "secret")
    assert await numbers.get("i", model=list[float]) == [0.0, 1.0], "a call's model comes before the collection's"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": int, "encode": str, "decode": int}, "give one of them"),
        ({"encode": str}, "must both be given"),
        ({"decode": str}, "must both be given"),
        ({"encode": 3, "decode": str}, "must both be given"),
        ({"codec": "json"}, "codec must be a satchel Codec"),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        MemoryStore().collection("c", **options)


async def test_a_codec_of_the_collection(store):
    for codec, number in ((JsonCodec(), 1), (MessagePackCodec(), 2), (SignedPickleCodec(signing_key=KEY), 3)):
        films = store.collection("f", model=dict[str, int], codec=codec)
        await films.put("k", {"a": 1})
        assert (await store.get("f", "k"))[0] == number
        assert await films.get("k") == {"a": 1}
        assert await films.get_many(["k"]) == {"k": {"a": 1}}
    await store.collection("f", codec=JsonCodec()).put("exact", {"a": 1})
    assert await store.get("f", "exact") == b'\x01{"a":1}', "docs/format.md says what the bytes are"
    pictures = store.collection("p", codec=JsonCodec())
    await pictures.put("k", b"\x01raw")
    assert await store.get("p", "k") == b"\x00\x01raw"
    assert await pictures.get("k") == b"\x01raw"


async def test_what_the_codec_did_not_write_is_refused(store):
    films = store.collection("f", codec=AutoCodec(signing_key=KEY))
    await store.put("f", "plain", {"a": 1})
    await store.put("f", "number", b"\xfe1")
    await store.put("f", "empty", b"")
    await films.put("signed", {1, 2})
    frame = await store.get("f", "signed")
    await store.put("f", "forged", frame[:-1] + bytes([frame[-1] ^ 1]))
    await store.put("f", "damaged", b"\x01{")
    with pytest.raises(
        SerializationError, match="key 'plain' of collection 'f' cannot be read: it was not written with"
    ):
        await films.get("plain")
    with pytest.raises(SerializationError, match="codec number 254"):
        await films.get("number")
    with pytest.raises(SerializationError, match="leave codec= out"):
        await films.get("empty")
    with pytest.raises(IntegrityError, match=r"'forged'.*signature"):
        await films.get("forged")
    with pytest.raises(IntegrityError, match=r"'damaged'.*cannot be decoded"):
        await films.get("damaged")
    with pytest.raises(BatchError) as error:
        await films.get_many(["signed", "forged", "plain"])
    assert set(error.value.failed) == {"forged", "plain"}


@pytest.mark.parametrize("value", [None, 1, "j", [1, {"a": None}], {1, 2}, (1, 2), 10**30, float("inf"), {1: 2}])
def test_auto_codec_gives_back_exactly_what_it_got(value):
    codec = AutoCodec(signing_key=KEY)
    back = codec.decode(codec.encode(value))
    assert back == value
    assert type(back) is type(value)


def test_auto_codec_has_a_tag_for_each_form():
    codec = AutoCodec(signing_key=KEY)
    assert codec.encode({"a": 1}) == b'j{"a":1}'
    assert codec.encode(b"x") == b"bx"
    assert codec.decode(b"bx") == b"x"
    assert codec.encode((1,))[:1] == b"p"
    assert "k" * 8 not in repr(codec)


def test_auto_codec_pickles_nothing_without_a_key():
    with pytest.raises(SerializationError, match="signing_key"):
        AutoCodec().encode({1, 2})
    with pytest.raises(SerializationError, match="signed pickle"):
        AutoCodec().decode(AutoCodec(signing_key=KEY).encode({1}))
    with pytest.raises(IntegrityError, match="signature"):
        AutoCodec(signing_key=secrets.token_bytes(32)).decode(AutoCodec(signing_key=KEY).encode({1}))
    with pytest.raises(IntegrityError, match="tag"):
        AutoCodec().decode(b"x")
    with pytest.raises(ConfigurationError, match="32 bytes"):
        AutoCodec(signing_key=b"short")


async def test_auto_codec_serves_a_whole_store():
    store = MemoryStore(codec=AutoCodec(signing_key=KEY))
    await store.put("c", "set", {1, 2})
    await store.put("c", "raw", b"raw")
    assert await store.get_many("c", ["set", "raw"]) == {"set": {1, 2}, "raw": b"raw"}


async def test_a_store_that_keeps_nothing_makes_every_time():
    made = []

    async def make():
        made.append(1)
        return 1

    films = NullStore().collection("c")
    assert [await films.get_or_put("k", make) for _ in range(2)] == [1, 1]
    assert len(made) == 2
