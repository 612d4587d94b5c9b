"""What a MongoDB store says when it was set up wrongly, or the server refuses: specific, and without secrets."""

import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import OperationFailure

from satchel import (
    ConfigurationError,
    IntegrityError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
    open_store,
)
from satchel.stores.mongodb import MongoDBStore
from satchel.stores.mongodb.client import check_indexes
from satchel.stores.mongodb.errors import translate
from satchel.testing.conformance.suite import new_place
from tests.servers import server_url
from tests.stores.mongodb.places import blocking_detector, forgotten_sockets  # noqa: F401  # they are for all tests here

SECRET = "hunter2-and-more"
emulated = pytest.mark.server("mongodb")


@pytest.fixture
async def client() -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    async with AsyncMongoClient(server_url("mongodb")) as client:
        yield client


@pytest.fixture
def name(tmp_path: Path) -> str:
    return new_place(tmp_path).name


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost", "mongodb://"),
        (7, "mongodb://"),
        (f"mongodb://user:{SECRET}@host:port/db", "percent-encode :"),
        (f"mongodb://user:{SECRET}/x@host/db", "percent-encode :"),
        (f"mongodb://user:{SECRET}@host/db?maxPoolSize=many", "maxPoolSize"),
        (f"mongodb://user:{SECRET}@host/db?noSuchOption={SECRET}", "option of a URL of MongoDB 'noSuchOption'"),
        (f"mongodb://user:{SECRET}@host/db?w=1&maxpoolsiz=5", "did you mean 'maxPoolSize'"),
        (f"mongodb://user:{SECRET}@host/db?proxyPassword={SECRET}&{SECRET}=1", "option 2 of a URL of MongoDB is not"),
        (f"mongodb://host/db?w=1;proxyPassword={SECRET}", "semicolon"),
        ("mongodb://host,other/db?directConnection=true", "exclude each other"),
        ("mongodb://host/db?W=0", "acknowledged"),
        ("mongodb://host/db?readPreference=secondary", "primary"),
        ("mongodb://host/db?w=0", "acknowledged"),
        ("mongodb+srv://host.example.com/db?w=0", "acknowledged"),
    ],
)
def test_a_wrong_url_is_refused_without_its_secrets(url: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refusal:
        MongoDBStore(url=url)
    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.long
@pytest.mark.parametrize("db_name", ["", "a.b", "a b", "a/b", "a$", "a\0", "d" * 64, "é" * 32, 1])
def test_a_wrong_db_name_is_refused(db_name: Any) -> None:
    with pytest.raises(ConfigurationError, match="db_name"):
        MongoDBStore(db_name=db_name)


@pytest.mark.long
@pytest.mark.parametrize("coll_name", ["", "a$b", ".a", "a.", "a..b", "a\0", "system.users", "c" * 230, 1])
def test_a_wrong_coll_name_is_refused(coll_name: Any) -> None:
    with pytest.raises(ConfigurationError, match="coll_name"):
        MongoDBStore(coll_name=coll_name)


def test_a_client_is_asynchronous_and_waits_for_its_writes() -> None:
    with MongoClient("mongodb://127.0.0.1:1", connect=False) as blocking:
        wrong: Any
        for wrong in (blocking, "mongodb://localhost", object()):
            with pytest.raises(ConfigurationError, match="AsyncMongoClient"):
                MongoDBStore(client=wrong)
    with pytest.raises(ConfigurationError, match="acknowledged"):
        MongoDBStore(client=AsyncMongoClient("mongodb://127.0.0.1:1", w=0))
    with pytest.raises(ConfigurationError, match="client excludes url"):
        MongoDBStore("mongodb://127.0.0.1:1", client=AsyncMongoClient("mongodb://127.0.0.1:1"))


def test_a_url_names_the_database_and_passes_options_to_the_driver() -> None:
    url = f"mongodb://user:{SECRET}@host/app?replicaSet=rs0&retryWrites=true&coll_name=cache&timeout=3"
    store = open_store(url)
    assert repr(store) == "MongoDBStore('app.cache')"
    assert str(store.describe()) == (
        "mongodb://user:***@host/app?replicaSet=rs0&retryWrites=true&coll_name=cache&timeout=3"
    )
    assert repr(open_store("mongodb://host/app", db_name="other")) == "MongoDBStore('other.satchel')"
    assert repr(open_store("mongodb+srv://cluster.example.com")) == "MongoDBStore('satchel.satchel')"
    with pytest.raises(ConfigurationError, match="readPreference"):
        open_store("mongodb://host/app?readPreference=nearest")


async def test_a_value_too_large_is_refused_before_any_request() -> None:
    async with MongoDBStore(url="mongodb://127.0.0.1:1", timeout=1) as store:
        with pytest.raises(ValueTooLargeError, match="16744448"):
            await store.put("c", "k", bytes(16_744_449))


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"mongodb://user:{SECRET}@127.0.0.1:{taken.getsockname()[1]}"
        async with MongoDBStore(url=url, timeout=2) as store:
            with pytest.raises(StoreUnavailableError, match="can be reached") as failure:
                await store.put("c", "k", SECRET)
    assert SECRET not in str(failure.value) + repr(failure.value)


@pytest.mark.long
@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (13, StoreError, "readWrite"),
        (18, ConfigurationError, "password"),
        (8000, ConfigurationError, "password"),
        (20, ConfigurationError, "retryWrites=false"),
        (85, ConfigurationError, "index on expire_at.*drop it"),
        (86, ConfigurationError, "index named satchel_expiry.*drop it"),
        (166, ConfigurationError, "view"),
        (10107, StoreUnavailableError, "primary"),
        (112, StoreUnavailableError, "try again"),
        (50, StoreTimeoutError, "time"),
        (64, StoreTimeoutError, "replica set"),
        (121, StoreError, "validation"),
        (14031, StoreError, "disk"),
        (10334, ValueTooLargeError, "16 MiB"),
        (9999, StoreError, "9999"),
    ],
)
def test_what_the_server_refuses_says_what_to_do(code: int, kind: type[Exception], said: str) -> None:
    failure = translate(OperationFailure(f"it said {SECRET}", code, {"codeName": "Name"}), "db.coll")
    assert type(failure) is kind
    assert re.search(said, str(failure))
    assert SECRET not in str(failure)


