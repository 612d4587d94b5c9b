"""Savers and collectors that are killed leave every value whole that was recorded, and nothing that stays."""

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from satchel.content import digest
from satchel.testing import FakeClock
from satchel.testing.conformance.suite import listed
from tests.content.saver import AGE, open_content, value_of
from tests.crash.harness import Writer

SAVERS = 2


def kill_in_turn(seed, directory, turns):
    """Let savers and a collector run, kill each some time later, start others, and return what the savers recorded."""
    chance = random.Random(seed)
    journals = []

    def run(mode, own_seed):
        for turn in range(turns):
            writer = Writer("tests.content.saver", mode, str(directory), str(own_seed * 1000 + turn))
            journals.append(writer.kill_after(chance.uniform(0.3, 1.2)))

    with ThreadPoolExecutor() as pool:
        started = [pool.submit(run, "save", seed * 10 + number) for number in range(SAVERS)]
        started.append(pool.submit(run, "collect", seed * 10 + 9))
        for one in started:
            one.result()
    possible, acknowledged = {}, 0
    for journal in journals:
        possible |= {name: states for name, states in journal.possible.items() if name[0] == "calls"}
        acknowledged += journal.acknowledged
    return possible, acknowledged


async def check(directory, possible):
    """Compare the records with the journals; load what was recorded, also after a collection; then forget it all."""
    later = FakeClock(time.time())
    content = open_content(directory, clock=later)
    async with content.store as store:
        for _ in range(2):
            for (_, key), states in possible.items():
                record = await store.get("calls", key)
                if len(states) == 1:  # recorded, and nothing was begun since
                    assert record["roots"] == [digest(value_of(states[0]))]
                    assert await content.load(record["roots"][0]) == value_of(states[0])
            later.advance(2 * AGE)
            await content.gc()
        await store.destroy_collection("calls")
        left = await content.gc()
        assert await listed(store.keys("content")) == []
        return left.removed


def run_and_check(seed, directory, turns):
    possible, acknowledged = kill_in_turn(seed, directory, turns)
    assert asyncio.run(check(directory, possible)) > 0
    assert acknowledged > 20


@pytest.mark.long
@pytest.mark.timeout(120)
def test_killed_savers_and_collectors_leave_whole_what_was_recorded(tmp_path):
    run_and_check(1, tmp_path, turns=3)


@pytest.mark.night
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 22))
def test_many_killed_savers_and_collectors_leave_whole_what_was_recorded(seed, tmp_path):
    run_and_check(seed, tmp_path, turns=10)
