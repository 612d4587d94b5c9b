"""Watching a bucket of NATS: what the server reports, what it removes by itself, and a connection that is lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import nats
import pytest

from satchel import Capability, Change, Clock, UnsupportedOperationError
from satchel.stores.nats import NATSStore, bucket
from satchel.testing import WatchConformance
from tests.proxy import FaultyProxy
from tests.servers import server_url

pytestmark = pytest.mark.server("nats")


class TestNATS(WatchConformance):
    persistent = True

    @pytest.fixture(autouse=True)
    def short_grace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bucket, "GRACE", 1)  # or an entry that expired would be reported a minute later

    def make_store(self, clock: Clock, place: Path) -> NATSStore:
        return NATSStore(server_url("nats"), bucket=place.name, clock=clock)


async def taken(changes: AsyncIterator[Change]) -> Change:
    return await asyncio.wait_for(anext(changes), 50)


async def test_a_lost_connection_is_told_and_watching_goes_on(tmp_path: Path) -> None:
    async with (
        FaultyProxy(urlsplit(server_url("nats")).port or 0) as proxy,
        NATSStore(f"nats://127.0.0.1:{proxy.port}/{tmp_path.name}") as store,
        NATSStore(server_url("nats"), bucket=tmp_path.name) as other,
        store.watch("c") as changes,
    ):
        assert (await taken(changes)).kind == "ready"
        proxy.cut()
        assert (await taken(changes)).kind == "lost"
        assert (await taken(changes)).kind == "ready"
        await other.put("c", "k", 1)
        assert await taken(changes) == Change("changed", "c", "k")


async def test_a_server_that_falls_silent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "_HEARTBEAT", 0.2)
    monkeypatch.setattr(bucket, "_SILENCE", 2.0)
    async with (
        FaultyProxy(urlsplit(server_url("nats")).port or 0) as proxy,
        NATSStore(f"nats://127.0.0.1:{proxy.port}/{tmp_path.name}") as store,
        store.watch("c") as changes,
    ):
        assert (await taken(changes)).kind == "ready"
        await asyncio.sleep(2.5)  # signs of life keep it
        await store.put("c", "k", 1)
        assert await taken(changes) == Change("changed", "c", "k")
        proxy.silent = True
        assert (await taken(changes)).kind == "lost"
        proxy.silent = False
        proxy.cut()
        assert (await taken(changes)).kind == "ready"


async def test_names_that_are_hashed_are_told_as_they_are_and_lost_where_they_cannot(tmp_path: Path) -> None:
    async with NATSStore(server_url("nats"), bucket=tmp_path.name) as store:
        long = "é" * 2000
        async with store.watch(long) as changes:
            assert (await taken(changes)).kind == "ready"
            await store.put(long, long, 1)
            assert await taken(changes) == Change("changed", long, long)
            await store.delete(long, long)
            assert await taken(changes) == Change("changed", long, long)
            await store.destroy_collection(long)
            assert await taken(changes) == Change("lost", long)
            assert (await taken(changes)).kind == "ready"
            await store.destroy()
            assert await taken(changes) == Change("lost", long)


async def test_what_other_programs_remove_is_told(tmp_path: Path) -> None:
    client = await nats.connect(server_url("nats"))
    async with NATSStore(client=client, bucket=tmp_path.name) as store:
        await store.put("users", "ada", 1)
        async with store.watch("users") as changes:
            assert (await taken(changes)).kind == "ready"
            await (await client.jetstream().key_value(tmp_path.name)).delete("users.ada")
            assert await taken(changes) == Change("changed", "users", "ada")
    await client.close()


async def test_the_server_keeps_nothing_of_a_watcher_that_left(tmp_path: Path) -> None:
    client = await nats.connect(server_url("nats"))
    async with NATSStore(client=client, bucket=tmp_path.name) as store:
        async with store.watch("users") as changes:
            assert (await taken(changes)).kind == "ready"
            assert (await client.jetstream().stream_info(f"KV_{tmp_path.name}")).state.consumer_count == 1
        await client.flush()
        assert (await client.jetstream().stream_info(f"KV_{tmp_path.name}")).state.consumer_count == 0
    await client.close()


async def test_a_bucket_whose_deletions_leave_no_mark_is_refused(tmp_path: Path) -> None:
    client = await nats.connect(server_url("nats"))
    settings = {"name": f"KV_{tmp_path.name}", "subjects": [f"$KV.{tmp_path.name}.>"], "max_msgs_per_subject": 1}
    await client.request(f"$JS.API.STREAM.CREATE.{settings['name']}", json.dumps(settings).encode())
    async with NATSStore(client=client, bucket=tmp_path.name) as store:
        with pytest.raises(UnsupportedOperationError, match="watch"):
            async with store.watch("users"):
                pytest.fail("it is not watched")
        assert Capability.WATCH not in store.capabilities
    await client.close()