def test_a_collation_by_which_names_are_compared_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="collation"):
        check_indexes([{"v": 2, "key": {"_id": 1}, "name": "_id_", "collation": {"locale": "en"}}], "db.coll")


@emulated
async def test_emulated_wrong_credentials_are_refused_by_name() -> None:
    url = server_url("mongodb").replace("://", f"://nobody:{SECRET}@")
    async with MongoDBStore(url=url) as store:
        with pytest.raises(ConfigurationError, match="password") as failure:
            await store.ping()
    assert SECRET not in str(failure.value) + repr(failure.value)


@emulated
async def test_emulated_documents_of_others_are_neither_read_nor_changed(client: Any, name: str) -> None:
    theirs = {"_id": "users/ada", "mine": True}
    await client.satchel[name].insert_one(theirs)
    async with MongoDBStore(client=client, coll_name=name) as store:
        with pytest.raises(IntegrityError, match="coll_name"):
            await store.get("users", "ada")
        with pytest.raises(IntegrityError, match="coll_name"):
            await store.put("users", "ada", 1)
        with pytest.raises(StoreError) as batch:
            await store.put_many("users", {"ada": 1, "bob": 2})
        assert isinstance(batch.value.failed["ada"], IntegrityError)  # type: ignore[attr-defined]  # it is a BatchError
        assert await store.get("users", "bob") == 2
        assert await store.put_if_absent("users", "ada", 1) is None
        assert await store.delete("users", "ada") is False
        assert await store.delete_many("users", ["ada", "bob", "eve"]) == 1
        assert await store.touch("users", "ada", ttl=1) is False
        assert [key async for key in store.keys("users")] == []
        assert await store.destroy_collection("users") is False
        assert await store.destroy() is False
    assert await client.satchel[name].find({}).to_list() == [theirs]


