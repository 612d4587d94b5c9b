"""What sessions write, as every release reads it."""

import json
from pathlib import Path

import pytest

from satchel import IntegrityError, MemoryStore
from satchel.sessions import Sessions, SessionStatus, SessionStore
from satchel.sessions.web import key_of, successor
from satchel.testing import FakeClock

GOLDEN = Path(__file__).parents[1] / "golden" / "sessions"
START = 1_767_225_600.0
ID = "Zm9ydHktdGhyZWUgY2hhcmFjdGVycyBvZiBiYXNlNjR"
TOKEN = "8f14e45fceea167a5a36dedd4bea2543"
NONCE = TOKEN * 2


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda length: (TOKEN * 2)[: 2 * length])
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: ID)
    return FakeClock(START)


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


def test_ids_keys_and_successors_are_made_as_ever():
    assert key_of(ID) == golden("ids")["key"]
    assert successor(ID, NONCE) == golden("ids")["successor"]


async def test_a_session_store_writes_and_reads_the_golden_records(store, clock):
    sessions = SessionStore(store, clock=clock)
    await sessions.put("k", {"turns": [1]})
    assert await store.get("sessions", "k") == golden("session-store")
    async with sessions.lock("k", 10):
        assert await store.get("sessions", "k") == golden("session-store-locked")
    await store.put("sessions", "golden", golden("session-store-locked"))
    assert (await sessions.info("golden")).status is SessionStatus.LOCKED
    assert await sessions.get("golden", owner=TOKEN) == {"turns": [1]}


async def test_sessions_write_the_golden_records(store, clock):
    sessions = Sessions(store, clock=clock)
    session = await sessions.create({"theme": "dark"}, user="ada", about={"browser": "Firefox"})
    assert await store.get("sessions", session.key) == golden("session")
    assert await store.get("sessions/users", "ada") == golden("user")
    old = session.key
    await sessions.rotate(session, grace=60)
    assert await store.get("sessions", old) == golden("moved")
    await sessions.delete(ID)
    assert await store.get("sessions", session.key) == golden("ended")
    assert await store.get("sessions", old) == golden("ended-and-moved")


async def test_sessions_go_on_from_the_golden_records(store, clock):
    sessions = Sessions(store, clock=clock)
    await store.put("sessions", key_of(ID), golden("session"))
    await store.put("sessions/users", "ada", golden("user"))
    assert dict(await sessions.load(ID)) == {"theme": "dark", "user": "ada"}
    assert [info.about for info in await sessions.of_user("ada")] == [{"browser": "Firefox"}]
    await store.put("sessions", key_of(ID), golden("rotating"))
    following = await sessions.load(ID)
    assert following.id == successor(ID, NONCE)
    assert await store.get("sessions", key_of(ID)) == golden("moved")
    for name in ("ended", "ended-and-moved"):
        await store.put("sessions", key_of(ID), golden(name))
        assert await sessions.load(ID) is None


@pytest.mark.parametrize("value", [{"format": 2, "data": {}}, {"data": {}}, "text", {"format": 1, "created": "secret"}])
async def test_what_no_session_store_wrote_is_refused_without_being_shown(store, clock, value):
    await store.put("sessions", key_of(ID), value)
    for call in (SessionStore(store).get(key_of(ID)), Sessions(store).load(ID)):
        with pytest.raises(IntegrityError) as refused:
            await call
        assert "secret" not in str(refused.value)


async def test_the_entries_of_a_session_store_are_no_sessions_of_the_web(store, clock):
    await SessionStore(store, clock=clock).put(key_of(ID), [1])
    with pytest.raises(IntegrityError):
        await Sessions(store, clock=clock).load(ID)
