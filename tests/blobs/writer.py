"""The writer of blobs that is killed: `python -m tests.blobs.writer DIRECTORY SEED`.

Each task has keys of its own and says in the journal what it is about to do, and what is done, as the writer of
`tests.crash` does. A blob is told by its length and its seed.
"""

import asyncio
import random
import sys

from satchel import DiskStore
from satchel.blobs import StoreBlobs
from tests.crash.harness import begin, done

LENGTHS = [0, 100, 16 * 1024, 16 * 1024 + 1, 70_000, 300_000]
CHUNK = 8 * 1024
TASKS = 4


def content(state):
    """Return the bytes of a blob that the journal has as `[length, seed]`."""
    length, seed = state
    return random.Random(seed).randbytes(length)


def open_blobs(store, **options):
    return StoreBlobs(store, chunk_size=CHUNK, **options)


async def change_again_and_again(blobs, chance, task):
    while True:
        key = f"{task}-{chance.randrange(3)}"
        state = [chance.choice(LENGTHS), chance.randrange(10**9)]
        kind = chance.choices(["put", "delete", "touch", "copy"], [5, 2, 1, 1])[0]
        if kind == "put":
            begin(("blobs", key, state))
            async with blobs.open(key, "wb") as file:
                await file.write(content(state))
            done(("blobs", key, state))
        elif kind == "delete":
            begin(("blobs", key, None))
            await blobs.delete(key)
            done(("blobs", key, None))
        elif kind == "touch":
            await blobs.touch(key, ttl=chance.choice([None, 10**6]))
        else:
            begin(("blobs", f"{key}-copy", state))
            begin(("blobs", f"{key}-original", state))
            await blobs.put(f"{key}-original", content(state))
            done(("blobs", f"{key}-original", state))
            await blobs.copy(f"{key}-original", f"{key}-copy")
            done(("blobs", f"{key}-copy", state))
            begin(("blobs", f"{key}-original", None))
            await blobs.delete(f"{key}-original")
            done(("blobs", f"{key}-original", None))


async def main():
    directory, seed = sys.argv[1:]
    blobs = open_blobs(DiskStore(directory))
    chance = random.Random(int(seed))
    await asyncio.gather(*(change_again_and_again(blobs, chance, str(task)) for task in range(TASKS)))


if __name__ == "__main__":
    asyncio.run(main())
