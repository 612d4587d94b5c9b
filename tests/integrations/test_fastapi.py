"""A store in a FastAPI application, tried through requests."""

import asyncio
import gc
import logging
import math
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from pydantic import BaseModel

from satchel import (
    Collection,
    ConfigurationError,
    InvalidKeyError,
    MemoryStore,
    NullStore,
    StoreClosedError,
    StoreUnavailableError,
    Tags,
    cached,
)
from satchel.integrations.fastapi import (
    Store,
    application_store,
    collection,
    get_store,
    override_store,
    readiness_router,
    store_lifespan,
)


class User(BaseModel):
    name: str
    age: int = 0


Users = Annotated[Collection[User], collection("users", model=User, ttl=60)]


def application(make_store=MemoryStore, **options):
    app = FastAPI(lifespan=store_lifespan(make_store))
    app.include_router(readiness_router(**options))

    @app.put("/users/{key}", status_code=204)
    async def write_user(key: str, user: User, users: Users) -> None:
        await users.put(key, user)

    @app.get("/users/{key}")
    async def read_user(key: str, users: Users) -> User:
        user = await users.get(key)
        if user is None:
            raise HTTPException(404)
        return user

    @app.put("/notes/{key}", status_code=204)
    async def write_note(key: str, note: dict[str, str], store: Store) -> None:
        await store.put("notes", key, note)

    return app


def client_of(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@asynccontextmanager
async def running(app):
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


class Kept:
    """Makes stores, and keeps them to be looked at."""

    def __init__(self, kind=MemoryStore):
        self.kind = kind
        self.made = []

    def __call__(self):
        self.made.append(self.kind())
        return self.made[-1]


class Unreachable(MemoryStore):
    async def _ping(self):
        raise StoreUnavailableError("no route to redis.internal")


class Secretive(MemoryStore):
    async def ping(self):
        raise RuntimeError("redis://:hunter2@redis.internal")


class Silent(MemoryStore):
    async def _ping(self):
        await asyncio.sleep(3600)


async def test_an_endpoint_writes_and_reads_a_typed_collection_and_the_store():
    stores = Kept()
    async with running(application(stores)) as client:
        assert (await client.put("/users/ada", json={"name": "Ada", "age": 36})).status_code == 204
        assert (await client.get("/users/ada")).json() == {"name": "Ada", "age": 36}
        assert (await client.get("/users/bob")).status_code == 404
        assert (await client.put("/notes/a", json={"text": "x"})).status_code == 204
        (store,) = stores.made
        assert await store.get("notes", "a") == {"text": "x"}
        entry = await store.get_entry("users", "ada")
        assert entry is not None
        assert 0 < entry.ttl <= 60


async def test_the_lifespan_closes_what_it_made_and_makes_another_next_time():
    stores = Kept()
    app = application(stores)
    for _ in range(2):
        async with running(app) as client:
            assert (await client.put("/users/ada", json={"name": "Ada"})).status_code == 204
    assert len(stores.made) == 2
    for store in stores.made:
        with pytest.raises(StoreClosedError):
            await store.get("users", "ada")


async def test_the_application_does_not_start_without_an_answer_and_the_store_is_closed():
    stores = Kept(Unreachable)
    app = application(stores)
    with pytest.raises(StoreUnavailableError, match="no route"):
        async with running(app):
            pytest.fail("it started")
    with pytest.raises(StoreClosedError):
        await stores.made[0].get("users", "ada")


async def test_the_lifespan_composes_with_ones_own():
    events = []

    @asynccontextmanager
    async def lifespan(app):
        async with store_lifespan(MemoryStore)(app):
            await app.state.satchel_store.put("users", "seeded", {"name": "Seed", "age": 1})
            events.append("started")
            yield {"mine": 1}
        events.append("ended")

    app = FastAPI(lifespan=lifespan)

    @app.get("/users/{key}")
    async def read_user(key: str, users: Users) -> User:
        return await users.require(key)

    async with running(app) as client:
        assert (await client.get("/users/seeded")).json() == {"name": "Seed", "age": 1}
    assert events == ["started", "ended"]


async def test_override_store_gives_tests_a_store_of_their_own():
    stores = Kept(Unreachable)
    app = application(stores)
    with override_store(app, MemoryStore()) as store:
        async with running(app) as client:
            await client.put("/users/ada", json={"name": "Ada"})
            assert await store.get("users", "ada") == {"name": "Ada", "age": 0}
            with override_store(app, NullStore()):
                assert (await client.get("/users/ada")).status_code == 404
            assert (await client.get("/users/ada")).status_code == 200
        assert await store.exists("users", "ada")
    assert stores.made == []
    assert app.dependency_overrides == {}


async def test_override_store_takes_no_lifespan():
    app = application()
    with override_store(app, MemoryStore(seed={"users": {"ada": {"name": "Ada"}}})):
        async with client_of(app) as client:
            assert (await client.get("/users/ada")).json() == {"name": "Ada", "age": 0}
            assert (await client.get("/ready")).json() == {"status": "ready"}


async def test_override_store_ends_after_an_exception_too():
    app = application()
    with pytest.raises(ZeroDivisionError), override_store(app, MemoryStore()):
        raise ZeroDivisionError
    assert app.dependency_overrides == {}


async def test_without_a_lifespan_the_error_says_what_to_do():
    async with client_of(application()) as client:
        with pytest.raises(ConfigurationError, match="store_lifespan"):
            await client.get("/users/ada")


def test_what_makes_no_store_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="a function that makes a store, got a MemoryStore"):
        store_lifespan(MemoryStore())
    with pytest.raises(ConfigurationError, match="model must be a type"):
        collection("users", model="User")
    with pytest.raises(InvalidKeyError):
        collection("")


