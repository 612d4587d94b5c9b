"""FastMCP keeps what it knows in a satchel store, and a server and a client that start anew find it there."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import uvicorn
from fastmcp import Client, Context, FastMCP
from fastmcp.client.auth import OAuth
from fastmcp.server.auth.oauth_proxy import OAuthProxy
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.server.event_store import EventStore
from fastmcp.server.sessions import UserSession
from mcp.shared.auth import AuthorizationCodeResult
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from satchel import open_store
from satchel.integrations.py_key_value import as_py_key_value
from satchel.wrappers import EncryptionWrapper
from scripts.test_servers.server import free_port
from tests.servers import server_url

DEMO = Path(__file__).parents[2] / "examples" / "fastmcp_storage" / "demo.py"
KEY = bytes(range(32))
TOKEN = "the-token-of-the-identity-provider"


@pytest.fixture(params=["disk", pytest.param("redis", marks=pytest.mark.server("redis"))])
async def url(request, tmp_path):
    if request.param == "disk":
        yield f"disk://{tmp_path}/store"
        return
    url = f"{server_url('redis')}?prefix=fastmcp-{tmp_path.name}-{os.getpid()}"
    yield url
    async with open_store(url) as store:
        await store.destroy()


class IdentityProvider:
    """Stands for GitHub and the like: everybody is let in at once, and counted."""

    def __init__(self):
        self.signed_in = 0
        self.app = Starlette(
            routes=[Route("/authorize", self.authorize), Route("/token", self.token, methods=["POST"])]
        )

    async def authorize(self, request):
        self.signed_in += 1
        asked = request.query_params
        return RedirectResponse(f"{asked['redirect_uri']}?code=a-code&state={asked['state']}")

    async def token(self, request):
        return JSONResponse({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600})


class Browser(OAuth):
    """Signs in as a person with a browser would, following the redirects."""

    async def redirect_handler(self, authorization_url):
        callback = str(self.context.client_metadata.redirect_uris[0])
        async with httpx2.AsyncClient() as http:
            while not authorization_url.startswith(callback):
                authorization_url = (await http.get(authorization_url)).headers["location"]
        self.answer = parse_qs(urlsplit(authorization_url).query)

    async def callback_handler(self):
        issuer = self.answer.get("iss", [None])[0]
        return AuthorizationCodeResult(code=self.answer["code"][0], state=self.answer["state"][0], iss=issuer)


@asynccontextmanager
async def serving(app, port):
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def make_server(store, port, upstream):
    """Make the server of a run: it greets those who have signed in, and counts how often."""
    auth = OAuthProxy(
        upstream_authorization_endpoint=f"{upstream}/authorize",
        upstream_token_endpoint=f"{upstream}/token",
        upstream_client_id="greeter",
        token_verifier=StaticTokenVerifier({TOKEN: {"client_id": "ada", "sub": "ada", "scopes": []}}),
        base_url=f"http://127.0.0.1:{port}",
        jwt_signing_key=KEY,
        require_authorization_consent="external",
        client_storage=as_py_key_value(EncryptionWrapper(store, key=KEY)),
    )
    server = FastMCP("greeter", auth=auth, session_state_store=as_py_key_value(store))

    @server.tool
    async def greet(context: Context, session: UserSession) -> int:
        await session.set("greeted", await session.get("greeted", 0) + 1)
        await context.report_progress(1)
        return await session.get("greeted")

    return server.http_app(event_store=EventStore(as_py_key_value(store)))


async def call(url, port, upstream, tokens_url):
    """Start a server and a client over stores of their own, and let the client call a tool once."""
    async with (
        open_store(url) as store,
        open_store(tokens_url) as tokens,
        serving(make_server(store, port, upstream), port) as address,
    ):
        auth = Browser(f"{address}/mcp", token_storage=as_py_key_value(tokens))
        async with Client(f"{address}/mcp", auth=auth, mode="legacy") as client:
            return (await client.call_tool("greet")).data


async def test_who_has_signed_in_stays_so_when_server_and_client_start_anew(url, tmp_path):
    provider, port, tokens_url = IdentityProvider(), free_port(), f"disk://{tmp_path}/tokens"
    async with serving(provider.app, free_port()) as upstream:
        assert await call(url, port, upstream, tokens_url) == 1
        assert await call(url, port, upstream, tokens_url) == 2  # the state of the session is there too
        assert provider.signed_in == 1
        assert await call(url, port, upstream, f"disk://{tmp_path}/of-another-client") == 3
        assert provider.signed_in == 2


async def test_the_events_of_a_stream_are_there_after_a_restart(url, tmp_path):
    provider, port = IdentityProvider(), free_port()
    async with serving(provider.app, free_port()) as upstream:
        await call(url, port, upstream, f"disk://{tmp_path}/tokens")
    async with open_store(url) as store:
        streams = [await store.get("fastmcp_streams", key) async for key in store.keys("fastmcp_streams")]
        longest = max((stream["event_ids"] for stream in streams), key=len)
        replayed = []

        async def receive(event):
            replayed.append(event)

        await EventStore(as_py_key_value(store)).replay_events_after(longest[0], receive)
    assert len(longest) > 1
    assert [event.event_id for event in replayed] == longest[1:]


async def test_secrets_of_oauth_are_not_in_the_store_in_clear(tmp_path):
    provider = IdentityProvider()
    async with serving(provider.app, free_port()) as upstream:
        await call(f"disk://{tmp_path}/store", free_port(), upstream, f"disk://{tmp_path}/tokens")
    async with open_store(f"disk://{tmp_path}/store") as store:
        held = [
            (collection, await store.get(collection, key))
            async for collection in store.collections()
            async for key in store.keys(collection)
        ]
    oauth = [value for collection, value in held if collection.startswith("mcp-")]
    assert len(oauth) > 1
    assert TOKEN not in str(held)


@pytest.mark.long
def test_the_example_survives_its_restart(url):
    command = [sys.executable, "-W", "error", str(DEMO), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "first server: notes ['buy milk'], 13 letters, an OAuth client registered",
        "second server: notes ['buy milk', 'buy bread'], 13 letters, counted 1 time",
        "second server: missed events ['hello'], knows the client 'reader'",
    ]
