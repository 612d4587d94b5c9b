import asyncio
import logging

import pytest

from satchel import (
    ConfigurationError,
    InvalidKeyError,
    MemoryStore,
    SerializationError,
    StoreError,
    StoreUnavailableError,
    open_store,
)
from satchel.errors import BatchError
from satchel.testing import FlakyStore
from satchel.wrappers import LoggingWrapper

STANDARD = set(vars(logging.makeLogRecord({}))) | {"message"}


@pytest.fixture
def records(caplog):
    """Give what is logged; `caplog.records` is another list in each phase of a test."""
    found = []
    handler = logging.Handler()
    handler.emit = found.append
    caplog.set_level(logging.DEBUG, logger="satchel.calls")
    logging.getLogger("satchel.calls").addHandler(handler)
    yield found
    logging.getLogger("satchel.calls").removeHandler(handler)


@pytest.fixture
def store():
    return LoggingWrapper(MemoryStore())


def fields(record):
    return {name: value for name, value in vars(record).items() if name not in STANDARD and value is not None}


def told(records):
    """Give what each record says, but for durations."""
    return [{name: value for name, value in fields(record).items() if name != "duration"} for record in records]


async def test_one_record_a_call_says_what_and_where_and_how_it_ended(store, records):
    await store.put("users", "ada", {"age": 36}, ttl=60)
    await store.get("users", "ada")
    (put, get) = records
    assert fields(put).keys() == {"operation", "collection", "outcome", "duration", "size"}
    assert put.name == "satchel.calls"
    assert put.levelname == "DEBUG"
    assert 0 < put.duration < 60
    assert put.getMessage() == f"put 'users': ok in {put.duration:.6f} s"
    assert get.getMessage() == f"get 'users': hit in {get.duration:.6f} s"
    assert (put.size, get.size) == (10, 10)
    assert put.key is put.error is put.count is put.found is None


async def test_every_operation_has_its_outcome(store, records):
    for value in (None, 0, b"", False, []):
        await store.put("c", "k", value)
        await store.get("c", "k", "default")
    outcomes = [record.outcome for record in records]
    assert outcomes == ["ok", "hit"] * 5
    records.clear()
    version = await store.put_if_absent("c", "new", 1)
    await store.put_if_absent("c", "new", 1)
    await store.compare_and_put("c", "new", 1, version="other")
    await store.compare_and_delete("c", "new", version="other")
    await store.compare_and_delete("c", "new", version=version)
    for read in (store.get, store.get_entry, store.exists, store.delete):
        await read("c", "k")
        await read("c", "absent")
    await store.touch("c", "absent", ttl=None)
    await store.ping()
    await store.cull()
    await store.destroy_collection("c")
    await store.destroy()
    assert [(record.operation, record.outcome) for record in records] == [
        ("put_if_absent", "ok"),
        ("put_if_absent", "conflict"),
        ("compare_and_put", "conflict"),
        ("compare_and_delete", "conflict"),
        ("compare_and_delete", "ok"),
        ("get", "hit"),
        ("get", "miss"),
        ("get_entry", "hit"),
        ("get_entry", "miss"),
        ("exists", "hit"),
        ("exists", "miss"),
        ("delete", "hit"),
        ("delete", "miss"),
        ("touch", "miss"),
        ("ping", "ok"),
        ("cull", "ok"),
        ("destroy_collection", "ok"),
        ("destroy", "ok"),
    ]
    assert records[-1].collection is None
    assert records[-2].collection == "c"


async def test_a_batch_says_how_many_keys_and_how_many_were_there(store, records):
    await store.put_many("c", {"a": b"12", "b": b"345"})
    await store.get_many("c", ["a", "b", "x", "x"])
    await store.get_entries("c", ["x"])
    await store.delete_many("c", ["a", "x", "y"])
    assert told(records) == [
        {"operation": "put_many", "collection": "c", "outcome": "ok", "count": 2, "size": 5},
        {"operation": "get_many", "collection": "c", "outcome": "ok", "count": 3, "found": 2, "size": 5},
        {"operation": "get_entries", "collection": "c", "outcome": "ok", "count": 1, "found": 0, "size": 0},
        {"operation": "delete_many", "collection": "c", "outcome": "ok", "count": 3, "found": 1},
    ]


async def test_keys_are_said_only_when_asked_for_and_values_never(records):
    secret = "of nobody's business"
    for store in (LoggingWrapper(MemoryStore()), LoggingWrapper(MemoryStore(), keys=True)):
        await store.put("users", "ada@example.org", secret)
        await store.put_many("users", {"ada@example.org": secret})
        await store.get("users", "ada@example.org", secret)
        with pytest.raises(SerializationError):
            await store.put("users", "ada@example.org", {secret, "set"})
    everything = [str(vars(record)) + record.getMessage() for record in records]
    assert len(everything) == 8
    assert not any("business" in text for text in everything)
    assert ["ada@example.org" in text for text in everything] == [False] * 4 + [True, False, True, True]
    assert records[4].key == "ada@example.org"
    assert records[4].getMessage().startswith("put 'users' 'ada@example.org': ok in ")


