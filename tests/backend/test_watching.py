"""What the base makes of a hook that reports changes."""

import asyncio
import threading
import tracemalloc
from contextlib import AsyncExitStack

import pytest

from satchel import Change, MemoryStore, StoreClosedError, StoreTimeoutError, StoreUnavailableError
from satchel.backend.watching import MAX_WAITING
from tests.patience import until
from tests.stores.watched import taken


class Scripted(MemoryStore):
    """Store whose hook does what a test says."""

    def __init__(self, *scripts, **options):
        super().__init__(**options)
        self.scripts = list(scripts)
        self.feed = None
        self.runs = self.released = 0

    async def _watch(self, feed):
        self.runs += 1
        self.feed = feed
        try:
            await self.scripts.pop(0)(feed)
        finally:
            await asyncio.sleep(0)
            self.released += 1


async def ready(feed):
    feed.ready()
    await asyncio.Event().wait()


async def broken(feed):
    raise ConnectionError("secret")


async def silent(feed):
    await asyncio.Event().wait()


def breaking():
    """Return a script that is ready until an event is set, and the event."""
    event = asyncio.Event()

    async def script(feed):
        feed.ready()
        await event.wait()
        raise ConnectionError("secret")

    return script, event


def changed(key, collection="c"):
    return Change("changed", collection, key)


LOST, READY = Change("lost", "c"), Change("ready", "c")


async def runs(store, count):
    await until(lambda: store.runs >= count)