@emulated
async def test_emulated_an_entry_changed_by_hand_is_refused_until_it_is_put_again(client: Any, name: str) -> None:
    async with MongoDBStore(client=client, coll_name=name) as store:
        await store.put("users", "ada", {"name": "Ada"})
        await client.satchel[name].update_one({"value.name": "Ada"}, {"$set": {"value.name": "Eve"}})
        with pytest.raises(IntegrityError):
            await store.get("users", "ada")
        await store.put("users", "ada", {"name": "Ada"})
        assert await store.get("users", "ada") == {"name": "Ada"}


@emulated
@pytest.mark.parametrize("wrong", [{"name": "mine"}, {"name": "satchel_expiry"}])
async def test_emulated_an_index_in_the_place_of_ours_is_refused(client: Any, name: str, wrong: dict[str, Any]) -> None:
    await client.satchel[name].create_index("expire_at", **wrong)
    async with MongoDBStore(client=client, coll_name=name) as store:
        with pytest.raises(ConfigurationError, match=f"{wrong['name']}.*drop it"):
            await store.put("c", "k", 1)


@emulated
async def test_emulated_a_unique_index_of_others_is_no_entry_that_was_there(client: Any, name: str) -> None:
    await client.satchel[name].create_index("value.email", unique=True)
    async with MongoDBStore(client=client, coll_name=name) as store:
        await store.put("users", "ada", {"email": "a@example.com"})
        for call in (store.put, store.put_if_absent):
            with pytest.raises(StoreError, match="unique index"):
                await call("users", "eve", {"email": "a@example.com"})


@emulated
async def test_emulated_reading_creates_nothing_and_writing_the_index(client: Any, name: str) -> None:
    async with MongoDBStore(client=client, coll_name=name) as store:
        await store.get("c", "k")
        await store.get_many("c", ["k", "other"])
        assert [key async for key in store.keys("c")] == []
        assert await store.cull() == 0
        assert name not in await client.satchel.list_collection_names()
        await store.put("c", "k", 1)
    indexes = await client.satchel[name].index_information()
    assert indexes["satchel_expiry"]["expireAfterSeconds"] == 3600


@emulated
async def test_emulated_a_client_of_the_callers_stays_open(client: Any, name: str) -> None:
    async with MongoDBStore(client=client, db_name="app", coll_name=name) as store:
        await store.put("c", "k", 1)
    assert await client.app[name].count_documents({}) == 1
    await client.close()
    async with MongoDBStore(client=client, coll_name=name) as store:
        with pytest.raises(StoreError, match="closed"):
            await store.get("c", "k")


@emulated
async def test_emulated_a_batch_of_deletions_leaves_nothing_behind(client: Any, name: str) -> None:
    async with MongoDBStore(client=client, coll_name=name) as store:
        await store.put_many("c", {"a": 1, "b": 2})
        assert await store.delete_many("c", ["a", "b", "missing"]) == 2
    assert await client.satchel[name].count_documents({}) == 0


@emulated
async def test_emulated_a_touch_to_no_deadline_leaves_no_date_for_the_server(client: Any, name: str) -> None:
    async with MongoDBStore(client=client, coll_name=name) as store:
        await store.put("c", "touched", 1, ttl=60)
        await store.put("c", "put", 1, ttl=60)
        await store.touch("c", "touched", ttl=None)
        await store.put("c", "put", 2)
    assert await client.satchel[name].count_documents({"expire_at": {"$exists": True}}) == 0


@emulated
async def test_emulated_a_collection_that_was_dropped_meanwhile_gets_its_index_again(
    client: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write makes the MongoDB collection anew, and nothing in the answer says so."""
    monkeypatch.setattr("satchel.stores.mongodb.store._INDEX_STANDS", 0.0)
    async with MongoDBStore(client=client, coll_name=name) as store:
        await store.put("c", "k", 1)
        await client.satchel[name].drop()
        await store.put("c", "k", 2)
        assert "satchel_expiry" in await client.satchel[name].index_information()
