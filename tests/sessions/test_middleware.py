"""Sessions behind a cookie: what clients see, and what each request costs."""

import re

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from satchel import ConfigurationError, StoreUnavailableError
from satchel.integrations.fastapi import CurrentSession
from satchel.sessions import SessionMiddleware, Sessions

NAME = "__Host-session"


def application(store, clock, **options):
    app = FastAPI()
    sessions = Sessions(store, idle=1800, absolute=10_000, clock=clock)
    app.add_middleware(SessionMiddleware, sessions=sessions, **options)
    app.state.sessions = sessions

    @app.get("/")
    async def read(session: CurrentSession):
        return dict(session)

    @app.post("/set/{key}/{value}")
    async def write(key: str, value: str, session: CurrentSession):
        session.setdefault("values", {})[key] = value

    @app.post("/login/{user}")
    def login(user: str, request: Request):  # in a worker thread
        request.session["user"] = user
        request.session.rotate()

    @app.post("/logout")
    def logout(request: Request):
        request.session.end()

    @app.post("/goodbye")
    def goodbye(request: Request):
        request.session.end()
        request.session["flash"] = "bye"

    @app.post("/clear")
    async def clear(session: CurrentSession):
        session.clear()

    @app.post("/raise")
    async def fail(session: CurrentSession):
        session["a"] = "lost"
        raise ZeroDivisionError

    @app.post("/status/{code}")
    async def refuse(code: int, session: CurrentSession):
        session["code"] = code
        raise HTTPException(code)

    @app.post("/stream")
    async def stream(session: CurrentSession):
        async def body():
            yield "first"
            session["streamed"] = True
            yield "last"

        return StreamingResponse(body())

    @app.post("/revoked")
    async def revoked(session: CurrentSession):
        await sessions.revoke_user(session["user"])
        session["a"] = "written after the revocation"

    @app.get("/public")
    async def public():
        return "public"

    @app.get("/cached")
    async def cached(session: CurrentSession):
        session.get("user")
        return Response(headers={"cache-control": "private, max-age=5", "vary": "Accept"})

    @app.websocket("/ws")
    async def ws(socket: WebSocket):
        socket.session["before"] = True
        await socket.accept()
        async for text in socket.iter_text():
            socket.session["said"] = text

    return app


def client_of(app, **options):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="https://test", **options)


@pytest.fixture
async def app(store, clock):
    return application(store, clock)


@pytest.fixture
async def client(app):
    async with client_of(app) as client:
        yield client


def calls(store):
    return [kind for kind, _ in store.server.calls]


async def test_a_session_begins_with_its_first_value(client, store):
    response = await client.get("/")
    assert response.json() == {}
    assert "set-cookie" not in response.headers
    assert response.headers["vary"] == "Cookie"
    assert calls(store) == []
    response = await client.post("/set/a/1")
    cookie = response.headers["set-cookie"]
    assert re.fullmatch(NAME + r"=[\w-]{43}; Max-Age=1800; Path=/; HttpOnly; Secure; SameSite=Lax", cookie)
    assert response.headers["cache-control"] == "no-store"
    assert (await client.get("/")).json() == {"values": {"a": "1"}}


async def test_a_request_that_only_reads_costs_one_round_trip_and_no_write(client, store):
    await client.post("/set/a/1")
    store.server.calls.clear()
    response = await client.get("/")
    assert response.json() == {"values": {"a": "1"}}
    assert calls(store) == ["read"]
    assert "set-cookie" not in response.headers


async def test_a_change_costs_a_read_and_a_write_at_any_depth(client, store):
    await client.post("/set/a/1")
    store.server.calls.clear()
    await client.post("/set/b/2")
    assert calls(store) == ["read", "put_if"]
    assert (await client.get("/")).json() == {"values": {"a": "1", "b": "2"}}


async def test_a_slow_request_that_only_reads_undoes_no_change(app, client, store):
    await client.post("/set/a/1")
    slow = await app.state.sessions.load(client.cookies[NAME])
    await client.post("/set/a/2")
    await app.state.sessions.save(slow)
    assert (await client.get("/")).json() == {"values": {"a": "2"}}


async def test_use_renews_the_session_and_the_age_of_its_cookie(client, store, clock):
    await client.post("/set/a/1")
    clock.advance(899)
    assert "set-cookie" not in (await client.get("/")).headers
    clock.advance(2)
    store.server.calls.clear()
    response = await client.get("/public")
    assert "Max-Age=1800" in response.headers["set-cookie"]
    assert client.cookies[NAME] in response.headers["set-cookie"]
    assert calls(store) == ["read", "touch"]


