"""Runs the server twice over one store: what the first one kept, the second one knows."""

import asyncio
import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastmcp import Client
from mcp.server.streamable_http import EventMessage
from mcp_types import JSONRPCNotification
from server import BASE_URL, make_events, make_server

from satchel import open_store

CLIENT = {"client_name": "reader", "redirect_uris": ["http://localhost:3000/callback"]}


@dataclass
class Remembered:
    """What the other side of the server has in its hands while the server restarts."""

    session_id: str
    event_id: str
    client_id: str


async def first_run(url: str, key: bytes, work: Path) -> Remembered:
    async with open_store(url) as store:
        server = make_server(store, key, work)
        async with Client(server) as client:
            session_id = (await client.call_tool("create_session")).data
            notes = (await client.call_tool("note", {"text": "buy milk", "session_id": session_id})).data
            letters = (await client.call_tool("measure", {"text": "to be or not to be"})).data
        events = make_events(store)
        event_id = await events.store_event("stream", None)
        await events.store_event("stream", JSONRPCNotification(jsonrpc="2.0", method="hello"))
        app = server.http_app(event_store=events)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as http:
            client_id = (await http.post("/register", json=CLIENT)).raise_for_status().json()["client_id"]
    print(f"first server: notes {notes}, {letters} letters, an OAuth client registered")
    return Remembered(session_id, event_id, client_id)


async def second_run(url: str, key: bytes, work: Path, remembered: Remembered) -> None:
    async with open_store(url) as store:
        server = make_server(store, key, work)
        async with Client(server) as client:
            arguments = {"text": "buy bread", "session_id": remembered.session_id}
            notes = (await client.call_tool("note", arguments)).data
            letters = (await client.call_tool("measure", {"text": "to be or not to be"})).data
        missed = []

        async def receive(event: EventMessage) -> None:
            missed.append(event.message.method)

        await make_events(store).replay_events_after(remembered.event_id, receive)
        registered = await server.auth.get_client(remembered.client_id)
    print(f"second server: notes {notes}, {letters} letters, counted {count_runs(work)} time")
    print(f"second server: missed events {missed}, knows the client {registered.client_name!r}")


def count_runs(work: Path) -> int:
    return len(work.read_text().splitlines())


async def main(url: str, directory: Path) -> None:
    key, work = secrets.token_bytes(32), directory / "work"
    remembered = await first_run(url, key, work)
    await second_run(url, key, work, remembered)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"disk://{made}/store", Path(made)))
