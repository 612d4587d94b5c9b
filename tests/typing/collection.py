"""What type checkers make of collections. This file is checked, not run."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, assert_type

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel

from satchel import AsyncKeyValue, AutoCodec, Collection, Entry, MemoryStore
from satchel.integrations.fastapi import Store, collection, override_store, store_lifespan
from satchel.url import open_store
from satchel.wrappers import TTLWrapper, layer


class User(BaseModel):
    name: str


class Struct(msgspec.Struct):
    name: str


@dataclass
class Data:
    name: str


class Film(TypedDict):
    title: str


def made(store: MemoryStore, any_store: AsyncKeyValue) -> None:
    assert_type(store.collection("c"), Collection[Any])
    assert_type(store.collection("c", ttl=60), Collection[Any])
    assert_type(store.collection("c", model=User), Collection[User])
    assert_type(store.collection("c", model=Struct), Collection[Struct])
    assert_type(store.collection("c", model=Data), Collection[Data])
    assert_type(store.collection("c", model=Film), Collection[Film])
    assert_type(store.collection("c", model=bytes), Collection[bytes])
    assert_type(store.collection("c", model=list[int]), Collection[list[int]])
    assert_type(Collection(any_store, "c"), Collection[Any])
    assert_type(Collection(any_store, "c", model=User, ttl=60), Collection[User])


async def made_of_what_a_url_opens() -> None:
    async with open_store("memory://") as store:
        assert_type(store.collection("c", model=User), Collection[User])


def a_union_takes_an_annotation(store: MemoryStore) -> None:
    optional: Collection[int | None] = store.collection("c", model=int | None)
    either: Collection[User | Film] = Collection(store, "c", model=User | Film)
    assert_type(optional, Collection[int | None])
    assert_type(either, Collection[User | Film])


async def verbs(users: Collection[User], user: User) -> None:
    assert_type(await users.get("k"), User | None)
    assert_type(await users.get("k", None), User | None)
    assert_type(await users.get("k", 3), User | int)
    assert_type(await users.get("k", user), User)
    assert_type(await users.require("k"), User)
    assert_type(await users.get_many(["k"]), dict[str, User])
    assert_type(await users.get_entry("k"), Entry[User] | None)
    assert_type(await users.get_entries(["k"]), dict[str, Entry[User]])
    assert_type(await users.exists("k"), bool)
    assert_type(await users.delete("k"), bool)
    assert_type(await users.delete_many(["k"]), int)
    assert_type(users.keys(prefix="a", limit=3), AsyncIterator[str])
    assert_type(await users.destroy(), bool)
    assert_type(await users.put_if_absent("k", user), str | None)
    assert_type(await users.compare_and_put("k", user, version="1"), str | None)
    assert_type(await users.compare_and_delete("k", version="1"), bool)
    assert_type(await users.touch("k"), bool)
    assert_type(await users.touch("k", ttl=None), bool)
    assert_type(await users.update("k", lambda user: user, initial=user), User)
    assert_type(await users.update("k", lambda user: User(name=user.name.upper())), User)
    await users.put("k", user, ttl=None)
    await users.put_many({"k": user}, ttl=60)


def takes_any_entry(entry: Entry[object]) -> object:
    return entry.value


async def an_entry_holds_the_model(users: Collection[User]) -> None:
    entry = await users.get_entry("k")
    if entry is not None:
        assert_type(entry.value, User)
        takes_any_entry(entry)


async def without_a_model(things: Collection[Any]) -> None:
    assert_type(await things.get("k"), Any | None)
    assert_type(await things.require("k"), Any)


async def refused(users: Collection[User], store: MemoryStore) -> None:
    await users.put("k", "not a user")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.put_many({"k": 3})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    await users.put_if_absent("k", 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.compare_and_put("k", User(name="ada"))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await users.update("k", len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.get("users", "k", None)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await users.put("k", User(name="ada"), ttl="1 h")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    str((await users.get("k")).name)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    store.collection(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


Users = Annotated[Collection[User], collection("users", model=User)]


async def endpoint(users: Users, store: Store) -> None:
    assert_type(users, Collection[User])
    assert_type(store, AsyncKeyValue)


def application() -> None:
    app = FastAPI(lifespan=store_lifespan(open_store))
    with override_store(app, MemoryStore()) as store:
        assert_type(store, MemoryStore)
    store_lifespan(MemoryStore())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def everyday_verbs(users: Collection[User], user: User) -> None:
    async def make() -> User:
        return user

    assert_type(await users.pop("k"), User | None)
    assert_type(await users.pop("k", 3), User | int)
    assert_type(await users.get_or_put("k", make, ttl=5), User)
    assert_type(users.keys(glob="a/*", depth=1, after=""), AsyncIterator[str])
    assert_type(users.values(prefix="a"), AsyncIterator[User])
    assert_type(users.items(exclude_prefix="a"), AsyncIterator[tuple[str, User]])
    assert_type(users.prefixes(), AsyncIterator[str])
    assert_type(await users.count(prefix="a"), int)
    assert_type(await users.delete_prefix("a"), int)
    assert_type(await users.get("k", model=int), int | None)
    assert_type(await users.get("k", 5, model=str), str | int)
    assert_type(await users.require("k", model=int), int)
    assert_type(await users.get_entry("k", model=int), Entry[int] | None)
    assert_type(await users.get_many(["k"], model=int), dict[str, int])


def encoded(any_store: AsyncKeyValue) -> None:
    def to_text(user: User) -> str:
        return user.name

    def from_text(text: Any) -> User:
        return User(name=text)

    assert_type(Collection(any_store, "c", encode=to_text, decode=from_text), Collection[User])
    assert_type(MemoryStore().collection("c", encode=to_text, decode=from_text, codec=AutoCodec()), Collection[User])
    assert_type(layer(any_store, TTLWrapper), TTLWrapper)
