"""Calls that are recorded, renamed, deleted, queried and collected around, over a store that answers late."""

import asyncio
from contextlib import suppress

import pytest

from satchel import KeyMissingError, StoreError
from satchel.content import Calls, FunctionCall
from satchel.content.calls import calls, index
from tests.content.test_content_schedules import AGE, Root, World, explore
from tests.coordination.virtual import wall_clock

NAMES = ["f", "g"]


@pytest.fixture(autouse=True)
def hasty_queries(monkeypatch):
    """Tidy up so early that a stopped process meets it often."""
    monkeypatch.setattr(index, "GRACE", AGE)
    monkeypatch.setattr(calls, "GRACE", AGE)


class CallWorld(World):
    """World whose records are calls, which queries have to find, and which change their names."""

    queried = 0

    def recorded_in(self, content):
        return Calls(content, clock=wall_clock)

    async def record(self, content, key):
        root = Root(self.value(), key)
        call = FunctionCall(self.chance.choice(NAMES), {"key": key}, root.value, tags={"key": key})
        root.key = await self.recorded_in(content).record(call)
        self.acknowledge(root)
        self.recorded += 1

    async def move(self, content, key):
        recorded = [root for root in self.roots if root.key is not None]
        if not recorded:
            return
        old, moved = self.chance.choice(recorded), []

        def renamed(call):
            if call.digest != old.key:
                return None
            moved.append(call)
            return call.replace(name=f"{call.name}-{key}")

        found_in = self.recorded_in(content)
        self.roots.remove(old)  # from here on it may be under either name
        root = Root(old.value, None)
        await found_in.transform(renamed)
        if moved and old not in self.roots:
            root.key = (await found_in.query(fn=f"{moved[0].name}-{key}").only()).digest
            self.acknowledge(root)
            self.moved += 1

    async def forget(self, content, key):
        recorded = [root for root in self.roots if root.key is not None]
        if recorded:
            root = self.chance.choice(recorded)
            self.roots.remove(root)
            await self.recorded_in(content).delete(root.key)

    async def load(self):
        """Query all the time, which tidies up the index."""
        found_in = self.recorded_in(self.process())
        for _ in range(20):
            await asyncio.sleep(self.chance.choice([1, 50, AGE / 2, AGE]))
            with suppress(StoreError):
                before = {root.key for root in self.roots}
                found = {call.digest async for call in found_in.query()}
                assert before & {root.key for root in self.roots} - {None} <= found, "a call is not found"
                self.queried += len(found)

    async def check(self):
        await super().check()
        content = self.process()
        found_in = self.recorded_in(content)
        expected = {root.key for root in self.roots} - {None}
        assert expected <= {call.digest async for call in found_in.query()}
        await asyncio.sleep(4 * AGE)
        await found_in.query().count()
        present = {key for name, key in self.server.data if name == "calls"}
        for name, key in self.server.data:
            if name == "calls/index" and key.startswith("fn\0"):
                assert key.rsplit("\0", 1)[1] in present, "a key leads to nothing"
        for digest in expected:
            call = await found_in.load(digest)
            with suppress(KeyMissingError):  # a part may have been evicted
                await call.load()


def explore_calls(count, start=0):
    for seed in range(start, start + count):
        explore(seed, CallWorld)


def test_a_recorded_call_is_found_and_whole_in_5_schedules():
    explore_calls(5)


@pytest.mark.long
def test_a_recorded_call_is_found_and_whole_in_50_schedules():
    explore_calls(50, start=5)


def test_a_process_that_is_stopped_while_it_tidies_up_takes_no_key_whose_record_has_come():
    explore(1_004_353, CallWorld)


@pytest.mark.night
@pytest.mark.timeout(7200)
def test_a_recorded_call_is_found_and_whole_in_20_000_schedules():
    explore_calls(20_000)


@pytest.mark.long
def test_the_schedules_have_in_them_what_they_are_about():
    worlds = [explore(seed, CallWorld) for seed in range(500, 520)]
    assert sum(world.killed for world in worlds) > 15
    assert sum(world.recorded for world in worlds) > 50
    assert sum(world.moved for world in worlds) > 2
    assert sum(world.removed for world in worlds) > 50
    assert sum(world.queried for world in worlds) > 250
