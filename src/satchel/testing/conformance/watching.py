"""Conformance suite of watching: promises of `Capability.WATCH`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from ...change import Change
from ...errors import InvalidKeyError, StoreClosedError
from ..clock import FakeClock
from .suite import NewStore, Suite

Pair = tuple[Any, Any]

_PATIENCE = 20
_HOSTILE = ("k:k", ":k", "%", "%3a", "*", "[k]?", " k ", "\u00e9", "e\u0301", "K", "k\n", "../k", "k/", "k" * 300)
_COLLECTIONS = ("c", "c:", "c:d", "C", "cc", "c/d", "\u00e9", "%63")


class WatchConformance(Suite):
    """Suite for a store with `Capability.WATCH`, `ENUMERATE_KEYS`, `DESTROY_COLLECTION` and `CONDITIONAL`.

    A subclass says how to make a store, as for `StoreConformance`.

    Attributes:
        reports_expiry: An entry that expires is reported, some time after its deadline.
    """

    reports_expiry: ClassVar[bool] = True

    @pytest_asyncio.fixture
    async def pair(self, new_store: NewStore) -> Pair:
        """Return a store that watches and one that writes: two over the same place; one twice if it keeps to itself."""
        watching = new_store()
        return watching, new_store() if self.persistent else watching

    async def test_ready_comes_first_and_what_is_written_after_it_is_reported(self, pair: Pair) -> None:
        watching, writing = pair
        await writing.put("c", "before", 1)
        async with watching.watch("c") as changes:
            assert await _next(changes) == Change("ready", "c")
            await writing.put("c", "k", 1)
            await watching.put("c", "own", 1)
            assert await _heard(changes, {"k", "own"}) <= {"k", "own"}

    async def test_every_change_is_reported(self, pair: Pair) -> None:
        watching, writing = pair
        async with watching.watch("c") as changes:
            await _ready(changes)
            await writing.put("c", "k", 1)
            await _heard(changes, {"k"})
            await writing.put("c", "k", 1)
            await _heard(changes, {"k"})
            assert await writing.touch("c", "k", ttl=1000)
            await _heard(changes, {"k"})
            version = await writing.put_if_absent("c", "k2", 1)
            await _heard(changes, {"k2"})
            version = await writing.compare_and_put("c", "k2", 2, version=version)
            await _heard(changes, {"k2"})
            assert await writing.compare_and_delete("c", "k2", version=version)
            await _heard(changes, {"k2"})
            await writing.put_many("c", {f"k{number}": number for number in range(20)})
            await _heard(changes, {f"k{number}" for number in range(20)})
            await writing.delete_many("c", ["k1", "k3"])
            await _heard(changes, {"k1", "k3"})
            await writing.delete("c", "k")
            await _heard(changes, {"k"})

    async def test_what_a_destroyed_collection_held_is_reported_or_lost(self, pair: Pair) -> None:
        watching, writing = pair
        await writing.put("c", "k", 1)
        async with watching.watch("c") as changes:
            await _ready(changes)
            await writing.destroy_collection("c")
            assert await _next(changes) in (Change("changed", "c", "k"), Change("lost", "c"))

    async def test_a_prefix_is_one_of_text(self, pair: Pair) -> None:
        watching, writing = pair
        prefixes = {
            "a": {"a", "a/", "a/b", "a_"},
            "a/": {"a/", "a/b"},
            "a/b": {"a/b"},
            "a_": {"a_"},
            "%": {"%"},
            "*": {"*"},
            "": {"a", "a/", "a/b", "a_", "A/b", "%", "*"},
        }
        async with AsyncExitStack() as stack:
            watched = {
                prefix: await stack.enter_async_context(watching.watch("c", prefix=prefix)) for prefix in prefixes
            }
            for changes in watched.values():
                await _ready(changes)
            await writing.put_many("c", dict.fromkeys(prefixes[""], 1))
            for prefix, changes in watched.items():
                assert await _heard(changes, prefixes[prefix]) <= prefixes[prefix]

    async def test_collections_are_watched_apart_and_names_come_back_as_they_are(self, pair: Pair) -> None:
        watching, writing = pair
        async with AsyncExitStack() as stack:
            watched = {name: await stack.enter_async_context(watching.watch(name)) for name in _COLLECTIONS}
            for collection, changes in watched.items():
                assert await _next(changes) == Change("ready", collection)
            expected = {name: {f"only {number}", *_HOSTILE} for number, name in enumerate(_COLLECTIONS)}
            for collection, keys in expected.items():
                await writing.put_many(collection, dict.fromkeys(keys, 1))
            for collection, changes in watched.items():
                assert await _heard(changes, expected[collection]) <= expected[collection]

    async def test_what_is_listed_after_ready_and_what_is_reported_miss_nothing(self, pair: Pair) -> None:
        watching, writing = pair
        written: list[str] = []

        async def write() -> None:
            for number in range(60):
                await writing.put("c", f"k{number}", 1)
                written.append(f"k{number}")

        task = asyncio.ensure_future(write())
        await asyncio.sleep(0)
        async with watching.watch("c") as changes:
            await _ready(changes)
            listed = {key async for key in watching.keys("c")}
            await task
            assert await _heard(changes, set(written) - listed) <= set(written)

    async def test_of_a_key_that_changes_often_the_last_change_is_reported(self, pair: Pair) -> None:
        watching, writing = pair
        async with watching.watch("c") as changes:
            await _ready(changes)
            for number in range(200):
                await writing.put("c", "k", number)
            while (await _next(changes)) != Change("changed", "c", "k") or await watching.get("c", "k") != 199:
                pass

    async def test_expiry_is_reported(self, pair: Pair, clock: FakeClock) -> None:
        if not self.reports_expiry:
            return
        watching, writing = pair
        async with watching.watch("c") as changes:
            await _ready(changes)
            await writing.put("c", "k", 1, ttl=0.2)
            await _heard(changes, {"k"})
            clock.advance(1)
            await _heard(changes, {"k"})
            assert await watching.get("c", "k") is None

    async def test_watchers_come_and_go_without_disturbing_others(self, pair: Pair) -> None:
        watching, writing = pair
        tasks = asyncio.all_tasks()
        async with watching.watch("c") as changes:
            await _ready(changes)
            async with watching.watch("c", prefix="a") as second, watching.watch("d") as third:
                await _ready(second)
                await _ready(third)
            await writing.put("c", "k", 1)
            await _heard(changes, {"k"})
        async with watching.watch("c") as changes:
            await _ready(changes)
            await writing.put("c", "k2", 1)
            assert await _heard(changes, {"k2"}) == {"k2"}
        assert {task for task in asyncio.all_tasks() - tasks if "watch" in repr(task.get_coro()).lower()} == set()

    async def test_a_cancelled_watcher_leaves_nothing_behind(self, pair: Pair) -> None:
        watching, _ = pair

        async def follow(started: asyncio.Event) -> None:
            async with watching.watch("c") as changes:
                await _ready(changes)
                started.set()
                async for _ in changes:
                    pass

        tasks = asyncio.all_tasks()
        started = asyncio.Event()
        following = asyncio.ensure_future(follow(started))
        await asyncio.wait_for(started.wait(), _PATIENCE)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        assert {task for task in asyncio.all_tasks() - tasks if "watch" in repr(task.get_coro()).lower()} == set()

    async def test_a_wait_that_was_given_up_is_taken_up_again(self, pair: Pair) -> None:
        watching, writing = pair
        async with watching.watch("c") as changes:
            await _ready(changes)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 0.01)
            await writing.put("c", "k", 1)
            assert await _heard(changes, {"k"}) == {"k"}

    async def test_closing_the_store_ends_the_iteration_with_an_error(self, pair: Pair) -> None:
        watching, _ = pair
        async with watching.watch("c") as changes:
            await _ready(changes)
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)
            await watching.aclose()
            with pytest.raises(StoreClosedError):
                await asyncio.wait_for(waiting, _PATIENCE)
        with pytest.raises(StoreClosedError):
            async with watching.watch("c"):
                pytest.fail("the store is closed")

    async def test_wrong_names_are_refused_at_the_call(self, pair: Pair) -> None:
        for collection, prefix in (("", ""), (None, ""), ("c", 1), ("c", "\ud800"), ("c" * 5000, "")):
            with pytest.raises(InvalidKeyError):
                pair[0].watch(collection, prefix=prefix)

    async def test_a_collection_is_watched_by_its_object(self, pair: Pair) -> None:
        watching, writing = pair
        async with watching.collection("c").watch(prefix="a/") as changes:
            await _ready(changes)
            await writing.put_many("c", {"a/1": 1, "b": 1})
            assert await _heard(changes, {"a/1"}) == {"a/1"}


async def _next(changes: AsyncIterator[Change]) -> Change:
    return await asyncio.wait_for(anext(changes), _PATIENCE)


async def _ready(changes: AsyncIterator[Change]) -> None:
    assert (await _next(changes)).kind == "ready"


async def _heard(changes: AsyncIterator[Change], keys: Iterable[str]) -> set[str]:
    """Take changes until all these keys were reported; return those that were."""
    waiting, heard = set(keys), set[str]()
    while waiting:
        change = await _next(changes)
        assert change.kind == "changed", f"got {change.kind}, while {len(waiting)} keys were still to be reported"
        heard.add(str(change.key))
        waiting.discard(str(change.key))
    return heard
