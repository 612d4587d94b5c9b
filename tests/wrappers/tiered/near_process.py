"""One process with a near cache over Redis, which does what its parent says and tells when it did what.

Its arguments are the URL, the prefix and its number. A line `work N SEED` has it read and write the keys of history N;
`settle N` has it read until they are what the server has. It answers each with a line of JSON.
"""

import asyncio
import json
import logging
import random
import sys
import time

from satchel import RedisStore, StoreError
from satchel.wrappers import NearCacheWrapper

KEYS = ("a", "b")
LONGEST = 30


async def one_step(store, chance, value, key):
    """Do one thing, and return its kind, its value, when it began and ended, and whether its outcome is known."""
    kind = chance.choice(["get", "get", "get", "get", "put", "delete"])
    begun = time.monotonic()
    try:
        match kind:
            case "get":
                value = await store.get("c", key)
            case "put":
                await store.put("c", key, value)
            case "delete":
                value = None
                await store.delete("c", key)
    except StoreError:
        return kind, value, begun, None, False
    return kind, value, begun, time.monotonic(), True


async def work(store, process, history, seed):
    chance = random.Random(seed * 2 + process)

    async def task(number):
        steps = []
        for step in range(12):
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.003)
            key = chance.choice(KEYS)
            value = f"{process}.{number}.{step}"
            steps.append((key, *await one_step(store, chance, value, f"{history}/{key}")))
        return steps

    return [step for steps in await asyncio.gather(task(0), task(1)) for step in steps]


async def settle(store, history):
    """Read until the near cache gives what the server has; return the keys that it does not give in time."""
    deadline = time.monotonic() + LONGEST
    left = list(KEYS)
    while left and time.monotonic() < deadline:
        try:
            entry = await store.get_entry("c", f"{history}/{left[0]}")
            found = await store.get("c", f"{history}/{left[0]}")
        except StoreError:
            await asyncio.sleep(0.01)
            continue
        if found == (None if entry is None else entry.value):
            left.pop(0)
        else:
            await asyncio.sleep(0.001)
    return left


async def main(url, prefix, process):
    logging.disable(logging.CRITICAL)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with NearCacheWrapper(RedisStore(url, prefix=prefix), hot_ttl=None) as store:
        while line := (await reader.readline()).split():
            history = line[1].decode()
            if line[0] == b"work":
                answer = await work(store, process, history, int(line[2]))
            else:
                answer = {"left": await settle(store, history), "hits": store.snapshot().hot.hits}
            print(json.dumps(answer), flush=True)  # noqa: T201  # its parent reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
