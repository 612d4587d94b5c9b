"""An application with sessions, for several processes of uvicorn: its store is in the environment."""

import asyncio
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI

from satchel import open_store
from satchel.integrations.fastapi import CurrentSession
from satchel.sessions import SessionMiddleware, Sessions

store = open_store(os.environ["SATCHEL_URL"])
sessions = Sessions(store)


@asynccontextmanager
async def lifespan(_app):
    async with store:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, sessions=sessions, rotate_after=float(os.environ.get("ROTATE_AFTER", "3600")))


@app.post("/login/{user}")
def login(user: str, session: CurrentSession):
    session["user"] = user


@app.post("/set/{key}")
async def write(key: str, session: CurrentSession):
    await asyncio.sleep(0.01)
    session[key] = os.getpid()


@app.get("/")
async def read(session: CurrentSession):
    return {"process": os.getpid(), "session": dict(session)}


@app.post("/logout")
def logout(session: CurrentSession):
    session.end()


@app.post("/revoke/{user}")
async def revoke(user: str, session: CurrentSession):
    return await sessions.revoke_user(user, but=session.id)
