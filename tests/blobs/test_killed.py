"""A killed process leaves no torn blob and loses none that it was told is stored; sweeps remove the rest."""

import asyncio
import random
import time

import pytest

from satchel import DiskStore
from satchel.testing import FakeClock
from satchel.testing.conformance.suite import listed
from tests.blobs.writer import content, open_blobs
from tests.crash.harness import Writer


def kill_and_check(seed, directory):
    pause = random.Random(seed).uniform(0, 0.4)
    journal = Writer("tests.blobs.writer", str(directory), str(seed)).kill_after(pause)
    return asyncio.run(check(journal, directory))


async def check(journal, directory):
    """Compare the blobs with the journal, then sweep, and return how many chunks were left over."""
    later = FakeClock(time.time())
    async with DiskStore(directory) as store:
        blobs = open_blobs(store, clock=later)
        states = journal.possible
        keys = await listed(blobs.keys())
        assert set(keys) <= {key for _, key in states}
        for (_, key), possible in states.items():
            found = await blobs.get(key)
            assert found in [None if state is None else content(state) for state in possible], key
        before = await store.count("blobs/chunks")
        await sweep_thrice(blobs, later)
        live = 0
        for key in keys:
            info = await blobs.info(key)
            live += -(-info.size // (8 * 1024)) if info.size > 16 * 1024 else 0
            assert len(await blobs.get(key)) == info.size
        assert await store.count("blobs/chunks") == live
        for key in keys:
            await blobs.delete(key)
        await sweep_thrice(blobs, later)
        assert await store.count("blobs/chunks") == await store.count("blobs/uploads") == 0
        return before - live


async def sweep_thrice(blobs, clock):
    for _ in range(3):
        clock.advance(4000)
        await blobs.sweep()


@pytest.mark.long
def test_killed_writers_leave_no_torn_blob_and_nothing_unswept(tmp_path):
    left = [kill_and_check(seed, tmp_path / str(seed)) for seed in range(8)]
    assert any(left)  # or there was nothing to sweep


@pytest.mark.night
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(100, 200))
def test_many_killed_writers_leave_no_torn_blob_and_nothing_unswept(seed, tmp_path):
    kill_and_check(seed, tmp_path / "store")
