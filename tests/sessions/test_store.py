"""Sessions under keys of the caller, beyond what holds for every store."""

import asyncio
from datetime import timedelta

import pytest

from satchel import (
    Capability,
    ConfigurationError,
    DiskStore,
    InvalidKeyError,
    InvalidTTLError,
    LockLostError,
    MemoryStore,
    SerializationError,
    SessionGoneError,
    SessionLockedError,
    StoreUnavailableError,
    UnsupportedOperationError,
    copy_store,
)
from satchel.sessions import SessionStatus, SessionStore
from satchel.sync import SyncStore, in_sync
from satchel.wrappers import ReadOnlyWrapper


@pytest.fixture
def sessions(store, clock):
    return SessionStore(store, idle=100, absolute=250, clock=clock)


def calls(store):
    return [kind for kind, _ in store.server.calls]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"idle": 0}, InvalidTTLError),
        ({"absolute": "1"}, InvalidTTLError),
        ({"max_lock": float("nan")}, InvalidTTLError),
        ({"collection": ""}, InvalidKeyError),
        ({"clock": 1}, ConfigurationError),
    ],
)
def test_wrong_options_are_refused(store, options, error):
    with pytest.raises(error):
        SessionStore(store, **options)


def test_a_store_without_conditional_writes_is_refused():
    with pytest.raises(UnsupportedOperationError, match="CONDITIONAL"):
        SessionStore(ReadOnlyWrapper(MemoryStore()))
    with pytest.raises(ConfigurationError):
        SessionStore(MemoryStore)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda sessions: sessions.get(""), InvalidKeyError),
        (lambda sessions: sessions.get("k", owner=1), TypeError),
        (lambda sessions: sessions.put("k", 1, ttl=-1), InvalidTTLError),
        (lambda sessions: sessions.put(1, 1), InvalidKeyError),
        (lambda sessions: sessions.update("k", 1), TypeError),
        (lambda sessions: sessions.delete("k", owner=b""), TypeError),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(sessions, store, call, error):
    with pytest.raises(error):
        await call(sessions)
    assert calls(store) == []


def test_a_lock_that_is_too_long_is_refused_at_the_call(sessions):
    with pytest.raises(InvalidTTLError, match="max_lock"):
        sessions.lock("k", 31)
    with pytest.raises(InvalidKeyError):
        sessions.lock("")


async def test_bytes_and_other_types_are_refused_by_their_path(sessions):
    with pytest.raises(SerializationError, match=r"\$\.data\.a"):
        await sessions.put("k", {"a": b"secret"})


async def test_a_read_costs_one_round_trip_and_a_renewal_one_more(sessions, store, clock):
    await sessions.put("k", 1)
    store.server.calls.clear()
    await sessions.get("k")
    assert calls(store) == ["read"]
    clock.advance(51)
    await sessions.get("k")
    await sessions.get("k")
    assert calls(store) == ["read", "read", "touch", "read"]


async def test_information_neither_renews_nor_counts(sessions, store, clock):
    await sessions.put("k", 1)
    created = (await sessions.info("k")).created_at
    clock.advance(60)
    await sessions.get("k")
    store.server.calls.clear()
    clock.advance(60)
    info = await sessions.info("k")
    assert calls(store) == ["read"]
    assert (info.created_at, info.last_seen) == (created, created + timedelta(seconds=60))
    assert (info.count, info.status, info.locked_until) == (1, SessionStatus.ACTIVE, None)
    assert await sessions.info("other") is None


async def test_a_lock_says_until_when_and_the_session_of_no_key_cannot_be_locked(sessions, clock):
    with pytest.raises(SessionGoneError):
        await sessions.lock("k").__aenter__()
    await sessions.put("k", 1)
    async with sessions.lock("k", timedelta(seconds=20)):
        info = await sessions.info("k")
        assert info.locked_until.timestamp() == clock() + 20


async def test_a_body_that_outlives_its_lock_is_told(sessions, clock):
    await sessions.put("k", 1)

    async def hold(*, fails):
        async with sessions.lock("k", 10):
            clock.advance(11)
            if fails:
                raise ZeroDivisionError

    with pytest.raises(LockLostError):
        await hold(fails=False)
    with pytest.raises(ZeroDivisionError):  # an error of its own comes first
        await hold(fails=True)


async def test_a_lock_may_be_released_early_and_its_session_deleted(sessions):
    await sessions.put("k", 1)
    async with sessions.lock("k") as lock:
        await lock.release()
        assert await sessions.get("k") == 1
    async with sessions.lock("k") as lock:
        await sessions.delete("k", owner=lock.owner)
    assert await sessions.get("k") is None