async def test_the_absolute_end_beats_activity(client, store, clock):
    await client.post("/set/a/1")
    for _ in range(11):
        clock.advance(900)
        assert (await client.get("/")).json() == {"values": {"a": "1"}}
    clock.advance(101)
    assert (await client.get("/")).json() == {}


@pytest.mark.parametrize(
    "cookie", ["", "null", "a" * 42, "a" * 44, "a" * 42 + "é", '"' + "a" * 43 + '"', "../" + "a" * 40, "%00" + "a" * 40]
)
async def test_hostile_ids_read_nothing(client, store, cookie):
    response = await client.get("/", headers={b"cookie": f"{NAME}={cookie}".encode()})
    assert response.json() == {}
    assert calls(store) == []


async def test_an_id_that_a_client_made_up_is_not_used(client, store):
    made_up = "a" * 43
    response = await client.post("/set/a/1", headers={"cookie": f"{NAME}={made_up}"})
    assert made_up not in response.headers["set-cookie"]
    assert (await client.get("/", headers={"cookie": f"{NAME}={made_up}"})).json() == {}


async def test_two_different_cookies_of_the_name_are_not_trusted(app, store):
    ids = [(await app.state.sessions.create({"n": number})).id for number in range(2)]
    store.server.calls.clear()
    async with client_of(app) as client:
        both = {"cookie": f"{NAME}={ids[0]}; other=1; {NAME}={ids[1]}"}
        assert (await client.get("/", headers=both)).json() == {}
        assert calls(store) == []
        twice = {"cookie": f"{NAME}={ids[0]}; x{NAME}={ids[1]}; {NAME}={ids[0]}"}
        assert (await client.get("/", headers=twice)).json() == {"n": 0}


async def test_a_login_gives_a_new_id_and_ends_the_old_one(client, app):
    await client.post("/set/a/1")
    old = client.cookies[NAME]
    await client.post("/login/ada")
    assert client.cookies[NAME] != old
    assert (await client.get("/")).json() == {"values": {"a": "1"}, "user": "ada"}
    assert (await client.get("/", headers={"cookie": f"{NAME}={old}"})).json() == {}
    assert len(await app.state.sessions.of_user("ada")) == 1


async def test_a_logout_ends_the_session_and_takes_the_cookie_away(client, app):
    await client.post("/login/ada")
    old = client.cookies[NAME]
    response = await client.post("/logout")
    assert f"{NAME}=; Max-Age=0" in response.headers["set-cookie"]
    assert NAME not in client.cookies
    assert await app.state.sessions.load(old) is None
    assert "set-cookie" not in (await client.post("/logout")).headers


async def test_what_is_put_in_after_the_end_begins_a_new_session(client, app):
    await client.post("/login/ada")
    old = client.cookies[NAME]
    await client.post("/goodbye")
    assert client.cookies[NAME] != old
    assert (await client.get("/")).json() == {"flash": "bye"}


async def test_a_session_that_is_emptied_ends(client, app):
    await client.post("/set/a/1")
    old = client.cookies[NAME]
    await client.post("/clear")
    assert NAME not in client.cookies
    assert await app.state.sessions.load(old) is None


@pytest.mark.parametrize("path", ["/raise", "/status/500", "/status/503"])
async def test_an_endpoint_that_fails_saves_nothing(client, store, path):
    await client.post("/set/a/1")
    store.server.calls.clear()
    assert (await client.post(path)).status_code >= 500
    assert calls(store) == ["read"]


async def test_an_endpoint_that_refuses_saves_what_it_counted(client):
    assert (await client.post("/status/403")).status_code == 403
    assert (await client.get("/")).json() == {"code": 403}


async def test_what_a_streamed_body_changes_is_saved_at_its_end(client):
    await client.post("/set/a/1")
    response = await client.post("/stream")
    assert response.text == "firstlast"
    assert (await client.get("/")).json() == {"values": {"a": "1"}, "streamed": True}


async def test_a_streamed_body_cannot_begin_a_session(client, store, caplog):
    assert (await client.post("/stream")).text == "firstlast"
    assert "after the response had begun" in caplog.text
    assert calls(store) == []


async def test_a_save_after_a_revocation_brings_nothing_back(client, app):
    await client.post("/login/ada")
    old = client.cookies[NAME]
    response = await client.post("/revoked")
    assert response.status_code == 400
    assert f"{NAME}=; Max-Age=0" in response.headers["set-cookie"]
    assert await app.state.sessions.load(old) is None
    assert (await client.get("/", headers={"cookie": f"{NAME}={old}"})).json() == {}


