"""What type checkers make of `SyncStore` and `SyncCollection`. This file is checked, not run."""

from collections.abc import AsyncGenerator, AsyncIterator, ItemsView, Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, assert_type

from pydantic import BaseModel

from satchel import AsyncKeyValue, Capability, Collection, Entry, MemoryStore
from satchel.sync import SyncCollection, SyncStore, in_sync


class User(BaseModel):
    name: str


def made(any_store: AsyncKeyValue) -> None:
    with SyncStore("memory://") as store:
        assert_type(store, SyncStore)
        assert_type(store.capabilities, Capability)
    assert_type(SyncStore(any_store).collection("c"), SyncCollection[Any])
    assert_type(SyncStore(MemoryStore()).collection("c", model=User, ttl=60), SyncCollection[User])
    assert_type(SyncStore(MemoryStore()).collection("c", model=list[int]), SyncCollection[list[int]])


def store_verbs(store: SyncStore) -> None:
    assert_type(store.get("c", "k"), Any | None)
    assert_type(store.get("c", "k", 3), Any | int)
    assert_type(store.get_entry("c", "k"), Entry[Any] | None)
    assert_type(store.exists("c", "k"), bool)
    assert_type(store.delete("c", "k"), bool)
    assert_type(store.get_many("c", store.keys("c")), dict[str, Any])
    assert_type(store.get_entries("c", {"k"}), dict[str, Entry[Any]])
    assert_type(store.delete_many("c", ("k",)), int)
    assert_type(store.keys("c", prefix="a", limit=3), Iterator[str])
    assert_type(store.collections(), Iterator[str])
    assert_type(store.destroy_collection("c"), bool)
    assert_type(store.destroy(), bool)
    assert_type(store.cull(), int)
    assert_type(store.put_if_absent("c", "k", 1, ttl=5), str | None)
    assert_type(store.compare_and_put("c", "k", 1, version="1"), str | None)
    assert_type(store.compare_and_delete("c", "k", version="1"), bool)
    assert_type(store.touch("c", "k", ttl=None), bool)
    store.put("c", "k", {"any": ["value"]}, ttl=0.5)
    store.put_many("c", {"k": 1, "l": b"bytes"})
    store.ping()
    store.close()


def collection_verbs(users: SyncCollection[User], user: User) -> None:
    assert_type(users.get("k"), User | None)
    assert_type(users.get("k", 3), User | int)
    assert_type(users.get("k", user), User)
    assert_type(users.require("k"), User)
    assert_type(users.get_many(["k"]), dict[str, User])
    assert_type(users.get_entry("k"), Entry[User] | None)
    assert_type(users.get_entries(["k"]), dict[str, Entry[User]])
    assert_type(users.exists("k"), bool)
    assert_type(users.delete("k"), bool)
    assert_type(users.delete_many(["k"]), int)
    assert_type(users.keys(prefix="a", limit=3), Iterator[str])
    assert_type(users.destroy(), bool)
    assert_type(users.put_if_absent("k", user), str | None)
    assert_type(users.compare_and_put("k", user, version="1"), str | None)
    assert_type(users.compare_and_delete("k", version="1"), bool)
    assert_type(users.touch("k"), bool)
    assert_type(users.update("k", lambda user: user, initial=user), User)
    users.put("k", user, ttl=None)
    users.put_many({"k": user}, ttl=60)


def as_a_mapping(users: SyncCollection[User], user: User) -> None:
    view = users.as_mapping()
    mapping: MutableMapping[str, User] = view
    assert_type(mapping["k"], User)
    assert_type(view["k"], User)
    assert_type(view.get("k"), User | None)
    assert_type(view.get("k", 3), User | int)
    assert_type(view.pop("k"), User)
    assert_type(view.pop("k", None), User | None)
    assert_type(view.popitem(), tuple[str, User])
    assert_type(view.setdefault("k", user), User)
    assert_type(view.items(), ItemsView[str, User])
    assert_type(list(view), list[str])
    assert_type(dict(view), dict[str, User])
    assert_type(len(view), int)
    view["k"] = user
    view.update({"k": user}, l=user)
    view.update([("k", user)])
    users.put_many(view)
    del view["k"]


def refused(users: SyncCollection[User], store: SyncStore) -> None:
    users.put("k", "not a user")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    users.as_mapping()["k"] = 3  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]
    users.as_mapping().update({"k": 3})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    store.get("c", 3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    str(users.get("k").name)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    SyncStore(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Layer:
    async def number(self, key: str) -> int:
        return len(key)

    def numbers(self) -> AsyncIterator[int]:
        raise NotImplementedError

    @asynccontextmanager
    async def within(self, key: str) -> AsyncGenerator[str]:
        yield key


def faces(store: SyncStore, users: Collection[User], layer: Layer) -> None:
    assert_type(in_sync(users, store), SyncCollection[User])
    assert_type(in_sync(layer.number, store)("k"), int)
    assert_type(in_sync(layer.numbers, store)(), Iterator[int])
    with in_sync(layer.within, store)("k") as key:
        assert_type(key, str)
    assert_type(in_sync(layer, store), Any)
    in_sync(layer.number, store)(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def everyday_verbs(users: SyncCollection[User], user: User) -> None:
    assert_type(users.pop("k"), User | None)
    assert_type(users.pop("k", 3), User | int)
    assert_type(users.values(glob="a/*"), Iterator[User])
    assert_type(users.items(after=""), Iterator[tuple[str, User]])
    assert_type(users.prefixes(), Iterator[str])
    assert_type(users.count(prefix="a"), int)
    assert_type(users.delete_prefix("a"), int)
    assert_type(users.get_or_put("k", lambda: user, ttl=5), User)
    assert_type(users.get("k", model=int), int | None)
    assert_type(users.require("k", model=int), int)
    users.get_or_put("k", lambda: 3)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
