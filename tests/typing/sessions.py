"""What type checkers make of sessions. This file is checked, not run."""

from typing import Any, assert_type

from fastapi import FastAPI

from satchel import MemoryStore
from satchel.integrations.fastapi import CurrentSession
from satchel.sessions import Session, SessionInfo, SessionMiddleware, Sessions, SessionStore

store = MemoryStore()
sessions = Sessions(store)
app = FastAPI()
app.add_middleware(SessionMiddleware, sessions=sessions, on_error="anonymous", same_site="strict")


@app.get("/")
async def read(session: CurrentSession) -> None:
    assert_type(session, Session)
    assert_type(session.id, str | None)
    session["count"] = 1
    session.rotate()


async def used() -> None:
    assert_type(await sessions.load("id"), Session | None)
    assert_type(await sessions.of_user(1), list[SessionInfo])
    assert_type(await sessions.revoke_user("ada", but="id"), int)
    chats = SessionStore(store)
    await chats.put("k", {"turns": []}, ttl=60)
    async with chats.lock("k") as lock:
        assert_type(lock.owner, str)
    async for key, data in chats.items():
        assert_type(key, str)
        assert_type(data, Any)