async def nothing_comes(changes):
    task = asyncio.ensure_future(anext(changes))
    done, _ = await asyncio.wait([task], timeout=0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return not done


async def test_keys_are_reported_once_by_collection_and_prefix():
    store = Scripted(ready)
    async with store.watch("c") as every, store.watch("c", prefix="a/") as some, store.watch("d") as others:
        for key in ("a/1", "b", "a/1", "a", "A/1", "a/"):
            store.feed.changed("c", key)
        assert await taken(every, 6) == [READY, *map(changed, ["a/1", "b", "a", "A/1", "a/"])]
        assert await taken(some, 3) == [READY, changed("a/1"), changed("a/")]
        assert await taken(others, 1) == [Change("ready", "d")]
        assert await nothing_comes(others)
        store.feed.changed("c", "b")
        assert await taken(every, 1) == [changed("b")]
    assert (store.runs, store.released) == (1, 1)


async def test_the_first_failure_is_raised_and_leaves_nothing_running():
    store = Scripted(broken, ready)
    with pytest.raises(StoreUnavailableError, match=r"cannot be reached \(watch: ConnectionError\)") as caught:
        async with store.watch("c"):
            pytest.fail("there was no connection")
    assert (caught.value.operation, "secret" in str(caught.value)) == ("watch", False)
    assert store.released == 1
    async with store.watch("c") as changes:
        assert await taken(changes, 1) == [READY]


async def test_one_that_joins_before_anything_was_heard_gets_the_failure_too():
    store = Scripted(broken, broken)

    async def begin():
        async with store.watch("c"):
            pytest.fail("there was no connection")

    first = asyncio.ensure_future(begin())
    await runs(store, 1)
    outcomes = await asyncio.wait_for(asyncio.gather(first, begin(), return_exceptions=True), 50)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 2


async def test_a_broken_connection_is_lost_then_ready_however_much_waited():
    script, broke = breaking()
    store = Scripted(script, broken, ready)
    async with store.watch("c") as changes:
        store.feed.changed("c", "k")
        broke.set()
        await runs(store, 3)
        store.feed.changed("c", "k2")
        assert await taken(changes, 2) == [LOST, READY]
        store.feed.changed("c", "k3")
        assert await taken(changes, 1) == [changed("k3")]


async def test_one_that_begins_while_the_connection_is_restored_waits_for_ready_in_the_iteration():
    script, broke = breaking()
    again = asyncio.Event()

    async def later(feed):
        await again.wait()
        await ready(feed)

    store = Scripted(script, later)
    async with store.watch("c") as first:
        broke.set()
        assert await taken(first, 2) == [READY, LOST]
        await runs(store, 2)
        async with asyncio.timeout(50), store.watch("c") as second:
            assert await nothing_comes(second)
            again.set()
            assert await taken(second, 1) == [READY]
        assert await taken(first, 1) == [READY]


async def test_many_waiting_keys_become_one_lost_in_bounded_memory():
    store = Scripted(ready)
    async with store.watch("c") as changes:
        tracemalloc.start()
        for number in range(100_000):
            store.feed.changed("c", f"key {number}")
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert used < 4_000_000
        assert await taken(changes, 2) == [LOST, READY]
        assert await nothing_comes(changes)
        for number in range(MAX_WAITING):
            store.feed.changed("c", f"key {number}")
        assert await taken(changes, MAX_WAITING) == [changed(f"key {number}") for number in range(MAX_WAITING)]


async def test_a_key_that_changes_between_lost_and_ready_is_reported_after_both():
    """A read that began before `lost` was taken is told of it; one that began after it has to hear of the key."""
    store = Scripted(ready)
    async with store.watch("c") as changes:
        await taken(changes, 1)
        store.feed.lost()
        assert await taken(changes, 1) == [LOST]
        store.feed.changed("c", "k")
        assert await taken(changes, 2) == [READY, changed("k")]


async def test_nothing_is_reported_between_a_broken_connection_and_ready():
    """What is read after such a report could go out of date without another `lost`, as the next try may fail too."""
    script, event = breaking()
    again, restored = asyncio.Event(), asyncio.Event()

    async def unready(feed):
        feed.changed("c", "early")
        again.set()
        await restored.wait()
        feed.ready()
        feed.changed("c", "k")
        await asyncio.Event().wait()

    store = Scripted(script, unready)
    async with store.watch("c") as changes:
        assert await taken(changes, 1) == [READY]
        event.set()
        assert await taken(changes, 1) == [LOST]
        await again.wait()
        assert await nothing_comes(changes)
        restored.set()
        assert await taken(changes, 2) == [READY, changed("k")]


async def test_a_loss_is_told_to_those_whose_collection_it_concerns():
    store = Scripted(ready)
    async with store.watch("c") as changes, store.watch("d") as others:
        await taken(changes, 1)
        await taken(others, 1)
        store.feed.lost("c")
        assert await taken(changes, 2) == [LOST, READY]
        assert await nothing_comes(others)
        store.feed.lost()
        assert await taken(others, 2) == [Change("lost", "d"), Change("ready", "d")]


async def test_an_engine_that_is_asked_by_collection_hears_of_later_ones():
    wanted = []

    async def apart(feed):
        async for collection in feed.wanted():
            wanted.append(collection)
            feed.ready(collection)

    store = Scripted(apart)
    async with store.watch("c") as first:
        async with store.watch("d") as second, store.watch("c") as third:
            for changes, name in ((first, "c"), (second, "d"), (third, "c")):
                assert await taken(changes, 1) == [Change("ready", name)]
        async with store.watch("d") as again:
            assert await taken(again, 1) == [Change("ready", "d")]
    assert wanted == ["c", "d"]
    assert store.runs == 1


async def test_the_last_watcher_releases_the_connection_also_when_it_is_cancelled():
    store = Scripted(ready, ready)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(store.watch("c"))
        assert (store.runs, store.released) == (1, 0)
    assert store.released == 1

    async def follow():
        async with store.watch("c") as changes:
            async for _ in changes:
                pass

    task = asyncio.ensure_future(follow())
    await runs(store, 2)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.released == 2
    assert len(asyncio.all_tasks()) == 1


async def test_a_hook_that_fails_as_it_is_cancelled_is_not_called_again():
    async def breaks_at_its_end(feed):
        try:
            await ready(feed)
        except asyncio.CancelledError:
            raise ConnectionError("a task of its group failed") from None

    store = Scripted(breaks_at_its_end, ready)
    async with asyncio.timeout(50), store.watch("c"):
        pass
    assert (store.runs, store.released) == (1, 1)
    assert len(asyncio.all_tasks()) == 1


async def test_beginning_lasts_no_longer_than_a_request_may():
    class Timed(Scripted):
        def __init__(self, *scripts):
            super().__init__(*scripts)
            self._timeout = 0.05

    store = Timed(silent)
    with pytest.raises(StoreTimeoutError):
        async with store.watch("c"):
            pytest.fail("it was never ready")
    assert store.released == store.runs


async def test_beginning_can_be_cancelled():
    store = Scripted(silent)

    async def watch():
        async with store.watch("c"):
            pytest.fail("it was never ready")

    watching = asyncio.create_task(watch())
    await runs(store, 1)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert store.released == 1


async def test_a_hook_that_returns_is_called_again_and_those_who_join_wait():
    async def returns(feed):
        feed.ready()

    store = Scripted(returns, ready)
    async with store.watch("c") as changes:
        await runs(store, 2)
        assert await taken(changes, 2) == [LOST, READY]
    store = Scripted(lambda feed: asyncio.sleep(0), ready)
    async with store.watch("c") as changes:
        assert await taken(changes, 1) == [READY]
    assert store.runs == 2


async def test_closing_the_store_ends_the_iteration_with_an_error_after_what_waits():
    store = Scripted(ready)
    async with store.watch("c") as changes:
        await taken(changes, 1)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        await store.aclose()
        assert store.released == 1
        with pytest.raises(StoreClosedError, match="is closed"):
            await waiting
        with pytest.raises(StoreClosedError):
            await anext(changes)
    with pytest.raises(StoreClosedError):
        async with store.watch("c"):
            pytest.fail("the store is closed")


async def test_reports_of_other_threads_arrive():
    store = Scripted(ready)

    def report(start):
        for number in range(start, start + 1000):
            store.feed.changed("c", f"{number}")

    async with store.watch("c") as changes:
        await taken(changes, 1)
        threads = [threading.Thread(target=report, args=(start,)) for start in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        keys = {change.key for change in await taken(changes, 3000)}
        assert keys == {str(number) for number in range(3000)}
        for thread in threads:
            thread.join()


async def test_a_watch_is_entered_once():
    watch = Scripted(ready).watch("c")
    async with watch:
        pass
    with pytest.raises((RuntimeError, AttributeError)):
        await watch.__aenter__()
