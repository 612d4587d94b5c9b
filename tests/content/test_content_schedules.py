"""Saves, records, pins and evictions against collections, over a store that answers late, among processes that die."""

import asyncio
import math
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import KeyMissingError, StoreError
from satchel.content import ContentStore, digest, store
from satchel.content.collecting import Collector
from satchel.content.freshening import Freshener
from satchel.content.planning import Plan
from satchel.content.records import NodeRecord, unpack
from satchel.content.store import Saving
from tests.blobs.test_schedules import StoppableConnection
from tests.coordination.test_lock_schedules import SlowServer
from tests.coordination.virtual import run, wall_clock
from tests.scripted import BatchStore

AGE = 1000
"""`older_than` of all."""
FOREVER = 10**7


@pytest.fixture(autouse=True)
def no_log(caplog):
    """Spare the time of writing some thousand warnings."""
    caplog.set_level("CRITICAL", "satchel")


class Root:
    """Value that was to be kept from some moment on: by a record with a key, or by a pin if the key is None."""

    def __init__(self, value, key):
        self.value, self.digest, self.key, self.begun = value, digest(value), key, wall_clock()
        self.parts = {self.digest, *map(digest, value), *(digest(number) for pair in value for number in pair)}


class Eviction:
    """Eviction of a part."""

    def __init__(self, part):
        self.digest, self.ended = digest(part), math.inf


class World:
    """Savers, readers and collectors, some of which are stopped or killed, and what has to be there."""

    def __init__(self, seed):
        random.seed(seed)
        self.chance = random.Random(seed)
        self.server = SlowServer(delay=self._delay)
        self.server.loses_answer = lambda: self.chance.random() < 0.02
        self.roots, self.evictions = [], []
        self.killed = self.recorded = self.removed = self.late = self.read = self.moved = 0

    def _delay(self):
        return self.chance.choices([0, 0.1, 1, 5, AGE / 4, AGE], [70, 10, 4, 1, 0.5, 0.2])[0]

    def process(self, *, killed=False, depth=2):
        connection = StoppableConnection(self.server)
        server = BatchStore(connection, clock=wall_clock)
        server._timeout = FOREVER  # requests of a stopped process do not end in an error
        if killed:
            self.killed += 1
            connection.left, connection.last_is_sent = self.chance.randrange(1, 60), self.chance.random() < 0.5
        content = ContentStore(server, depth=depth, older_than=AGE, clock=wall_clock)
        content.connection = connection
        return content

    def value(self):
        """Return one of a few values that have parts in common, of which some have parts themselves."""
        return [[self.chance.randrange(3), self.chance.randrange(2)] for _ in range(self.chance.randrange(1, 3))]

    async def pause(self, connection):
        seconds = self.chance.choices([0, 1, AGE / 5, AGE / 3, AGE, 2 * AGE], [40, 20, 10, 10, 5, 2])[0]
        if self.chance.random() < 0.5:
            connection.stop(seconds)
        else:
            await asyncio.sleep(seconds)

    async def write(self, number, *, killed):
        content = self.process(killed=killed, depth=self.chance.choice([0, 1, 2, 2]))
        for step in range(5):
            await self.pause(content.connection)
            with suppress(StoreError, KeyMissingError):
                kind = self.chance.choices(["record", "move", "forget", "pin", "evict"], [8, 2, 4, 0.3, 0.5])[0]
                await getattr(self, kind)(content, f"{number}.{step}")

    async def record(self, content, key):
        root = Root(self.value(), key)
        await content.register_roots("calls")
        saving = content.saving()
        assert await saving.save(root.value) == root.digest
        if self.chance.random() < 0.3:
            await self.pause(content.connection)
        await self.publish(content, root)
        await saving.finish()
        self.acknowledge(root)
        self.recorded += 1

    async def publish(self, content, root):
        await content.store.put("calls", root.key, {"format": 1, "roots": [str(root.digest)]})

    def acknowledge(self, root):
        self.roots.append(root)

    async def move(self, content, key):
        """Replace a record by another one with the same root, as a change of a recorded call does."""
        recorded = [root for root in self.roots if root.key is not None]
        if not recorded:
            return
        old = self.chance.choice(recorded)
        new = Root(old.value, key)
        saving = content.saving()
        await saving.save(old.digest)
        await self.publish(content, new)
        await saving.finish(rewrite=True)
        self.acknowledge(new)
        if old in self.roots:
            self.roots.remove(old)
        await content.store.delete("calls", old.key)
        self.moved += 1

    async def forget(self, content, key):
        recorded = [root for root in self.roots if root.key is not None]
        if recorded:
            root = self.chance.choice(recorded)
            self.roots.remove(root)
            await content.store.delete("calls", root.key)

    async def pin(self, content, key):
        value = self.value()
        await content.save(value)
        if self.chance.random() < 0.3:
            await self.pause(content.connection)
        root = Root(value, None)
        await content.pin(root.digest)
        self.acknowledge(root)

    async def evict(self, content, key):
        eviction = Eviction(self.chance.choice([0, 1, *self.value()]))
        self.evictions.append(eviction)
        await content.evict(eviction.digest)
        eviction.ended = wall_clock()

    async def collect(self):
        content = self.process(killed=self.chance.random() < 0.3)
        for _ in range(5):
            await self.pause(content.connection)
            with suppress(StoreError):
                await asyncio.sleep(self.chance.choice([1, AGE / 2, AGE]))
                self.removed += (await content.gc()).removed

    async def load(self):
        content = self.process()
        for _ in range(5):
            await asyncio.sleep(self.chance.choice([1, 50, AGE / 2]))
            if self.roots:
                root = self.chance.choice(self.roots)
                with suppress(StoreError):
                    await self.check_root(content, root)
                    self.read += 1

    async def check_root(self, content, root):
        try:
            assert await content.load(root.digest) == root.value
        except KeyMissingError:
            evicted = any(one.digest in root.parts and one.ended >= root.begun for one in self.evictions)
            assert evicted or root not in self.roots, "a part of what was recorded is gone"

    async def live(self):
        work = [self.write(number, killed=self.chance.random() < 0.4) for number in range(3)]
        work += [self.collect(), self.collect(), self.load()]
        tasks = [asyncio.create_task(one) for one in work]
        await asyncio.wait(tasks, timeout=30 * AGE)
        for task in tasks:
            task.cancel()  # those that were killed wait for ever
        self.server.loses_answer, self.server.delay = lambda: False, lambda: 0
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
        await self.check()

    async def check(self):
        content = self.process()
        for root in self.roots:
            await self.check_root(content, root)
        for _ in range(2):
            await asyncio.sleep(2 * AGE)
            self.removed += (await content.gc()).removed
            for root in self.roots:
                await self.check_root(content, root)
        present = {key for name, key in self.server.data if name == "content"}
        recorded = [record async for record in self.all_recorded(content)]
        assert present <= await self.reachable(content, recorded), "something is left over"

    async def all_recorded(self, content):
        async for page in content._roots.pages():
            for root in page:
                yield root

    async def reachable(self, content, digests):
        waiting, found = list(digests), set(digests)
        while waiting:
            value = await content.store.get("content", waiting.pop())
            record = None if value is None else unpack(value)
            if isinstance(record, NodeRecord):
                waiting += sorted(set(record.children) - found)
                found |= set(record.children)
        return found


