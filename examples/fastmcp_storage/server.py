"""A FastMCP server that keeps everything it remembers in one satchel store."""

from pathlib import Path

from fastmcp import FastMCP
from fastmcp.server.auth.oauth_proxy import OAuthProxy
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.server.event_store import EventStore
from fastmcp.server.middleware.caching import CallToolSettings, ResponseCachingMiddleware
from fastmcp.server.sessions import SessionId, SessionProvider, get_session

from satchel import AsyncKeyValue
from satchel.integrations.py_key_value import as_py_key_value
from satchel.wrappers import EncryptionWrapper

BASE_URL = "https://notebook.example"
UPSTREAM = "https://identity.example"


def make_server(store: AsyncKeyValue, key: bytes, work: Path) -> FastMCP:
    """Make the server.

    Args:
        store: Keeps everything; each part of FastMCP has collections of its own in it.
        key: 32 secret bytes that encrypt and sign what OAuth is about.
        work: A file with a line for each time that the slow tool really ran.
    """
    storage = as_py_key_value(store)
    server = FastMCP(
        "notebook",
        auth=make_auth(store, key),
        providers=[SessionProvider()],
        session_state_store=storage,
        middleware=[
            ResponseCachingMiddleware(
                cache_storage=storage, call_tool_settings=CallToolSettings(included_tools=["measure"])
            )
        ],
    )

    @server.tool
    async def note(text: str, session_id: SessionId) -> list[str]:
        """Add a note to a session, and return them all."""
        session = await get_session(session_id)
        notes = [*await session.get("notes", []), text]
        await session.set("notes", notes)
        return notes

    @server.tool
    def measure(text: str) -> int:
        """Count the letters of a text, slowly."""
        with work.open("a") as lines:
            lines.write(f"{text}\n")
        return sum(letter.isalpha() for letter in text)

    return server


def make_auth(store: AsyncKeyValue, key: bytes) -> OAuthProxy:
    """Make the OAuth proxy. Clients and tokens are secrets: in the store they are encrypted."""
    return OAuthProxy(
        upstream_authorization_endpoint=f"{UPSTREAM}/authorize",
        upstream_token_endpoint=f"{UPSTREAM}/token",
        upstream_client_id="notebook",
        token_verifier=StaticTokenVerifier({}),
        base_url=BASE_URL,
        jwt_signing_key=key,
        client_storage=as_py_key_value(EncryptionWrapper(store, key=key)),
    )


def make_events(store: AsyncKeyValue) -> EventStore:
    """Make what keeps the events of open streams, for `server.http_app(event_store=...)`."""
    return EventStore(as_py_key_value(store))
