"""A real uvicorn with several workers, whose sessions are in one store, and real clients."""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from scripts.test_servers.server import free_port
from tests.servers import server_url

ROOT = Path(__file__).parents[2]
NAME = "__Host-session"
WORKERS = 3
PATIENCE = 50

URLS = {
    "disk": lambda place: f"disk://{place}",
    "redis": lambda _: f"{server_url('redis')}?prefix=satchel-{uuid4().hex[:12]}",
}
STORES = [pytest.param("disk"), pytest.param("redis", marks=pytest.mark.server("redis"))]


@contextmanager
def serving(url, **environment):
    """Run the application in several processes, and yield its URL."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.sessions.application:app", "--port", str(port)]
    options = ["--workers", str(WORKERS), "--log-level", "info", "--no-access-log"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, "SATCHEL_URL": url, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        started, said = 0, []
        while started < WORKERS:
            line = process.stdout.readline()
            assert line, "".join(said)
            said.append(line)
            started += "Application startup complete" in line
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


class Browser:
    """Client that keeps its cookie, which browsers would send over HTTPS alone, and opens a connection a request."""

    def __init__(self, url, cookie=None):
        self.url, self.cookie = url, cookie

    async def ask(self, method, path):
        headers = {"connection": "close"} if self.cookie is None else {"connection": "close", "cookie": self.cookie}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=PATIENCE) as client:
            response = await client.request(method, path)
        assert response.status_code == 200, response.text
        given = response.headers.get("set-cookie")
        if given is not None:
            self.cookie = None if "Max-Age=0" in given else given.partition(";")[0]
        return response.json()

    async def see(self, processes, until):
        """Read until so many processes have answered."""
        end = time.monotonic() + PATIENCE
        while len(processes) < until and time.monotonic() < end:
            answer = await self.ask("GET", "/")
            processes.add(answer["process"])
        return answer["session"]


async def write_at_once(twins):
    """Let requests of one visitor change different keys at once, until several processes have answered."""
    written, end = set(), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        names = [f"{len(written) + number}" for number in range(len(twins))]
        await asyncio.gather(*(twin.ask("POST", f"/set/{name}") for twin, name in zip(twins, names, strict=True)))
        written |= set(names)
        found = (await twins[0].ask("GET", "/"))["session"]
        assert found.keys() == {"user", *written}, "a change of a parallel request was lost"
        if len({found[name] for name in names}) > 1:
            return
    raise AssertionError("one process answered everything")


async def scenario(url):
    browser, processes = Browser(url), set()
    await browser.ask("POST", "/login/ada")
    login = browser.cookie
    assert await browser.see(processes, 2) == {"user": "ada"}
    assert len(processes) > 1, "one process answered everything"

    await write_at_once([Browser(url, login) for _ in range(8)])

    other = Browser(url)
    await other.ask("POST", "/login/ada")
    assert await browser.ask("POST", "/revoke/ada") == 1
    assert (await other.ask("GET", "/"))["session"] == {}
    assert (await browser.ask("GET", "/"))["session"]["user"] == "ada"

    await browser.ask("POST", "/logout")
    assert browser.cookie is None
    assert (await Browser(url, login).ask("GET", "/"))["session"] == {}


async def rotating(url):
    browser = Browser(url)
    await browser.ask("POST", "/login/ada")
    old = browser.cookie
    twins = [Browser(url, old) for _ in range(8)]
    await asyncio.sleep(0.3)
    await asyncio.gather(*(twin.ask("GET", "/") for twin in twins))
    assert old not in {twin.cookie for twin in twins}
    assert len({(await twin.ask("GET", "/"))["session"]["user"] for twin in twins}) == 1
    revoker = Browser(url)
    await revoker.ask("POST", "/login/bob")
    assert await revoker.ask("POST", "/revoke/ada") == 1
    for twin in [*twins, Browser(url, old)]:
        assert (await twin.ask("GET", "/"))["session"] == {}


@pytest.mark.long
@pytest.mark.parametrize("store", STORES)
def test_processes_share_the_sessions_of_their_visitors(store, tmp_path):
    with serving(URLS[store](tmp_path)) as url:
        asyncio.run(scenario(url))


@pytest.mark.long
@pytest.mark.parametrize("store", STORES)
def test_requests_that_rotate_one_session_at_once_agree(store, tmp_path):
    with serving(URLS[store](tmp_path), ROTATE_AFTER="0.2") as url:
        asyncio.run(rotating(url))