async def make_later():
    return MemoryStore()


class MakeLater:
    async def __call__(self):
        return MemoryStore()


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (MakeLater(), "coroutine"),
        (lambda: None, "NoneType"),
        (lambda: MemoryStore, "class MemoryStore"),
        (lambda: "hunter2", "str"),
    ],
)
async def test_a_function_that_makes_something_else_is_refused_by_what_it_made(make, named):
    with pytest.raises(ConfigurationError, match=f"store_lifespan.*{named}") as caught:
        async with running(application(make)):
            pass
    assert "hunter2" not in str(caught.value)
    gc.collect()  # a coroutine that nobody closed would warn here, which is an error


def test_a_coroutine_function_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="plain function"):
        store_lifespan(make_later)


@pytest.mark.parametrize(("given", "named"), [(None, "NoneType"), (MemoryStore, "class MemoryStore")])
async def test_override_store_takes_a_store(given, named):
    app = application()
    with (
        pytest.raises(ConfigurationError, match=f"override_store takes a store, got .*{named}"),
        override_store(app, given),
    ):
        pass
    assert not app.dependency_overrides


@pytest.mark.parametrize("timeout", ["x", -1, 0, None, math.nan, math.inf])
def test_a_timeout_that_is_none_is_refused_at_once(timeout):
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds above 0"):
        readiness_router(timeout=timeout)


async def test_without_a_store_it_is_not_ready_and_the_log_says_why(caplog):
    async with client_of(application()) as client:
        response = await client.get("/ready")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
    assert "this application has no store" in caplog.text


async def test_readiness_leaves_the_answers_of_other_dependencies_alone():
    def refuse() -> None:
        raise HTTPException(401)

    app = FastAPI()
    app.include_router(readiness_router(), dependencies=[Depends(refuse)])
    async with client_of(app) as client:
        assert (await client.get("/ready")).status_code == 401


async def test_ready_says_so():
    async with running(application()) as client:
        response = await client.get("/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize(
    ("kind", "logged", "seconds"),
    [
        (Unreachable, "no route to redis.internal", 60),
        (Secretive, "RuntimeError", 60),
        (Silent, "TimeoutError", 0.01),
    ],
)
async def test_not_ready_is_503_without_a_word_of_the_reason(kind, logged, seconds, caplog):
    app = application(timeout=seconds)
    with override_store(app, kind()), caplog.at_level(logging.WARNING, "satchel"):
        async with client_of(app) as client:
            response = await client.get("/ready")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
    assert logged in caplog.text
    assert "hunter2" not in caplog.text