async def test_a_lock_is_held_once_and_can_be_used_again(sessions):
    await sessions.put("k", 1)
    lock = sessions.lock("k")
    async with lock:
        first = lock.owner
        with pytest.raises(RuntimeError):
            await lock.__aenter__()
    async with lock:
        assert lock.owner != first
    assert first not in repr(lock)


async def test_a_lock_is_released_when_its_body_is_cancelled(sessions, store):
    await sessions.put("k", 1)
    inside = asyncio.Event()

    async def hold():
        async with sessions.lock("k"):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await inside.wait()
    with pytest.raises(SessionLockedError):
        await sessions.get("k")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await sessions.get("k") == 1


async def test_a_lock_that_cannot_be_released_is_logged_and_lapses(sessions, store, clock, caplog):
    await sessions.put("k", 1)
    async with sessions.lock("k", 10):
        store.server.faults["k"] = StoreUnavailableError("the store is down")
    store.server.faults.clear()
    assert "was not released" in caplog.text
    with pytest.raises(SessionLockedError):
        await sessions.get("k")
    clock.advance(11)
    assert await sessions.get("k") == 1


async def test_sessions_without_ends_stay(store, clock):
    sessions = SessionStore(store, idle=None, absolute=None, clock=clock)
    await sessions.put("k", 1)
    clock.advance(50 * 365 * 86_400)
    assert await sessions.get("k") == 1
    await sessions.put("short", 1, ttl=1)
    clock.advance(2)
    assert await sessions.get("short") is None


async def test_a_clock_that_goes_back_ends_no_session(store, clock):
    sessions = SessionStore(MemoryStore(), idle=100, absolute=250, clock=clock)
    await sessions.put("k", 1)
    clock.advance(-10_000)
    assert await sessions.get("k") == 1


async def test_the_bound_of_a_memory_store_evicts_the_least_recently_used(clock):
    sessions = SessionStore(MemoryStore(max_entries_per_collection=3, clock=clock), clock=clock)
    for key in ("a", "b", "c"):
        await sessions.put(key, key)
    await sessions.get("a")
    await sessions.put("d", "d")
    assert sorted([key async for key, _ in sessions.items()]) == ["a", "c", "d"]


async def test_expired_sessions_are_reclaimed_by_the_store(clock):
    store = MemoryStore(clock=clock)
    sessions = SessionStore(store, idle=10, clock=clock)
    await sessions.put("k", 1)
    clock.advance(10 + 61)
    assert await store.cull() == 1


async def test_a_backup_of_sessions_opens_them_again(clock, tmp_path):
    store = MemoryStore(clock=clock)
    await SessionStore(store, clock=clock).put("k", {"n": 1})
    async with DiskStore(tmp_path, clock=clock) as backup:
        await copy_store(store, backup)
        restored = SessionStore(backup, clock=clock)
        assert await restored.get("k") == {"n": 1}
        assert (await restored.info("k")).count == 1


def test_scripts_have_the_sessions_without_async():
    with SyncStore("memory://") as store:
        sessions = in_sync(SessionStore(store.inner), store)
        sessions.put("k", {"n": 1})
        with sessions.lock("k") as lock:
            sessions.put("k", {"n": 2}, owner=lock.owner)
        assert dict(sessions.items()) == {"k": {"n": 2}}
        assert sessions.clear() == 1


class Blind(MemoryStore):
    """Lists nothing."""

    @property
    def capabilities(self):
        return Capability.CONDITIONAL


def test_listing_needs_a_store_that_enumerates():
    sessions = SessionStore(Blind())
    for listing in (sessions.keys, sessions.values, sessions.items):
        with pytest.raises(UnsupportedOperationError, match="ENUMERATE_KEYS"):
            listing()


async def test_neither_data_nor_owners_are_shown(sessions, store):
    await sessions.put("k", "secret")
    async with sessions.lock("k") as lock:
        shown = repr([sessions, lock, await sessions.info("k")])
        with pytest.raises(SessionLockedError) as refused:
            await sessions.get("k")
        assert "secret" not in shown + str(refused.value)
        assert lock.owner not in shown + str(refused.value)


@pytest.mark.parametrize("key", [["k"], {}, None, 7, ""], ids=repr)
async def test_what_is_no_key_is_refused_by_every_verb(sessions, key):
    calls = (
        lambda: sessions.get(key),
        lambda: sessions.put(key, {}),
        lambda: sessions.update(key, dict),
        lambda: sessions.delete(key),
        lambda: sessions.info(key),
        lambda: sessions.lock(key).__aenter__(),
    )
    for call in calls:
        with pytest.raises(InvalidKeyError, match=r"^key "):
            await call()
