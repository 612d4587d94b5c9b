"""aiohttp-session over satchel stores, through a real server and client."""

import asyncio

import pytest
from aiohttp import ClientSession, CookieJar, web
from aiohttp_session import get_session, new_session, setup

from satchel import Capability, DiskStore, MemoryStore, NullStore, UnsupportedOperationError
from satchel.integrations.aiohttp_session import SatchelSessionStorage
from satchel.testing import FakeClock

# aiohttp-session's own use of aiohttp
pytestmark = pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning")


async def visits(request):
    session = await get_session(request)
    session["visits"] = session.get("visits", 0) + 1
    return web.json_response(session["visits"])


async def read(request):
    return web.json_response(dict(await get_session(request)))


async def login(request):
    session = await new_session(request)
    session["user"] = "ada"
    return web.json_response(True)


async def logout(request):
    (await get_session(request)).invalidate()
    return web.json_response(True)


class Service:
    def __init__(self, store, **cookie):
        self.app = web.Application()
        setup(self.app, SatchelSessionStorage(store, **cookie))
        self.app.add_routes([web.get(f"/{handler.__name__}", handler) for handler in (visits, read, login, logout)])
        self.app.add_routes([web.get("/slow", self.slow)])
        self.inside, self.go_on = asyncio.Event(), asyncio.Event()

    async def slow(self, request):
        session = await get_session(request)
        self.inside.set()
        await self.go_on.wait()
        session["slow"] = True
        return web.json_response(True)

    async def __aenter__(self):
        self.runner = web.AppRunner(self.app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        self.client = ClientSession(f"http://127.0.0.1:{port}", cookie_jar=CookieJar(unsafe=True))
        return self

    async def __aexit__(self, *_):
        await self.client.close()
        await self.runner.cleanup()

    async def get(self, path, **options):
        async with self.client.get(path, **options) as response:
            return await response.json()

    @property
    def cookie(self):
        return {cookie.key: cookie.value for cookie in self.client.cookie_jar}.get("AIOHTTP_SESSION")


@pytest.fixture(params=["memory", "disk"])
async def store(request, tmp_path):
    async with MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "sessions.db") as made:
        yield made


async def names(store):
    return [key async for key in store.keys("aiohttp-sessions")]


async def test_a_session_lives_in_the_store(store):
    async with Service(store) as service:
        assert [await service.get("/visits") for _ in range(3)] == [1, 2, 3]
        assert await service.get("/read") == {"visits": 3}
        assert len(await names(store)) == 1
        assert service.cookie not in str(await names(store))
        await service.get("/logout")
        assert await names(store) == []
        assert service.cookie is None


async def test_ids_of_clients_open_and_keep_nothing(store):
    async with Service(store) as service:
        for cookie in ("x", "y" * 43, "../../etc", "é" * 43):
            service.client.cookie_jar.clear()
            assert await service.get("/visits", headers={"Cookie": f"AIOHTTP_SESSION={cookie}"}) == 1
        assert service.cookie not in {"x", "y" * 43}


async def test_a_login_gets_a_new_session_and_ends_the_old_one(store):
    async with Service(store) as service:
        await service.get("/visits")
        before = service.cookie
        await service.get("/login")
        assert service.cookie != before
        assert await service.get("/read") == {"user": "ada"}
        assert len(await names(store)) == 1


async def test_a_slow_request_does_not_bring_an_ended_session_back(store):
    async with Service(store) as service:
        await service.get("/visits")
        slow = asyncio.create_task(service.get("/slow"))
        await service.inside.wait()
        await service.get("/logout")
        service.go_on.set()
        await slow
        assert await names(store) == []


async def test_a_slow_request_saves_over_a_change(store):
    async with Service(store) as service:
        await service.get("/visits")
        slow = asyncio.create_task(service.get("/slow"))
        await service.inside.wait()
        await service.get("/visits")
        service.go_on.set()
        await slow
        assert await service.get("/read") == {"visits": 1, "slow": True}


async def test_it_expires():
    clock = FakeClock()
    async with Service(MemoryStore(clock=clock), max_age=100) as service:
        assert [await service.get("/visits") for _ in range(2)] == [1, 2]
        clock.advance(100)
        assert await service.get("/visits") == 1


def test_a_store_without_conditional_writes_is_refused():
    class Poor(NullStore):
        capabilities = Capability.NONE

    with pytest.raises(UnsupportedOperationError):
        SatchelSessionStorage(Poor())
