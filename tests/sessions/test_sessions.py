"""Sessions of the web, beyond what holds for every store."""

import asyncio
import copy
import json
import pickle

import pytest

from satchel import (
    ConflictError,
    InvalidKeyError,
    InvalidTTLError,
    MemoryStore,
    SerializationError,
    SessionGoneError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from satchel.sessions import Session, Sessions
from satchel.sessions.web import key_of, successor
from satchel.wrappers import EncryptionWrapper, ReadOnlyWrapper, TieredStore


@pytest.fixture
def sessions(store, clock):
    return Sessions(store, idle=1800, absolute=100_000, clock=clock)


def calls(store):
    return [kind for kind, _ in store.server.calls]


def stored_text(store):
    return b"".join(repr(ref).encode() + record.payload for ref, record in store.server.data.items()).decode()


def test_a_store_without_conditional_writes_is_refused():
    with pytest.raises(UnsupportedOperationError, match="CONDITIONAL"):
        Sessions(ReadOnlyWrapper(MemoryStore()))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda sessions: sessions.create([("a", 1)]), TypeError),
        (lambda sessions: sessions.create({"a": b"secret"}, user="ada"), SerializationError),
        (lambda sessions: sessions.create(user="ada", about=b"secret"), SerializationError),
        (lambda sessions: sessions.create(user=True), TypeError),
        (lambda sessions: sessions.create({"user": {"name": "secret"}}), TypeError),
        (lambda sessions: sessions.create(user=""), InvalidKeyError),
        (lambda sessions: sessions.load(1), TypeError),
        (lambda sessions: sessions.delete(b"a" * 43), TypeError),
        (lambda sessions: sessions.info(None), TypeError),
        (lambda sessions: sessions.revoke_user("ada", but=1), TypeError),
        (lambda sessions: sessions.rotate(Session(), grace=-1), InvalidTTLError),
        (lambda sessions: sessions.rotate(Session(), grace="1"), InvalidTTLError),
        (lambda sessions: sessions.of_user(None), TypeError),
        (lambda sessions: sessions.revoke_user(b"ada"), TypeError),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(sessions, store, call, error):
    with pytest.raises(error) as refused:
        await call(sessions)
    assert calls(store) == []
    assert "secret" not in str(refused.value)


async def test_no_id_gets_into_the_store_a_text_or_a_log(sessions, store, clock, caplog):
    caplog.set_level("DEBUG")
    session = await sessions.create({"a": "secret"}, user="ada", about={"browser": "Firefox"})
    ids = [session.id]
    await sessions.rotate(session, grace=60)
    ids.append(session.id)
    await sessions.rotate(session)
    ids.append(session.id)
    store.server.faults[session.key] = StoreUnavailableError("the store is down")
    with pytest.raises(StoreUnavailableError) as failed:
        await sessions.load(session.id)
    infos = await sessions.of_user("bob")
    shown = f"{session!r} {sessions!r} {failed.value} {vars(failed.value)} {infos} {caplog.text} {stored_text(store)}"
    assert len(set(ids)) == 3
    assert not [secret for secret in ids if secret in shown]
    assert "secret" not in repr(session)


async def test_a_copy_or_pickle_of_a_session_has_its_data_alone(sessions):
    session = await sessions.create({"a": [1]})
    for twin in (copy.copy(session), copy.deepcopy(session), pickle.loads(pickle.dumps(session)), dict(session)):
        assert type(twin) is dict
        assert twin == {"a": [1]}
    assert json.loads(json.dumps(session)) == {"a": [1]}


async def test_an_unchanged_session_is_not_written(sessions, store):
    session = await sessions.create({"a": {"b": [1, 2.5, None, "text"]}})
    store.server.calls.clear()
    await sessions.save(session)
    loaded = await sessions.load(session.id)
    loaded["a"]["b"].append(3)
    loaded["a"]["b"].pop()
    loaded["c"] = 1
    del loaded["c"]
    await sessions.save(loaded)
    assert calls(store) == ["read"]