async def test_the_id_is_rotated_from_time_to_time_with_a_grace(client, clock):
    await client.post("/set/a/1")
    old = client.cookies[NAME]
    for _ in range(4):
        clock.advance(900)
        response = await client.get("/public")
    new = client.cookies[NAME]
    assert new != old
    late = await client.get("/", headers={"cookie": f"{NAME}={old}"})
    assert late.json() == {"values": {"a": "1"}}
    assert new in late.headers["set-cookie"]
    clock.advance(61)
    assert (await client.get("/", headers={"cookie": f"{NAME}={old}"})).json() == {}
    assert (await client.get("/", headers={"cookie": f"{NAME}={new}"})).json() == {"values": {"a": "1"}}
    assert response.status_code == 200


async def test_only_answers_that_used_the_session_are_kept_from_caches(client):
    await client.post("/set/a/1")
    headers = (await client.get("/public")).headers
    assert "vary" not in headers
    assert "cache-control" not in headers
    headers = (await client.get("/cached")).headers
    assert headers["cache-control"] == "private, max-age=5"
    assert headers["vary"] == "Accept, Cookie"


async def test_a_path_that_is_skipped_has_no_session(store, clock):
    app = application(store, clock, skip=lambda scope: scope["path"] == "/public")
    async with client_of(app) as client:
        await client.post("/set/a/1")
        store.server.calls.clear()
        assert (await client.get("/public")).json() == "public"
        assert calls(store) == []


def down(store, verb):
    async def fail(*_, **__):
        raise StoreUnavailableError("the store is down")

    setattr(store, verb, fail)


@pytest.mark.parametrize(("policy", "status"), [("refuse", 503), ("anonymous", 200)])
async def test_a_store_that_is_down_refuses_or_leaves_visitors_anonymous(store, clock, policy, status, caplog):
    app = application(store, clock, on_error=policy)
    async with client_of(app) as client:
        await client.post("/set/a/1")
        secret = client.cookies[NAME]
        get_entry = store.get_entry
        down(store, "get_entry")
        response = await client.get("/")
        assert response.status_code == status
        assert "set-cookie" not in response.headers
        if policy == "anonymous":
            assert response.json() == {}
            response = await client.post("/set/b/2")  # not saved: it would take the place of the visitor's session
            assert "set-cookie" not in response.headers
        assert (await client.get("/", headers={"cookie": ""})).status_code == 200
        store.get_entry = get_entry
        down(store, "compare_and_put")
        assert (await client.post("/set/b/2")).status_code == status
        assert (await client.get("/")).json() == {"values": {"a": "1"}}
    assert "the store is down" in caplog.text
    assert secret not in caplog.text


def test_a_websocket_saves_before_it_is_accepted_and_at_its_end(store, clock):
    app = application(store, clock)
    with TestClient(app, base_url="https://test") as client:
        with client.websocket_connect("wss://test/ws") as socket:
            cookie = dict(socket.extra_headers)[b"set-cookie"].decode()
            socket.send_text("hello")
        client.cookies.set(NAME, re.search(r"=([\w-]+);", cookie)[1])
        assert client.get("/").json() == {"before": True, "said": "hello"}


def test_a_websocket_is_closed_while_the_store_is_down(store, clock):
    down(store, "get_entry")
    with TestClient(application(store, clock), base_url="https://test") as client:
        client.cookies.set(NAME, "a" * 43)
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("wss://test/ws"):
            pass
        assert closed.value.code == 1013


async def test_an_application_without_the_middleware_is_told():
    app = FastAPI()

    @app.get("/")
    async def read(session: CurrentSession):
        return dict(session)

    with pytest.raises(ConfigurationError, match="SessionMiddleware"):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://test") as client:
            await client.get("/")


@pytest.mark.parametrize(
    "options",
    [
        {"sessions": object()},
        {"cookie": "a b"},
        {"cookie": "a;b"},
        {"cookie": None},
        {"renew_after": 0},
        {"rotate_after": "3600"},
        {"on_error": "ignore"},
        {"skip": "/static"},
        {"secure": False},
        {"secure": "no"},
        {"same_site": "Lax"},
        {"secure": False, "cookie": "session", "same_site": "none"},
    ],
)
def test_wrong_options_are_refused(store, options):
    with pytest.raises(ConfigurationError):
        SessionMiddleware(FastAPI(), **{"sessions": Sessions(store), **options})


async def test_development_over_http_takes_another_name(store, clock):
    app = application(store, clock, cookie="session", secure=False, same_site="strict")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        response = await client.post("/set/a/1")
        assert response.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
        assert (await client.get("/")).json() == {"values": {"a": "1"}}
