"""A service that keeps notes: typed endpoints over a store that one URL chooses."""

from typing import Annotated

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from satchel import Collection, InvalidKeyError, KeyMissingError, open_store
from satchel.integrations.fastapi import Store, collection, readiness_router, store_lifespan


class Note(BaseModel):
    title: str
    text: str = ""
    views: int = 0


Notes = Annotated[Collection[Note], collection("notes", model=Note)]

app = FastAPI(lifespan=store_lifespan(open_store))  # the URL is in the environment variable SATCHEL_URL
app.include_router(readiness_router())


@app.exception_handler(InvalidKeyError)
async def refuse_key(_request: Request, error: InvalidKeyError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=422)


@app.put("/notes/{key}", status_code=204)
async def write_note(key: str, note: Note, notes: Notes) -> None:
    await notes.put(key, note)


@app.get("/notes/{key}")
async def read_note(key: str, notes: Notes) -> Note:
    note = await notes.get(key)
    if note is None:
        raise HTTPException(404, "there is no such note")
    return note


@app.post("/notes/{key}/views")
async def count_view(key: str, notes: Notes) -> Note:
    try:
        return await notes.update(key, lambda note: note.model_copy(update={"views": note.views + 1}))
    except KeyMissingError:
        raise HTTPException(404, "there is no such note") from None


@app.put("/settings/{key}", status_code=204)
async def write_setting(key: str, value: dict[str, str], store: Store) -> None:
    await store.put("settings", key, value)
