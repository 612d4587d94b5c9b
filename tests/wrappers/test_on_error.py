import pytest

from satchel import (
    BatchError,
    ConfigurationError,
    IntegrityError,
    InvalidKeyError,
    MemoryStore,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
    open_store,
)
from satchel.testing import FlakyStore
from satchel.wrappers import OnErrorWrapper
from tests.wrappers.failing import Failing
from tests.wrappers.test_retry import VERBS

LET_PASS = {
    "get": None,
    "get_entry": None,
    "exists": False,
    "get_many": {},
    "get_entries": {},
    "put": None,
    "put_many": None,
    "delete": False,
    "delete_many": 0,
}
OTHERS = VERBS.keys() - LET_PASS


@pytest.mark.parametrize("operation", VERBS)
async def test_strict_raises(operation):
    store = OnErrorWrapper(FlakyStore(failure_rate=1), policy="strict")
    with pytest.raises(StoreError):
        await getattr(store, operation)(*VERBS[operation])
    assert store.failures == {}


@pytest.mark.parametrize("operation", LET_PASS)
async def test_lenient_misses_and_does_nothing(operation, caplog):
    inner = FlakyStore()
    await inner.put("c", "k", 1)
    store = OnErrorWrapper(inner, policy="lenient")
    for _ in range(2):
        inner.fail_next()
        assert await getattr(store, operation)(*VERBS[operation]) == LET_PASS[operation]
    assert store.failures == {operation: 2}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert f"{operation} failed" in caplog.text
    assert await inner.get("c", "k") == 1


@pytest.mark.parametrize("operation", OTHERS)
async def test_lenient_raises_where_every_answer_would_be_a_lie(operation):
    store = OnErrorWrapper(FlakyStore(failure_rate=1), policy="lenient")
    with pytest.raises(StoreUnavailableError):
        await getattr(store, operation)(*VERBS[operation])
    assert store.failures == {}


async def test_lenient_raises_for_a_conditional_write_a_touch_and_a_listing():
    store = OnErrorWrapper(FlakyStore(failure_rate=1), policy="lenient")
    for call in (
        store.compare_and_put("c", "k", 1, version="v"),
        store.compare_and_delete("c", "k", version="v"),
        store.touch("c", "k", ttl=5),
        anext(store.keys("c")),
        anext(store.collections()),
    ):
        with pytest.raises(StoreUnavailableError):
            await call


async def test_lenient_gives_the_callers_default():
    store = OnErrorWrapper(FlakyStore(failure_rate=1), policy="lenient")
    assert await store.get("c", "k", "default") == "default"


async def test_lenient_gives_what_could_be_read():
    inner = Failing()
    await inner.put_many("c", {"a": 1, "b": 2, "d": None})
    store = OnErrorWrapper(inner, policy="lenient")
    for operation in ("get_many", "get_entries"):
        inner.failing = {"a": [StoreUnavailableError("lost")], "d": []}
        found = await getattr(store, operation)("c", ["d", "a", "b"])
        assert list(found) == ["d", "b"]
    inner.failing = {"a": [StoreUnavailableError("lost")], "b": [IntegrityError("damaged")]}
    with pytest.raises(BatchError):
        await store.get_many("c", ["a", "b"])


@pytest.mark.parametrize("policy", ["lenient", "lazy"])
@pytest.mark.parametrize("error", [StoreError("no permission"), IntegrityError("damaged")])
async def test_what_is_not_retryable_raises(policy, error):
    inner = FlakyStore()
    store = OnErrorWrapper(inner, policy=policy)
    for call in (store.get("c", "k"), store.put("c", "k", 1)):
        inner.fail_next(error=error)
        with pytest.raises(type(error)):
            await call


@pytest.mark.parametrize("policy", ["lenient", "lazy"])
async def test_bad_input_and_a_closed_store_raise(policy):
    inner = FlakyStore(failure_rate=1)
    store = OnErrorWrapper(inner, policy=policy)
    for bad in ("", None, 5, ["k"]):
        for call in (store.get("c", bad), store.put("c", bad, 1), store.delete("c", bad), store.exists("c", bad)):
            with pytest.raises(InvalidKeyError):
                await call
    await inner.aclose()
    with pytest.raises(StoreClosedError):
        await store.get("c", "k")


async def test_no_value_is_logged(caplog):
    for policy in ("lenient", "lazy"):
        inner = FlakyStore()
        inner.fail_next()
        await OnErrorWrapper(inner, policy=policy).put("c", "k", "hunter2")
    assert len(caplog.records) == 2
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("option", "bad"),
    [("policy", "lax"), ("policy", 5), ("max_queued", 0), ("max_queued", True), ("clock", 5), ("codec", 5)],
)
def test_a_bad_option_is_refused(option, bad):
    with pytest.raises(ConfigurationError, match=option):
        OnErrorWrapper(MemoryStore(), **{option: bad})


async def test_a_url_opens_it():
    async with open_store("memory://?wrap=on_error(policy=lazy,max_queued=100)") as store:
        assert type(store) is OnErrorWrapper
        await store.put("c", "k", 1)
        assert (await store.get("c", "k"), store.queued) == (1, 0)