@pytest.mark.parametrize(("before", "after"), [(1, 1.0), (1, True), (0, False), ("1", 1), (None, False), ([], {})])
async def test_a_change_of_the_type_alone_is_saved(sessions, before, after):
    session = await sessions.create({"a": before, "b": 1})
    session["a"] = after
    await sessions.save(session)
    found = (await sessions.load(session.id))["a"]
    assert (type(found), found) == (type(after), after)


async def test_what_cannot_be_stored_is_refused_and_kept_in_hand(sessions, store):
    session = await sessions.create({"a": 1})
    for wrong in ((1, 2), {1: 2}, float("nan"), b"bytes", 2**70, object(), {"b": {1, 2}}):
        session["a"] = wrong
        with pytest.raises(SerializationError, match=r"\$\.data\.a"):
            await sessions.save(session)
    session["a"] = 2
    await sessions.save(session)
    assert dict(await sessions.load(session.id)) == {"a": 2}


async def test_a_save_that_lost_its_race_takes_over_what_others_wrote(sessions):
    session = await sessions.create({"a": 1, "b": 1})
    one, other = await sessions.load(session.id), await sessions.load(session.id)
    one["a"] = 2
    await sessions.save(one)
    other["b"] = 2
    await sessions.save(other)
    assert dict(other) == {"a": 2, "b": 2}
    await sessions.save(other)
    other["a"] = 3
    await sessions.save(other)
    assert dict(await sessions.load(session.id)) == {"a": 3, "b": 2}


async def test_the_old_id_within_and_after_the_grace(sessions, clock):
    session = await sessions.create({"a": 1})
    old = session.id
    await sessions.rotate(session, grace=60)
    clock.advance(59)
    assert (await sessions.load(old)).id == session.id
    clock.advance(2)
    assert await sessions.load(old) is None
    assert not await sessions.delete(old)
    assert await sessions.load(session.id) is not None


async def test_a_rotation_that_was_cut_off_is_finished_by_the_next_request(sessions, store, clock):
    session = await sessions.create({"a": 1}, user="ada")
    put_if_absent = store.put_if_absent

    async def fail(*_, **__):
        raise StoreUnavailableError("the store is down")

    store.put_if_absent = fail
    with pytest.raises(StoreUnavailableError):
        await sessions.rotate(session, grace=60)
    store.put_if_absent = put_if_absent
    loaded = await sessions.load(session.id)
    assert loaded.id != session.id
    assert dict(loaded) == {"a": 1, "user": "ada"}
    assert [info.key for info in await sessions.of_user("ada")] == [loaded.key]


async def test_a_logout_ends_the_next_id_too_written_or_not(sessions, store, clock):
    session = await sessions.create({"a": 1}, user="ada")
    await store.put("sessions", session.key, {**await store.get("sessions", session.key), "next": "ab", "grace": 60})
    assert await sessions.delete(session.id)
    assert await sessions.load(session.id) is None
    following = successor(session.id, "ab")
    assert await sessions.load(following) is None
    assert await store.get("sessions", key_of(following)) == {"format": 1, "ended": True}


async def test_a_logout_that_was_cut_off_is_finished_by_the_next_request(sessions, store, clock):
    session = await sessions.create({"a": 1}, user="ada")
    old = session.id
    await sessions.rotate(session, grace=60)
    moved = await store.get("sessions", key_of(old))
    await store.put("sessions", key_of(old), {"format": 1, "ended": True, "next": moved["next"]}, ttl=120)
    assert await sessions.load(old) is None
    assert await sessions.load(session.id) is None


async def test_an_id_is_followed_through_several_rotations(sessions):
    session = await sessions.create({"a": 1})
    ids = [session.id]
    for _ in range(5):
        await sessions.rotate(session, grace=60)
        ids.append(session.id)
    assert {(await sessions.load(known)).id for known in ids} == {session.id}
    assert await sessions.delete(ids[0])
    assert [await sessions.load(known) for known in ids] == [None] * 6


