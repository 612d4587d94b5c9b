"""What each operation costs in round trips, as docs/sessions.md says it."""

from pathlib import Path

import httpx

from satchel.sessions import Sessions, SessionStore
from tests.sessions.test_middleware import application, client_of

PAGE = Path(__file__).parents[2] / "docs" / "sessions.md"


class Counted:
    def __init__(self, store):
        self.store, self.costs = store, {}

    async def step(self, name, work):
        before = len(self.store.server.calls)
        result = await work
        self.costs[name] = len(self.store.server.calls) - before
        if isinstance(result, httpx.Response):
            assert result.status_code == 200
        return result


async def count_requests(counted, clock):
    app = application(counted.store, clock)
    async with client_of(app) as client:
        await counted.step("a request without a cookie", client.get("/"))
        await counted.step("a request that begins a session", client.post("/set/a/1"))
        await counted.step("a request that only reads", client.get("/"))
        await counted.step("a request that changes a value", client.post("/set/a/2"))
        clock.advance(901)
        await counted.step("the same, when the session is renewed", client.get("/"))
        await counted.step("a login of a visitor who had a session", client.post("/login/ada"))
        for _ in range(3):
            clock.advance(1000)
            await client.get("/")
        clock.advance(700)
        await counted.step("the request that rotates, once an hour", client.get("/"))
        await counted.step("a logout", client.post("/logout"))


async def count_users(counted, clock):
    sessions = Sessions(counted.store, clock=clock)
    for _ in range(3):
        await sessions.create(user="bob")
    await counted.step("`Sessions.of_user`", sessions.of_user("bob"))
    await counted.step("`Sessions.revoke_user`", sessions.revoke_user("bob"))


async def count_store(counted, clock):
    sessions = SessionStore(counted.store, collection="others", clock=clock)
    await counted.step("`SessionStore.put`", sessions.put("k", 1))
    await counted.step("`SessionStore.get`", sessions.get("k"))
    await counted.step("`SessionStore.update`", sessions.update("k", lambda n: n + 1))
    await counted.step("`SessionStore.info`", sessions.info("k"))
    lock = sessions.lock("k")
    await counted.step("entering `SessionStore.lock`", lock.__aenter__())
    await counted.step("leaving `SessionStore.lock`", lock.__aexit__(None, None, None))
    await counted.step("`SessionStore.delete`", sessions.delete("k"))


def documented():
    rows = [line.strip("| \n").split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


async def test_each_operation_takes_as_many_round_trips_as_the_page_says(store, clock):
    counted = Counted(store)
    for count in (count_requests, count_users, count_store):
        await count(counted, clock)
    assert counted.costs == documented()