def explore(seed, world=World):
    made = world(seed)
    run(made.live())
    return made


def explore_many(count, start=0):
    for seed in range(start, start + count):
        explore(seed)


@given(st.integers(min_value=0, max_value=2**32))
def test_nothing_that_was_recorded_is_collected_and_nothing_else_is_left(seed):
    explore(seed)


@pytest.mark.night
@pytest.mark.timeout(7200)
def test_nothing_that_was_recorded_is_collected_in_20_000_schedules():
    explore_many(20_000)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_nothing_that_was_recorded_is_collected_in_200_schedules():
    explore_many(200)


@pytest.mark.long
def test_the_schedules_have_in_them_what_they_are_about():
    worlds = [explore(seed) for seed in range(300, 340)]
    assert sum(world.killed for world in worlds) > 30
    assert sum(world.recorded for world in worlds) > 150
    assert sum(world.removed for world in worlds) > 60
    assert sum(world.moved for world in worlds) > 20
    assert sum(world.read for world in worlds) > 80


def is_caught(count=600):
    """Check that one of some schedules shows what was made wrong."""
    with pytest.raises(AssertionError):
        explore_many(count)


def without(plan, digests):
    return Plan(plan.root, {key: part for key, part in plan.parts.items() if key not in digests})


class TouchingFreshener(Freshener):
    """Gives what is old a new deadline, which keeps its version."""

    async def _attempt(self, plan, always):
        keys = list(plan.parts)
        entries = await self._store.get_entries(self._collection, keys)
        old = [key for key, entry in entries.items() if entry.updated_at < self._oldest()]
        for key in old:
            await self._store.touch(self._collection, key, ttl=None)
        return await super()._attempt(without(plan, old), always)


class TrustingFreshener(Freshener):
    """Takes a node that is there and young as a sign that its parts are."""

    async def _attempt(self, plan, always):
        parts = plan.parts
        entries = await self._store.get_entries(self._collection, list(parts))
        whole = [parts[key] for key, entry in entries.items() if entry.updated_at >= self._oldest()]
        skipped = set()
        while whole and not always:
            part = whole.pop()
            whole += [parts[child] for child in part.children or () if child not in skipped]
            skipped.update(part.children or ())
        return await super()._attempt(without(plan, skipped), always)


class HastyCollector(Collector):
    """Looks for roots before it lists what is old."""

    async def run(self):
        marked = await self._marked()
        candidates = await self._list_candidates()
        await self._remove({key: about for key, about in candidates.items() if key not in marked})
        return self._report


class ForgetfulSaving(Saving):
    """Does not write anything again after a record that came late."""

    async def finish(self, *, rewrite=False):
        pass


@pytest.mark.long
def test_freshening_by_touch_is_caught(monkeypatch):
    monkeypatch.setattr(store, "Freshener", TouchingFreshener)
    is_caught()


@pytest.mark.long
def test_an_existing_node_that_is_taken_as_whole_is_caught(monkeypatch):
    monkeypatch.setattr(store, "Freshener", TrustingFreshener)
    is_caught()


@pytest.mark.long
def test_roots_that_are_read_before_the_candidates_are_caught(monkeypatch):
    monkeypatch.setattr(store, "Collector", HastyCollector)
    is_caught()


@pytest.mark.long
def test_a_late_record_after_which_nothing_is_written_again_is_caught(monkeypatch):
    monkeypatch.setattr(store, "Saving", ForgetfulSaving)
    is_caught()