async def test_the_path_of_the_readiness_route_is_yours_and_not_in_the_schema():
    app = application(path="/health/ready")
    async with running(app) as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert "/health/ready" not in (await client.get("/openapi.json")).json()["paths"]


async def test_many_requests_at_once_share_the_store():
    async with running(application()) as client:
        await asyncio.gather(*(client.put(f"/users/{n}", json={"name": str(n)}) for n in range(50)))
        found = await asyncio.gather(*(client.get(f"/users/{n}") for n in range(50)))
    assert [response.json()["name"] for response in found] == [str(n) for n in range(50)]


def test_without_fastapi_the_import_says_how_to_get_it():
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from satchel import MissingExtraError\n"
        "try:\n"
        "    import satchel.integrations.fastapi\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "satchel[fastapi]"' in done.stdout


async def test_a_websocket_gets_the_collection_too():
    app = FastAPI()

    @app.websocket("/names")
    async def names(socket: WebSocket, users: Users) -> None:
        await socket.accept()
        await socket.send_text((await users.require("ada")).name)
        await socket.close()

    sent = []
    scope = {"type": "websocket", "path": "/names", "headers": [], "query_string": b"", "subprotocols": []}

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    with override_store(app, MemoryStore(seed={"users": {"ada": {"name": "Ada"}}})):
        await app(scope, receive, send)
    assert [message.get("text") for message in sent if message["type"] == "websocket.send"] == ["Ada"]


class Catalogue:
    """Is found by a dependency, and cannot be part of a key."""

    def __init__(self):
        self.runs = 0


def with_cached_functions():
    app, catalogue = FastAPI(lifespan=store_lifespan(MemoryStore)), Catalogue()

    def get_catalogue() -> Catalogue:
        return catalogue

    def tags(number: int, **_: object) -> list[str]:
        return [f"user:{number}"]

    @cached(application_store(app), "users", ttl=60, ignore=("catalogue",), tags=tags)
    async def find_user(number: int, catalogue: Annotated[Catalogue, Depends(get_catalogue)]) -> User:
        catalogue.runs += 1
        return User(name=f"User {number}")

    @app.get("/users/{number}")
    async def read_user(user: Annotated[User, Depends(find_user)]) -> User:
        return user

    @app.get("/cached/{number}")
    @cached(application_store(app), "answers", ignore=("catalogue",))
    async def answer(number: int, catalogue: Annotated[Catalogue, Depends(get_catalogue)]) -> dict[str, int]:
        catalogue.runs += 1
        return {"number": number}

    return app, catalogue, find_user


@pytest.mark.parametrize("path", ["/users/7", "/cached/7"])
async def test_a_cached_function_is_a_dependency_or_an_endpoint(path):
    app, catalogue, _ = with_cached_functions()
    async with running(app) as client:
        answers = [(await client.get(path)).json() for _ in range(2)]
        assert answers[0] == answers[1] in ({"name": "User 7", "age": 0}, {"number": 7})
        assert catalogue.runs == 1
        assert (await client.get(path.replace("7", "x"))).status_code == 422


async def test_override_store_reaches_cached_functions():
    app, catalogue, find_user = with_cached_functions()
    async with running(app) as client:
        await client.get("/users/7")
        with override_store(app, MemoryStore()) as store:
            await client.get("/users/7")
            assert await store.exists("users", find_user.key_for(7, catalogue=catalogue))
            await Tags(store).invalidate("user:7")
            await client.get("/users/7")
        await client.get("/users/7")
    assert catalogue.runs == 3


async def test_the_store_of_an_application_is_found_when_it_is_needed():
    app = FastAPI(lifespan=store_lifespan(MemoryStore))
    find = application_store(app)
    with pytest.raises(ConfigurationError, match="store_lifespan"):
        find()
    async with app.router.lifespan_context(app):
        assert find() is app.state.satchel_store
    by_hand = MemoryStore()
    app.dependency_overrides[get_store] = lambda: by_hand
    assert find() is by_hand

    async def later():
        return by_hand

    app.dependency_overrides[get_store] = later
    with pytest.raises(ConfigurationError, match="use override_store"):
        find()
