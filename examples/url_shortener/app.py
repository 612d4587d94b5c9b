"""A URL shortener: sessions for its administrator, limits for everybody, cached redirects and counted hits."""

import argparse
import os
import re
import secrets
from typing import Annotated

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import RedirectResponse
from pydantic import AnyHttpUrl, BaseModel

from satchel import Collection, Tags, cached, open_store
from satchel.coordination import Counter
from satchel.integrations.fastapi import (
    CurrentSession,
    Store,
    collection,
    rate_limit,
    readiness_router,
    store_lifespan,
)
from satchel.sessions import SessionMiddleware, Sessions
from satchel.url import OpenedStore

SLUG = re.compile(r"[A-Za-z0-9_-]{3,32}")
SLUG_BYTES = 5
CACHED_SECONDS = 300


class NewLink(BaseModel):
    target: AnyHttpUrl
    slug: str | None = None


class Link(BaseModel):
    target: AnyHttpUrl


class ListedLink(BaseModel):
    slug: str
    target: AnyHttpUrl
    hits: int


class Page(BaseModel):
    links: list[ListedLink]
    next: str | None


class SignIn(BaseModel):
    password: str


Links = Annotated[Collection[Link], collection("links", model=Link)]

admin = APIRouter(prefix="/admin")
public = APIRouter()


def signed_in(session: CurrentSession) -> None:
    if session.get("user") != "admin":
        raise HTTPException(401, "sign in first")


SignedIn = Depends(signed_in)


@admin.post("/session", status_code=204, dependencies=[rate_limit("sign-in", limit=5, per=60)])
async def sign_in(request: Request, session: CurrentSession, given: SignIn) -> None:
    if not secrets.compare_digest(given.password.encode(), request.app.state.password.encode()):
        raise HTTPException(403, "wrong password")
    session["user"] = "admin"  # the session gets a new id


@admin.delete("/session", status_code=204)
async def sign_out(session: CurrentSession) -> None:
    session.end()


@admin.post("/links", status_code=201, dependencies=[SignedIn, rate_limit("create", limit=60, per=60)])
async def create(new: NewLink, links: Links) -> ListedLink:
    slug = new.slug or secrets.token_urlsafe(SLUG_BYTES)
    if not SLUG.fullmatch(slug):
        raise HTTPException(422, "a slug has 3 to 32 letters, digits, - and _")
    if await links.put_if_absent(slug, Link(target=new.target)) is None:
        raise HTTPException(409, "this slug is taken")
    return ListedLink(slug=slug, target=new.target, hits=0)


@admin.get("/links", dependencies=[SignedIn])
async def list_links(
    links: Links, store: Store, after: str = "", limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> Page:
    page = {slug: link async for slug, link in links.items(after=after, limit=limit)}
    hits = await store.get_many("hits", page)
    listed = [ListedLink(slug=slug, target=link.target, hits=hits.get(slug, 0)) for slug, link in page.items()]
    return Page(links=listed, next=listed[-1].slug if len(listed) == limit else None)


@admin.put("/links/{slug}", status_code=204, dependencies=[SignedIn])
async def change(slug: str, link: Link, links: Links, store: Store) -> None:
    if not await links.exists(slug):
        raise HTTPException(404, "there is no such link")
    await links.put(slug, link)
    await Tags(store).invalidate(f"link:{slug}")  # in every process, at the next request


@admin.delete("/links/{slug}", status_code=204, dependencies=[SignedIn])
async def remove(slug: str, links: Links, store: Store) -> None:
    if not await links.delete(slug):
        raise HTTPException(404, "there is no such link")
    await Tags(store).invalidate(f"link:{slug}")
    await store.delete("hits", slug)


@public.get("/{slug}", dependencies=[rate_limit("follow", limit=600, per=60)])
async def follow(slug: str, request: Request, store: Store) -> RedirectResponse:
    target = await request.app.state.target_of(slug) if SLUG.fullmatch(slug) else None
    if target is None:
        raise HTTPException(404, "there is no such link")
    await Counter(store, slug, collection="hits").increment()
    return RedirectResponse(target, status_code=307, headers={"Cache-Control": "no-store"})  # each hit is to be counted


def create_app(store: OpenedStore, password: str) -> FastAPI:
    """Return the service over a store, which it opens and closes."""
    app = FastAPI(title="URL shortener", lifespan=store_lifespan(lambda: store))
    # Over HTTPS, leave out both options: the cookie is then sent over nothing else.
    app.add_middleware(SessionMiddleware, sessions=Sessions(store, idle=1800), cookie="session", secure=False)
    links: Collection[Link] = store.collection("links", model=Link)

    @cached(store, "redirects", ttl=CACHED_SECONDS, tags=lambda slug: [f"link:{slug}"])
    async def target_of(slug: str) -> str | None:
        link = await links.get(slug)
        return None if link is None else str(link.target)

    app.state.target_of, app.state.password = target_of, password
    for router in (readiness_router(), admin, public):
        app.include_router(router)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    password = os.environ.get("SHORTENER_PASSWORD")
    if not password:
        password = secrets.token_urlsafe(12)
        print(f"the password of this run: {password}")
    print(f"http://127.0.0.1:{port}/docs")
    store = open_store(os.environ.get("SATCHEL_URL", "disk:.satchel/url_shortener"))
    uvicorn.run(create_app(store, password), port=port)


if __name__ == "__main__":
    main()
