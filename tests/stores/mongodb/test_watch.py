"""Changes that MongoDB reports: a change stream, here of an emulator."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import bson
import pytest
from blockbuster import BlockBuster

from satchel import Capability, Change, UnsupportedOperationError
from satchel.stores.mongodb import MongoDBStore
from satchel.testing import FakeClock, WatchConformance
from satchel.wrappers import NearCacheWrapper
from tests.proxy import FaultyProxy
from tests.servers import server_url
from tests.stores.mongodb.places import StoreOverMotor, detector_for_pymongo
from tests.stores.watched import follows, next_change, reported, seen_until

pytestmark = [pytest.mark.server("mongodb"), pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def blocking_detector() -> Iterator[BlockBuster]:
    with detector_for_pymongo() as detector:
        yield detector


@pytest.mark.long
class TestEmulatedMongoDB(WatchConformance):
    persistent = True
    reports_expiry = False

    @pytest.fixture(autouse=True)
    def blocking_detector(self) -> Iterator[BlockBuster]:
        with detector_for_pymongo() as detector:
            yield detector

    def make_store(self, clock: FakeClock, place: Path) -> MongoDBStore:
        return MongoDBStore(url=server_url("mongodb"), coll_name=place.name, clock=clock)


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[MongoDBStore]:
    async with MongoDBStore(url=server_url("mongodb"), coll_name=tmp_path.name) as made:
        yield made
        await made.destroy()


@pytest.mark.parametrize("kind", [MongoDBStore, StoreOverMotor])
async def test_emulated_every_change_by_anybody_is_reported(
    kind: type[MongoDBStore], other: MongoDBStore, tmp_path: Path
) -> None:
    async with kind(server_url("mongodb"), coll_name=tmp_path.name) as store, store.watch("c") as changes:
        assert await next_change(changes) == Change("ready", "c")
        for change in (
            other.put("c", "k", 1),
            other.put("c", "k", 2),
            other.touch("c", "k", ttl=60),
            other.delete("c", "k"),
            other.put_if_absent("c", "k", 3),
            other.put_many("c", {"k": 4}),
            other.delete_many("c", ["k"]),
        ):
            await change
            assert await reported(changes, other) == {"k"}
        await other.put("c/d", "a/b", 1)
        async with store.watch("c/d", prefix="a/") as others:
            await seen_until(others, "ready")
            await other.put("c/d", "a/b", 2)
            assert await next_change(others) == Change("changed", "c/d", "a/b")
        assert await reported(changes, other) == set()
        await other.destroy_collection("c")
        assert {change.key for change in await seen_until(changes, "changed")} == {"the last one"}


async def test_emulated_a_collection_that_is_dropped_is_reported_as_lost(other: MongoDBStore) -> None:
    async with other.watch("c") as changes:
        await seen_until(changes, "ready")
        await other.put("c", "k", 1)
        await seen_until(changes, "changed", "k")
        await other._collection.drop()
        assert Change("lost", "c") in await seen_until(changes, "ready")
        await other.put("c", "k", 1)
        await seen_until(changes, "changed", "k")


async def test_emulated_a_connection_that_is_cut_misses_nothing(other: MongoDBStore, tmp_path: Path) -> None:
    async with FaultyProxy(int(server_url("mongodb").rpartition(":")[2])) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        async with MongoDBStore(url=url, coll_name=tmp_path.name) as store, store.watch("c") as changes:
            await seen_until(changes, "ready")
            for number in range(3):
                proxy.cut()
                await other.put("c", f"k{number}", 1)
                # Where the driver does not go on, there is a loss, after which the change may still come.
                told = {Change("ready", "c"), Change("changed", "c", f"k{number}")}
                while (seen := await next_change(changes)) not in told:
                    assert seen.kind == "lost" or seen.key in {f"k{earlier}" for earlier in range(number)}


async def test_emulated_a_near_cache_over_it_follows(other: MongoDBStore, tmp_path: Path) -> None:
    async with NearCacheWrapper(MongoDBStore(url=server_url("mongodb"), coll_name=tmp_path.name)) as near:
        await follows(near, other)


@asynccontextmanager
async def standing_alone() -> AsyncIterator[int]:
    """Give the port of a server that passes all on to the emulator, but refuses change streams as MongoDB does."""
    refusal = {
        "ok": 0.0,
        "errmsg": "The $changeStream stage is only supported on replica sets",
        "code": 40573,
        "codeName": "Location40573",
    }

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await asyncio.open_connection("127.0.0.1", int(server_url("mongodb").rpartition(":")[2]))
        try:
            while True:
                message = await whole(reader)
                if b"$changeStream" in message:
                    request = struct.unpack_from("<i", message, 4)[0]
                    body = struct.pack("<ib", 0, 0) + bson.encode(refusal)
                    writer.write(struct.pack("<iiii", 16 + len(body), 1, request, 2013) + body)
                else:
                    to_behind.write(message)
                    writer.write(await whole(behind))
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # one end has gone
        finally:
            writer.transport.abort()
            to_behind.transport.abort()

    async def whole(reader: asyncio.StreamReader) -> bytes:
        head = await reader.readexactly(4)
        return head + await reader.readexactly(struct.unpack("<i", head)[0] - 4)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_emulated_a_server_that_stands_alone_cannot_be_watched(tmp_path: Path) -> None:
    async with standing_alone() as port:
        url = f"mongodb://127.0.0.1:{port}/?directConnection=true&serverMonitoringMode=poll"
        async with MongoDBStore(url=url, coll_name=tmp_path.name) as store:
            assert Capability.WATCH in store.capabilities  # nobody has asked yet
            with pytest.raises(UnsupportedOperationError, match="replica set"):
                async with store.watch("c"):
                    pass
            assert Capability.WATCH not in store.capabilities
            await store.put("c", "k", 1)
            assert await store.get("c", "k") == 1
            await store.destroy()
