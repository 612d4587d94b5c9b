"""Two processes with near caches over a real Redis, whose connections are cut at random.

No read is older than a write of its own process, and each process soon reads what the server has. Their caches have no
`hot_ttl`, so that a missed report would show for ever.
"""

import asyncio
import json
import random
import secrets
import sys
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.proxy import FaultyProxy
from tests.servers import server_url
from tests.wrappers.tiered import near_process
from tests.wrappers.tiered.staleness import NEVER, ReadsAndWrites, Step

pytestmark = pytest.mark.server("redis")


class NearProcess:
    def __init__(self, process, proxy):
        self.process, self.proxy = process, proxy

    async def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        answer = await self.process.stdout.readline()
        assert answer, "the process has ended"
        return json.loads(answer)


@asynccontextmanager
async def started(number, prefix):
    async with FaultyProxy(int(server_url("redis").rpartition(":")[2].partition("/")[0])) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, near_process.__file__, url, prefix, str(number)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        try:
            yield NearProcess(process, proxy)
        finally:
            process.kill()
            await process.wait()
            process._transport.close()  # or it is left to the garbage collector


async def one_history(number, chance, processes):
    """Let both processes work on the same keys; return what they did, and whether a connection was cut."""
    cuts = chance.random() < 0.1

    async def cut():
        await asyncio.sleep(chance.random() * 0.02)
        chance.choice(processes).proxy.cut()

    seed = chance.randrange(1 << 30)
    logs, _ = await asyncio.gather(
        asyncio.gather(*[process.tell("work", number, seed) for process in processes]),
        cut() if cuts else asyncio.sleep(0),
    )
    keys = {key: ReadsAndWrites() for key in near_process.KEYS}
    for process, log in enumerate(logs):
        for key, kind, value, start, end, known in log:
            if kind != "get" or known:
                step = Step(process, value, start, NEVER if end is None else end, known)
                (keys[key].reads if kind == "get" else keys[key].writes).append(step)
    for history in keys.values():
        history.check(near_process.LONGEST)
    settled = await asyncio.gather(*[process.tell("settle", number) for process in processes])
    assert [found["left"] for found in settled] == [[], []], f"history {number}: what was read stayed old"
    return sum(found["hits"] for found in settled)


async def explore(count):
    chance, prefix = random.Random(count), secrets.token_hex(8)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(started(number, prefix)) for number in range(2)]
        for number in range(count):
            hits = await one_history(number, chance, processes)
    assert hits > count


@pytest.mark.timeout(240)
async def test_no_process_reads_what_is_older_than_its_own_write_or_for_ever():
    await explore(100)


@pytest.mark.night
@pytest.mark.timeout(7200)
async def test_no_process_reads_what_is_too_old_in_10_000_histories():
    await explore(10_000)
