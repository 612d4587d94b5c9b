"""Large values come back as they were put, and go in pieces, so that nothing else has to wait for all of one."""

import asyncio
import itertools
import os
import threading
from pathlib import Path
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore as MemoryBucket
from redis.asyncio import Redis

from satchel import BaseStore, IntegrityError
from satchel.stores._redislike.large import LargeReplies, Pieces
from satchel.stores.disk import DiskStore
from satchel.stores.filetree import FileTreeStore
from satchel.stores.objectstore import ObjectStore, bucket
from satchel.stores.redis import RedisStore
from satchel.stores.valkey import ValkeyStore
from tests.servers import server_url

pytestmark = pytest.mark.long

SIZES = [64 * 1024, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 5_000_000, 64 * 1024 * 1024]


def some_bytes(size: int) -> bytes:
    return (os.urandom(65_521) * (size // 65_521 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [DiskStore, FileTreeStore])
async def test_bytes_of_any_size_come_back_exactly(kind: Any, size: int, tmp_path: Path) -> None:
    async with kind(tmp_path) as store:
        await round_trip(store, size)


@pytest.mark.parametrize("size", SIZES)
async def test_bytes_of_any_size_come_back_exactly_from_a_bucket(size: int) -> None:
    async with ObjectStore(client=MemoryBucket()) as store:
        await round_trip(store, size)


async def test_a_large_object_is_copied_in_worker_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    value, copies = some_bytes(5_000_000), list[Any]()
    works = {name: getattr(bucket, name) for name in ("pack", "unpack", "unpack_pieces")}
    for name, function in works.items():

        def noted(content: Any, *rest: Any, work: Any = function, **named: Any) -> Any:
            copies.append((threading.current_thread(), content))
            return work(content, *rest, **named)

        monkeypatch.setattr(bucket, name, noted)
    async with ObjectStore(client=MemoryBucket()) as store:
        await store.put("c", "k", value)
        assert await store.get("c", "k") == value
        assert await store.touch("c", "k", ttl=60)
        version = (await store.get_entry("c", "k") or pytest.fail("it has gone")).version
        assert await store.compare_and_put("c", "k", value[::-1], version=version)
    assert len(copies) >= 6
    for thread, content in copies:
        payload = getattr(content, "payload", content)
        assert len(payload) < 1_000_000 or thread is not threading.main_thread()


REDIS_LIKE = [
    pytest.param(kind, server, marks=pytest.mark.server(server))
    for kind, server in ((RedisStore, "redis"), (RedisStore, "redis-cluster"), (ValkeyStore, "valkey"))
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "server"), REDIS_LIKE)
async def test_bytes_of_any_size_come_back_exactly_from_a_server(
    kind: Any, server: str, size: int, tmp_path: Path
) -> None:
    async with kind(server_url(server), prefix=tmp_path.name, timeout=60) as store:
        await round_trip(store, size)
        await store.destroy()


@pytest.mark.server("redis")
async def test_a_client_of_ones_own_gets_its_large_replies_whole(tmp_path: Path) -> None:
    async with (
        Redis.from_url(server_url("redis"), protocol=2, driver_info=None) as client,
        RedisStore(client=client, prefix=tmp_path.name) as store,
    ):
        value = some_bytes(3_000_000)
        await store.put("c", "k", value)
        assert await store.get("c", "k") == value
        assert (await client.get(f"{tmp_path.name}:c:k"))[-3_000_000:] == value
        await client.append(f"{tmp_path.name}:c:k", b"more")
        with pytest.raises(IntegrityError):
            await store.get("c", "k")
        await client.set(f"{tmp_path.name}:c:k", value)
        with pytest.raises(IntegrityError, match="something else wrote it"):
            await store.get("c", "k")
        assert await store.delete("c", "k")


@pytest.mark.server("redis")
async def test_a_large_value_is_sent_and_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, fed = [], []
    write, read = asyncio.StreamWriter.writelines, asyncio.StreamReader.read

    async def noted(reader: asyncio.StreamReader, size: int = -1) -> bytes:
        fed.append(len(data := await read(reader, size)))
        return data

    monkeypatch.setattr(
        asyncio.StreamWriter, "writelines", lambda self, data: (sent.append(sum(map(len, data))), write(self, data))
    )
    monkeypatch.setattr(asyncio.StreamReader, "read", noted)
    async with RedisStore(server_url("redis"), prefix=tmp_path.name) as store:
        await store.put("c", "k", some_bytes(10_000_000))
        await store.get("c", "k")
        assert sum(sent) > 10_000_000
        assert sum(fed) > 10_000_000
        assert max(sent + fed) <= 256 * 1024
        await store.destroy()


def reply(value: Any) -> bytes:
    match value:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % value
        case str():
            return b"+%s\r\n" % value.encode()
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case _:
            return b"*%d\r\n%s" % (len(value), b"".join(map(reply, value)))


LARGE_STRING = b"$7\r\n\r\n*" * 150_000


@given(
    st.lists(
        st.recursive(
            st.none() | st.integers(0, 99) | st.just("OK") | st.binary(max_size=60) | st.just(LARGE_STRING),
            lambda inner: st.lists(inner, max_size=4),
            max_leaves=8,
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(1, 80), min_size=1, max_size=30),
)
async def test_replies_are_the_same_wherever_they_are_cut(replies: list[Any], cuts: list[int]) -> None:
    wire = b"".join(map(reply, replies))
    stream = asyncio.StreamReader()
    large = LargeReplies(stream)
    reader, found, at = hiredis.Reader(), [], 0
    lengths = itertools.chain(cuts, itertools.repeat(300_000))
    while at < len(wire):
        length = next(lengths)
        stream.feed_data(wire[at : at + length])
        at += length
        if at >= len(wire):
            stream.feed_eof()
        while stream._buffer:  # type: ignore[attr-defined]  # what was fed
            reading = asyncio.ensure_future(large.read(65_536))
            await asyncio.sleep(0)
            if not reading.done():  # it waits for more
                reading.cancel()
                break
            reader.feed(reading.result())
    while (answer := reader.gets(False)) is not False:
        found.append(answer)
    assert whole(large.restored(found)) == whole(replies)


def whole(replies: Any) -> Any:
    """Return replies with the large ones in one piece, and texts as bytes."""
    if isinstance(replies, Pieces):
        return b"".join(replies)
    if isinstance(replies, str):
        return replies.encode()
    return list(map(whole, replies)) if isinstance(replies, list) else replies


async def round_trip(store: BaseStore, size: int) -> None:
    """Put and get values of a size, in all the ways."""
    value = some_bytes(size)
    other = value[::-1]
    await store.put("c", "k", value)
    assert await store.get("c", "k") == value
    await store.put("c", "small", 1)
    assert await store.get_many("c", ["k", "small", "missing"]) == {"k": value, "small": 1}
    assert await store.put_if_absent("c", "k", b"") is None
    version = await store.put_if_absent("c", "new", other)
    assert version is not None
    assert await store.touch("c", "new", ttl=60)
    assert await store.compare_and_put("c", "new", value, version=version)
    both = await asyncio.gather(store.get("c", "k"), store.get("c", "new"), store.get("c", "small"))
    assert both == [value, value, 1]
    assert await store.delete_many("c", ["k", "new"]) == 2
    assert await store.get("c", "k") is None


async def test_a_large_value_that_is_replaced_while_it_is_read_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    values = [some_bytes(2_000_000), some_bytes(3_000_000)]
    async with DiskStore(tmp_path) as writer, DiskStore(tmp_path) as reader:
        await writer.put("c", "k", values[0])

        async def write() -> None:
            for number in range(20):
                await writer.put("c", "k", values[number % 2])

        writing = asyncio.create_task(write())
        while not writing.done():
            assert await reader.get("c", "k") in values
        await writing