async def test_a_login_begins_the_absolute_time_anew_and_a_rotation_does_not(sessions, clock):
    session = await sessions.create({"a": 1})
    begun = session.created_at
    clock.advance(1000)
    session = await sessions.load(session.id)
    await sessions.rotate(session)
    assert session.created_at == begun
    session["user"] = 1
    await sessions.save(session)
    assert (session.created_at - begun).total_seconds() == 1000


async def test_two_logins_at_once_leave_one_session(sessions, store):
    session = await sessions.create({"a": 1})
    one, other = await sessions.load(session.id), await sessions.load(session.id)
    one["user"], other["user"] = "ada", "bob"
    results = await asyncio.gather(sessions.save(one), sessions.save(other), return_exceptions=True)
    assert sorted(type(result) for result in results if result is not None) == [SessionGoneError]
    alive = [await sessions.of_user(user) for user in ("ada", "bob")]
    assert sorted(map(len, alive)) == [0, 1]


async def test_a_user_may_be_an_int_or_a_text_of_it(sessions):
    await sessions.create(user=7)
    await sessions.create(user="7")
    assert await sessions.revoke_user(7) == 2
    assert await sessions.of_user("7") == []
    assert await sessions.revoke_user("nobody") == 0


async def test_a_session_that_was_created_while_its_user_was_revoked_is_withdrawn(sessions, store):
    put_if_absent = store.put_if_absent

    async def revoke_first(collection, key, value, **options):
        if collection == "sessions":
            store.put_if_absent = put_if_absent
            await sessions.revoke_user("ada")
        return await put_if_absent(collection, key, value, **options)

    await sessions.create(user="ada")
    store.put_if_absent = revoke_first
    with pytest.raises(SessionGoneError):
        await sessions.create(user="ada")
    assert await sessions.of_user("ada") == []


async def test_the_session_that_stays_is_not_ended_by_a_late_rotation(sessions, store, clock):
    session = await sessions.create({"a": 1}, user="ada")
    record = {**await store.get("sessions", session.key), "next": "ab", "grace": 60}
    await store.put("sessions", session.key, record)
    kept = await sessions.load(session.id)
    await sessions.revoke_user("ada", but=kept.id)
    await store.put("sessions", session.key, record)  # as a request that had read it before would see it
    await sessions.load(session.id)
    assert await sessions.load(kept.id) is not None


async def test_sessions_that_are_over_leave_the_list_of_their_user(sessions, store, clock):
    for _ in range(30):
        clock.advance(4000)
        await sessions.create(user="ada")
    listed = (await store.get("sessions/users", "ada"))["sessions"]
    assert len(listed) <= 3


async def test_a_near_cache_brings_back_no_session_that_was_ended(store, clock):
    one, other = (Sessions(TieredStore(MemoryStore(clock=clock), store), clock=clock) for _ in range(2))
    session = await one.create({"a": 1})
    assert await other.load(session.id) is not None
    await one.delete(session.id)
    assert await other.load(session.id) is None


async def test_sessions_may_be_encrypted(store, clock):
    sessions = Sessions(EncryptionWrapper(store, key=b"k" * 32), clock=clock)
    session = await sessions.create({"a": "secret"})
    assert dict(await sessions.load(session.id)) == {"a": "secret"}
    assert all(b"secret" not in record.payload for record in store.server.data.values())


async def test_an_update_that_others_always_overtake_ends_in_a_conflict(sessions, store, monkeypatch):
    session = await sessions.create({"a": 1})

    async def lose(*_, **__):
        return None

    store.compare_and_put = lose
    session["a"] = 2
    with pytest.raises(ConflictError) as conflict:
        await sessions.save(session)
    assert session.id not in str(conflict.value)
