"""Reclaiming: what expired and what was deleted goes, what is fresh never does."""

import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from obstore.store import MemoryStore, S3Store

from satchel.stores.objectstore import ObjectStore
from satchel.testing import FakeClock
from tests.patience import until
from tests.servers import server_url

pytestmark = pytest.mark.server("s3")

GRACE = 300


def raw_client() -> S3Store:
    parts = urlsplit(server_url("s3"))
    return S3Store(parts.netloc, client_options={"allow_http": True}, **dict(parse_qsl(parts.query)))


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"reclaim-{abs(hash(tmp_path)):x}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_800_000_000.0)


async def sizes(client: S3Store | MemoryStore, prefix: str) -> dict[str, int]:
    return {meta["path"].rpartition("/")[2]: meta["size"] for meta in await client.list(prefix).collect_async()}


async def test_what_expired_goes_at_once_and_what_was_deleted_after_a_grace(clock: FakeClock, prefix: str) -> None:
    client = raw_client()
    async with ObjectStore(client=client, prefix=prefix, clock=clock) as store:
        await store.put_many("c", {"expires": 1, "lasts": 2}, ttl=5)
        await store.put_many("c", {"deleted": 3, "stays": 4})
        await store.touch("c", "lasts", ttl=5000)
        assert await store.delete("c", "deleted") is True
        clock.advance(6)
        assert await store.cull() == 1
        assert set(await sizes(client, prefix)) == {"lasts", "deleted", "stays"}
        clock.advance(GRACE)
        assert await store.cull() == 0
        assert set(await sizes(client, prefix)) == {"lasts", "stays"}
        assert await store.get_many("c", ["expires", "lasts", "deleted", "stays"]) == {"lasts": 2, "stays": 4}
        assert await store.destroy() is True
        assert await sizes(client, prefix) == {}


async def test_what_is_put_between_the_look_and_the_removal_stays(clock: FakeClock, prefix: str) -> None:
    async with (
        ObjectStore(client=raw_client(), prefix=prefix, clock=clock) as store,
        ObjectStore(client=raw_client(), prefix=prefix, clock=clock) as other,
    ):
        await store.put_many("c", {"expired": 1, "same": 1, "touched": 1}, ttl=5)
        await store.put("c", "deleted", 1)
        await store.delete("c", "deleted")
        heads = await store._bucket.heads([f"{prefix}/c/{key}" for key in ("expired", "deleted", "same", "touched")])
        await other.put("c", "expired", "fresh")
        await other.put("c", "deleted", "fresh")
        await other.touch("c", "touched", ttl=5000)
        clock.advance(6 + GRACE)
        assert await store._sweep._reclaim(heads, clock()) == 1
        assert await store.get_many("c", ["expired", "deleted", "same", "touched"]) == {
            "expired": "fresh",
            "deleted": "fresh",
            "touched": 1,
        }
        await store.destroy()


async def test_without_conditional_deletion_a_tombstone_takes_the_place(clock: FakeClock) -> None:
    client = MemoryStore()
    async with ObjectStore(client=client, prefix="p", clock=clock) as store:
        await store.put("c", "expires", "x" * 1000, ttl=5)
        await store.put("c", "stays", "x" * 1000)
        clock.advance(6)
        assert await store.cull() == 1
        clock.advance(GRACE + 1)
        assert await store.cull() == 0
        found = await sizes(client, "p")
        assert set(found) == {"expires", "stays"}
        assert found["expires"] == 46
        assert await store.put_if_absent("c", "expires", "again") is not None


async def test_tombstones_are_looked_at_when_they_can_go(prefix: str) -> None:
    client, ahead = raw_client(), 0.0
    async with ObjectStore(client=client, prefix=prefix, clock=lambda: time.time() + ahead) as store:
        await store.put("c", "expires", 1, ttl=500)
        await store.put_many("c", {str(number): number for number in range(20)})
        await store.delete_many("c", map(str, range(20)))
        looked: list[str] = []
        look = store._bucket.read_header

        async def counting(path: str) -> object:
            looked.append(path)
            return await look(path)

        store._bucket.read_header = counting
        assert await store._cull(store.clock()) == 0
        assert looked == [f"{prefix}/c/expires"]
        ahead = 520.0 + GRACE
        assert await store._cull(store.clock()) == 1
        assert await sizes(client, prefix) == {}


async def test_writing_with_deadlines_and_deleting_reclaim_by_themselves(clock: FakeClock, prefix: str) -> None:
    client = raw_client()
    async with ObjectStore(client=client, prefix=prefix, clock=clock) as store:
        await store.put_many("c", {f"expires {number}": 1 for number in range(30)}, ttl=5)
        await store.put_many("c", {f"deleted {number}": 1 for number in range(30)})
        assert await store.delete_many("c", [f"deleted {number}" for number in range(29)]) == 29
        clock.advance(6 + GRACE)
        await store.delete("c", "deleted 29")

        async def one_is_left() -> bool:
            return set(await sizes(client, prefix)) == {"deleted%2029"}

        await until(one_is_left)
        await store.destroy()
