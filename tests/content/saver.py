"""The savers and the collector that are killed: `python -m tests.content.saver MODE DIRECTORY SEED`.

A saver says in the journal which value it is about to record under a key, and which it has recorded. All count on an
age of a second, so that a collection finds something. The clocks are those of the machine.
"""

import asyncio
import random
import sys

from satchel import DiskStore
from satchel.content import ContentStore
from tests.crash.harness import begin, done

AGE = 1.0
TASKS = 3


def value_of(seed):
    """Return one of a few values that have parts in common."""
    chance = random.Random(seed)
    return [{"n": chance.randrange(6), "tags": [chance.randrange(3), "x" * chance.randrange(3)]} for _ in range(3)]


def open_content(directory, **options):
    return ContentStore(DiskStore(directory), older_than=AGE, **options)


async def record_again_and_again(content, chance, task):
    for turn in range(10**9):
        key, seed = f"{task}-{turn % 4}", chance.randrange(40)
        begin(("calls", key, seed))
        saving = content.saving()
        saved = await saving.save(value_of(seed))
        await asyncio.sleep(chance.choice([0, 0, 0.01, AGE / 3]))
        await content.store.put("calls", key, {"format": 1, "roots": [str(saved)]})
        await saving.finish()
        done(("calls", key, seed))


async def collect_again_and_again(content):
    while True:
        begin(("nothing", "collected", None))
        await content.gc()
        await asyncio.sleep(0.05)


async def main():
    mode, directory, seed = sys.argv[1:]
    chance = random.Random(int(seed))
    content = open_content(directory, depth=chance.randrange(4))
    if mode == "collect":
        await collect_again_and_again(content)
    await content.register_roots("calls")
    await asyncio.gather(*(record_again_and_again(content, chance, f"{seed}-{task}") for task in range(TASKS)))


if __name__ == "__main__":
    asyncio.run(main())
