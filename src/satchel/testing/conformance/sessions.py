"""Conformance suite of sessions: promises of `SessionStore` and `Sessions`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from ...capability import Capability
from ...errors import LockLostError, SessionGoneError, SessionLockedError
from ...sessions import Sessions, SessionStatus, SessionStore
from ..clock import FakeClock
from .suite import NewStore, Suite, listed, needs

Pair = tuple[Any, Any]

_PATIENCE = 50
_IDLE, _ABSOLUTE = 100, 250


class SessionConformance(Suite):
    """Suite for a store with `Capability.CONDITIONAL` that is to carry sessions.

    A subclass says how to make a store, as for `StoreConformance`. A store whose backend expires entries by a clock of
    its own is given the test's clock all the same: times that pass are short of what a backend waits for.
    """

    @pytest_asyncio.fixture
    async def pair(self, new_store: NewStore) -> Pair:
        """Return two stores over the same place, as two processes have them; one store twice if it keeps to itself."""
        one: Any = new_store()
        return one, new_store() if self.persistent else one

    @pytest.fixture
    def sessions(self, pair: Pair, clock: FakeClock) -> tuple[SessionStore, SessionStore]:
        """Return two session stores over the same place."""
        one, other = (SessionStore(store, idle=_IDLE, absolute=_ABSOLUTE, clock=clock) for store in pair)
        return one, other

    @pytest.fixture
    def web(self, pair: Pair, clock: FakeClock) -> tuple[Sessions, Sessions]:
        """Return two of the web's sessions over the same place."""
        one, other = (Sessions(store, idle=_IDLE, absolute=_ABSOLUTE, clock=clock) for store in pair)
        return one, other

    async def test_a_session_is_read_back_until_it_is_deleted(self, sessions: Any) -> None:
        one, other = sessions
        assert await one.get("k") is None
        assert await one.get("k", "none") == "none"
        await one.put("k", {"n": [1, None, 2.5]})
        assert await other.get("k") == {"n": [1, None, 2.5]}
        assert await other.delete("k")
        assert not await one.delete("k")
        assert await one.get("k") is None

    async def test_use_renews_a_session_until_its_absolute_end(self, sessions: Any, clock: FakeClock) -> None:
        one, other = sessions
        await one.put("used", 1)
        await one.put("idle", 1)
        for _ in range(4):
            clock.advance(60)
            assert await other.get("used") == 1
        clock.advance(20)
        assert await other.get("used") is None
        assert await one.get("idle") is None

    async def test_an_expired_session_has_that_status_and_begins_anew(self, sessions: Any, clock: FakeClock) -> None:
        one, other = sessions
        await one.put("k", "old")
        clock.advance(_IDLE + 1)
        info = await other.info("k")
        assert info is not None
        assert info.status is SessionStatus.EXPIRED
        with pytest.raises(SessionGoneError):
            await other.update("k", lambda data: data)
        await other.put("k", "new")
        renewed = await one.info("k")
        assert renewed is not None
        assert (renewed.status, renewed.count) == (SessionStatus.ACTIVE, 1)
        assert renewed.created_at > info.created_at

    async def test_a_key_may_have_an_idle_time_of_its_own(self, sessions: Any, clock: FakeClock) -> None:
        one, other = sessions
        await one.put("short", 1, ttl=10)
        await one.put("default", 1)
        clock.advance(9)
        await other.update("short", lambda n: n + 1)  # it keeps its own
        clock.advance(9)
        assert await other.get("short") == 2
        clock.advance(11)
        assert await other.get("short") is None
        assert await other.get("default") == 1

    async def test_updates_at_once_lose_nothing(self, sessions: Any) -> None:
        await sessions[0].put("k", 0)
        updates = [sessions[number % 2].update("k", lambda n: n + 1) for number in range(20)]
        await asyncio.wait_for(asyncio.gather(*updates), _PATIENCE)
        assert await sessions[0].get("k") == 20
        info = await sessions[1].info("k")
        assert info is not None
        assert info.count == 21

    async def test_a_locked_session_is_for_its_owner_alone(self, sessions: Any) -> None:
        one, other = sessions
        await one.put("k", 1)
        async with one.lock("k") as lock:
            for call in (other.get, other.delete, lambda key: other.put(key, 2), lambda key: other.update(key, str)):
                with pytest.raises(SessionLockedError):
                    await call("k")
            with pytest.raises(SessionLockedError):
                await other.lock("k").__aenter__()
            await one.put("k", 3, owner=lock.owner)
            assert await other.get("k", owner=lock.owner) == 3
            info = await other.info("k")
            assert info is not None
            assert info.status is SessionStatus.LOCKED
            assert info.locked_until is not None
        assert await other.get("k") == 3

    async def test_the_owner_of_a_lapsed_lock_can_neither_write_nor_unlock(
        self, sessions: Any, clock: FakeClock
    ) -> None:
        one, other = sessions
        await one.put("k", 1)
        lock = await one.lock("k", 10).__aenter__()
        clock.advance(6)
        await lock.renew()
        clock.advance(6)
        await one.put("k", 2, owner=lock.owner)
        clock.advance(5)
        assert await other.get("k") == 2
        for call in (lock.renew, lock.release, lambda: one.put("k", 3, owner=lock.owner)):
            with pytest.raises(LockLostError):
                await call()
        async with other.lock("k"):
            with pytest.raises(LockLostError):
                await one.put("k", 3, owner=lock.owner)
            with pytest.raises(LockLostError):
                await lock.release()
        assert await other.get("k") == 2

    @needs(Capability.ENUMERATE_KEYS)
    async def test_sessions_are_listed_and_cleared(self, store: Any, clock: FakeClock) -> None:
        sessions = SessionStore(store, idle=_IDLE, absolute=None, clock=clock)
        await sessions.put("expired", 0, ttl=1)
        clock.advance(2)
        await sessions.put("a", 1)
        await sessions.put("b", 2)
        assert await listed(sessions.keys()) == ["a", "b"]
        assert sorted([data async for data in sessions.values()]) == [1, 2]
        assert sorted([item async for item in sessions.items()]) == [("a", 1), ("b", 2)]
        assert await sessions.clear() == 3
        assert await listed(sessions.keys()) == []

    async def test_parallel_changes_of_different_keys_both_win(self, web: Any) -> None:
        one, other = web
        id = (await one.create({"a": {"n": 1}, "b": 1, "c": 1})).id  # noqa: A001  # it is what the thing is called
        first, second = await one.load(id), await other.load(id)
        first["a"]["n"] = 2
        second["b"] = 2
        del second["c"]
        await asyncio.gather(one.save(first), other.save(second))
        assert dict(await one.load(id)) == {"a": {"n": 2}, "b": 2}

    async def test_an_id_opens_its_session_and_its_key_does_not(self, web: Any) -> None:
        session = await web[0].create({"a": 1})
        assert dict(await web[1].load(session.id)) == {"a": 1}
        assert await web[1].load(session.key) is None
        assert await web[1].delete(session.id)
        assert await web[0].load(session.id) is None
        session["a"] = 2
        with pytest.raises(SessionGoneError):
            await web[0].save(session)
        assert await web[0].load(session.id) is None

    async def test_a_rotated_id_leads_to_the_new_one_within_the_grace(self, web: Any, clock: FakeClock) -> None:
        one, other = web
        session = await one.create({"a": 1}, user="ada")
        old, parallel = session.id, await other.load(session.id)
        await one.rotate(session, grace=20)
        parallel["b"] = 2
        await other.save(parallel)
        assert parallel.id == session.id != old
        assert dict(await other.load(old)) == {"a": 1, "b": 2, "user": "ada"}
        clock.advance(21)
        assert await other.load(old) is None
        assert await one.load(session.id) is not None

    async def test_rotations_at_once_agree_on_one_new_id(self, web: Any) -> None:
        one, other = web
        id = (await one.create({"a": 1}, user="ada")).id  # noqa: A001  # it is what the thing is called
        loaded = [await one.load(id), await other.load(id)]
        await asyncio.gather(one.rotate(loaded[0], grace=20), other.rotate(loaded[1], grace=20))
        assert loaded[0].id == loaded[1].id != id
        assert len(await one.of_user("ada")) == 1

    async def test_a_login_ends_the_old_id_at_once(self, web: Any) -> None:
        one, other = web
        session = await one.create({"cart": [1]})
        old = session.id
        session["user"] = "ada"
        await one.save(session)
        assert session.id != old
        assert await other.load(old) is None
        assert dict(await other.load(session.id)) == {"cart": [1], "user": "ada"}

    async def test_the_sessions_of_a_user_are_listed_and_revoked(self, web: Any) -> None:
        one, other = web
        kept, *others = [await one.create(user="ada", about={"n": number}) for number in range(3)]
        stranger = await one.create(user="bob")
        assert sorted(info.about["n"] for info in await other.of_user("ada")) == [0, 1, 2]
        assert await other.revoke_user("ada", but=kept.id) == 2
        assert [info.key for info in await one.of_user("ada")] == [kept.key]
        for session in others:
            session["a"] = 1
            with pytest.raises(SessionGoneError):
                await one.save(session)
            assert await one.load(session.id) is None
        assert await one.load(stranger.id) is not None
        again = await one.load(kept.id)
        await one.rotate(again, grace=20)
        assert await other.load(again.id) is not None
        assert await other.revoke_user("ada") == 1
        assert await one.load(again.id) is None