async def test_names_that_are_not_legal_are_not_said(records):
    store = LoggingWrapper(MemoryStore(), keys=True)
    for collection, key in (("c", ""), ("x" * 5000, "k"), ("\ud800", "k"), (5, "k"), (["c"], None)):
        with pytest.raises(InvalidKeyError):
            await store.get(collection, key)
    assert [(record.collection, record.key) for record in records] == [("c", None)] + [(None, "k")] * 3 + [(None, None)]


async def test_a_name_cannot_forge_a_line(store, records):
    await store.get("c\nERROR root hacked", "k")
    assert "\n" not in records[0].getMessage()


async def test_errors_are_said_by_their_class_and_graver_when_they_last(records):
    store = LoggingWrapper(FlakyStore())
    await store.inner.ping()
    store.inner.fail_next()
    with pytest.raises(StoreUnavailableError):
        await store.get("c", "ada")
    store.inner.fail_next(error=StoreError("no space"))
    with pytest.raises(StoreError):
        await store.put("c", "ada", 1)
    store.inner.fail_next()
    with pytest.raises(BatchError):
        await store.put_many("c", {"ada": 1, "bob": 2})
    assert [(record.levelname, record.outcome, record.error) for record in records] == [
        ("WARNING", "error", "StoreUnavailableError"),
        ("ERROR", "error", "StoreError"),
        ("WARNING", "error", "StoreUnavailableError"),
    ]
    assert [record.exc_info for record in records] == [None] * 3
    assert not any("ada" in str(vars(record)) + record.getMessage() for record in records)
    assert records[2].getMessage().startswith("put_many 'c': StoreUnavailableError in ")


async def test_a_batch_that_failed_in_different_ways_is_a_batch_error(records):
    class Mixed(MemoryStore):
        async def get_many(self, collection, keys):
            raise BatchError("2 failed", failed={"a": StoreUnavailableError("x"), "b": StoreError("y")})

    with pytest.raises(BatchError):
        await LoggingWrapper(Mixed()).get_many("c", ["a", "b"])
    assert (records[0].error, records[0].levelname) == ("BatchError", "ERROR")


async def test_a_cancelled_call_is_no_error(records):
    class Slow(MemoryStore):
        async def get(self, collection, key, default=None):
            await asyncio.Event().wait()

    waiting = asyncio.ensure_future(LoggingWrapper(Slow()).get("c", "k"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [(record.levelname, record.outcome) for record in records] == [("DEBUG", "cancelled")]


async def test_errors_are_logged_also_where_calls_are_not(caplog):
    caplog.set_level(logging.INFO, logger="satchel.calls")
    store = LoggingWrapper(FlakyStore())
    await store.put("c", "k", 1)
    store.inner.fail_next()
    with pytest.raises(StoreUnavailableError):
        await store.get("c", "k")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_nothing_is_measured_or_formatted_when_the_level_is_off(caplog, monkeypatch):
    caplog.set_level(logging.CRITICAL, logger="satchel.calls")

    async def measured(value):
        raise AssertionError("it was measured")

    monkeypatch.setattr("satchel.wrappers.logging.size_of", measured)
    store = LoggingWrapper(MemoryStore())
    await store.put("c", "k", 1)
    assert await store.get("c", "k") == 1
    caplog.set_level(logging.DEBUG, logger="satchel.calls")
    with pytest.raises(AssertionError, match="it was measured"):
        await store.get("c", "k")


async def test_logger_and_level_of_the_users_own(caplog):
    caplog.set_level(logging.INFO, logger="mine")
    for store in (
        LoggingWrapper(MemoryStore(), logger="mine", level="INFO"),
        LoggingWrapper(MemoryStore(), logger=logging.getLogger("mine"), level=25),
        open_store("memory://?wrap=logging(logger=mine,level=25,keys=true)"),
    ):
        await store.put("c", "k", 1)
        await store.aclose()
    assert [(record.name, record.levelno, record.key) for record in caplog.records] == [
        ("mine", 20, None),
        ("mine", 25, None),
        ("mine", 25, "k"),
    ]


async def test_its_description_opens_again_with_its_options():
    store = open_store("memory://?wrap=logging(level=INFO,keys=true)")
    again = open_store(str(store.describe()))
    assert again.describe() == store.describe()
    assert str(store.describe()) == "memory://?wrap=logging(level=INFO,keys=true)"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": "LOUD"}, "level must be the name of a logging level or a number from 0 to 1000, got a str"),
        ({"level": True}, "level must be"),
        ({"level": 1.5}, "level must be"),
        ({"level": None}, "level must be"),
        ({"logger": 5}, "logger must be a logger or the name of one, got int"),
        ({"keys": "yes"}, "keys must be a bool, got str"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ConfigurationError, match=said):
        LoggingWrapper(MemoryStore(), **options)
