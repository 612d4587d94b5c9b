"""Changes that the server reports, over connections that break."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from satchel import MemoryStore, StoreError
from satchel.server import Token
from satchel.stores.http import HTTPStore
from tests.proxy import FaultyProxy

TOKEN = "a-token-that-nobody-guesses"


async def seen(changes, count):
    return [(change.kind, change.key) for change in [await anext(changes) for _ in range(count)]]


async def test_changes_of_anybody_are_reported(serving):
    inner = MemoryStore()
    url = serving.mount("watched", lambda: inner)
    async with (
        HTTPStore(url) as store,
        HTTPStore(url) as other,
        store.watch("a/b", prefix="k") as some,
        store.watch("c") as more,
    ):
        assert await seen(some, 1) == await seen(more, 1) == [("ready", None)]
        await other.put("a/b", "elsewhere", 1)
        await other.put("a/b", "k\n1", 1)
        await store.put("c", "own", 1)
        assert await seen(some, 1) == [("changed", "k\n1")]
        assert await seen(more, 1) == [("changed", "own")]
        await other.delete("a/b", "k\n1")
        assert await seen(some, 1) == [("changed", "k\n1")]
        async with store.watch("later") as later:
            assert await seen(later, 1) == [("ready", None)]
            await other.put("later", "k", 1)
            assert await seen(later, 1) == [("changed", "k")]


async def test_a_connection_that_breaks_is_told_and_restored(serving):
    url = serving.mount("breaking", MemoryStore)
    async with (
        FaultyProxy(serving.port) as proxy,
        HTTPStore(url) as writer,
        HTTPStore(url.replace(str(serving.port), str(proxy.port))) as store,
        store.watch("c") as changes,
    ):
        assert await seen(changes, 1) == [("ready", None)]
        for number in range(3):
            proxy.cut()
            assert await seen(changes, 2) == [("lost", None), ("ready", None)]
            await writer.put("c", str(number), number)
            assert await seen(changes, 1) == [("changed", str(number))]


async def test_the_connection_ends_with_the_last_watcher(serving):
    async with FaultyProxy(serving.port) as proxy:
        url = serving.mount("leaving", MemoryStore).replace(str(serving.port), str(proxy.port))
        async with HTTPStore(url) as store:
            await store.ping()
            for _ in range(5):
                async with store.watch("c") as changes:
                    assert await seen(changes, 1) == [("ready", None)]
                    assert len(proxy._writers) <= 4
            await store.put("c", "k", 1)
            while len(proxy._writers) > 2:  # noqa: ASYNC110  # two ends of the one connection that is kept
                await asyncio.sleep(0.01)


async def test_who_may_not_watch_is_told_so(serving):
    tokens = [Token(TOKEN, prefix="mine")]
    async with HTTPStore(serving.mount("guarded", MemoryStore, tokens=tokens), token=TOKEN) as store:
        with pytest.raises(StoreError, match="begin with 'mine'"):
            async with store.watch("theirs"):
                pass
        async with store.watch("mine") as changes:
            assert await seen(changes, 1) == [("ready", None)]


async def test_many_watchers_leave_connections_to_other_calls(serving):
    async with HTTPStore(serving.mount("many", MemoryStore)) as store, AsyncExitStack() as stack:
        for number in range(40):
            await stack.enter_async_context(store.watch(f"c{number}"))
        await store.put("c0", "k", 1)
        assert await store.get("c0", "k") == 1
