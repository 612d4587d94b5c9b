"""A process that is killed while it records leaves neither half a call nor a wrong one."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from satchel import DiskStore
from satchel.content import Calls, ContentStore
from satchel.testing import FakeClock
from tests.content.calls.writer import made_of


def kill_and_check(seed, directory):
    command = [sys.executable, "-m", "tests.content.calls.writer", str(directory), str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    shown = [process.stdout.readline()]  # it has begun
    time.sleep(random.Random(seed).uniform(0, 0.3))
    os.kill(process.pid, signal.SIGKILL)
    shown += process.communicate()[0].splitlines()
    return asyncio.run(check({int(line) for line in shown if line.strip().isdigit()}, directory))


async def check(finished, directory):
    """Load every call, before and after a collection of garbage, and return how many keys of the index led nowhere."""
    later = FakeClock(time.time())
    async with DiskStore(directory) as store:
        calls = Calls(ContentStore(store, clock=later), clock=later)
        digests = {key async for key in store.keys("calls")}
        await check_all(calls, digests)
        found = [call async for call in calls.query()]
        assert {call.digest for call in found} == digests
        keys = [key async for key in store.keys("calls/index", prefix="fn\0")]
        later.advance(7300)
        await calls.content.gc()
        await check_all(calls, digests)
        assert len(finished) > 0
        await calls.query().delete()
        await calls.query().count()  # it tidies up
        await calls.content.gc()
        assert not [key async for key in store.keys("content")]
        assert not [key async for key in store.keys("calls/index", prefix="fn\0")]
        return len(keys) - len(found)


async def check_all(calls, digests):
    for digest in digests:
        call = await calls.load(digest)
        ((x,),) = (await call.arguments()).values()
        assert await call.result() == made_of(x)


@pytest.mark.long
def test_a_killed_process_leaves_only_whole_calls(tmp_path):
    for seed in range(3):
        kill_and_check(seed, tmp_path / str(seed))


@pytest.mark.night
@pytest.mark.timeout(900)
def test_processes_killed_at_many_moments_leave_only_whole_calls(tmp_path):
    left = [kill_and_check(seed, tmp_path / str(seed)) for seed in range(100, 140)]
    assert any(left)  # or there was nothing to pass over
