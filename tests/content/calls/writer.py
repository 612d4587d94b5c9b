"""The recorder of calls that is killed: `python -m tests.content.calls.writer DIRECTORY SEED`."""

import asyncio
import random
import sys

from satchel import DiskStore
from satchel.content import Calls, ContentStore, FunctionCall, memoize

TASKS = 4


def made_of(x):
    """Return what the memoized function makes of an argument."""
    return {"x": x, "parts": [[x, number, "a" * 1000] for number in range(30)]}


async def work(x):
    await asyncio.sleep(0)
    return made_of(x[0])


async def record_again_and_again(calls, chance):
    memoized = memoize(calls, name="work")(work)
    while True:
        x = chance.randrange(10**6)
        await memoized([x])
        print(x, flush=True)  # noqa: T201  # what the parent reads
        await calls.record(FunctionCall("direct", {"x": [x]}, result=made_of(x), tags={"x": x}))
        await memoized.query({"x": [x]}).delete()
        await memoized.rerun([x])


async def main():
    chance = random.Random(int(sys.argv[2]))
    async with DiskStore(sys.argv[1]) as store:
        calls = Calls(ContentStore(store))
        await asyncio.gather(*(record_again_and_again(calls, chance) for _ in range(TASKS)))


if __name__ == "__main__":
    asyncio.run(main())
