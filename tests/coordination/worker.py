"""What a process of the tests does with a store: `python -m tests.coordination.worker WORK URL ARGUMENT ...`.

It says on its standard output how it fares, a line of JSON each time.
"""

import asyncio
import json
import logging
import sys
import warnings
from itertools import chain

from satchel import LockLostError, open_store
from satchel.coordination import Counter, Leader, Lock, Once, Queue, Semaphore


def say(*what):
    print(json.dumps(what), flush=True)  # noqa: T201  # the test reads it


async def increment(store, tasks, times):
    """Let tasks count so many times each; say what they were told."""
    counter = Counter(store, "shared")

    async def work():
        return [await counter.increment() for _ in range(int(times))]

    say(*chain(*await asyncio.gather(*[work() for _ in range(int(tasks))])))


async def write(store, token):
    """Add a token to the log that the lock protects; say whether it was let through."""
    while True:
        entry = await store.get_entry("protected", "log")
        if entry is None:
            written = await store.put_if_absent("protected", "log", [token])
        elif entry.value[-1] > token:
            return False
        else:
            tokens = entry.value if entry.value[-1] == token else [*entry.value, token]
            written = await store.compare_and_put("protected", "log", tokens, version=entry.version)
        if written is not None:
            return True


async def hold(store, ttl, writes):
    """Hold the lock for so many writes, and write once more when it was lost."""
    lock, token = Lock(store, "shared", ttl=float(ttl)), 0
    try:
        async with lock:
            token = lock.fencing_token
            for number in range(int(writes)):
                written = await write(store, token)
                if not number:
                    say("holds", token, written)
                await asyncio.sleep(0.01)
        say("released", token)
    except LockLostError:
        say("lost", token, await write(store, token))


async def take_turns(store, times):
    """Hold the lock again and again, and write each time."""
    for _ in range(int(times)):
        async with Lock(store, "shared", ttl=20) as lock:
            assert await write(store, lock.fencing_token)


async def run_once(store, racers):
    async def work():
        await Counter(store, "shared").increment()
        await asyncio.sleep(0.2)
        return {"done": True}

    once = Once(store)
    say(await asyncio.gather(*[once.run("key", work) for _ in range(int(racers))]))


async def work_through(store, lease):
    """Do jobs until none is left; say which one is begun."""
    logging.disable()  # a worker that was stopped logs that it has lost its job
    queue = Queue(store, "shared", lease=float(lease))
    while (job := await queue.take(timeout=2 * float(lease))) is not None:
        async with job:
            say("begun", job.value)
            await Counter(store, f"job {job.value}").increment()
            await asyncio.sleep(0.05)
    say("end")


async def share_permits(store, permits, times):
    """Hold a permit again and again; say how many held one at most."""
    semaphore, inside, most = Semaphore(store, "shared", permits=int(permits), ttl=20), Counter(store, "inside"), 0
    for _ in range(int(times)):
        async with semaphore.permit():
            most = max(most, await inside.increment())
            await asyncio.sleep(0.01)
            await inside.increment(by=-1)
    say(most)


async def lead(store, ttl):
    """Lead until the end."""
    async with Leader(store, "shared", ttl=float(ttl)).term() as term:
        say("leads", term.fencing_token)
        await asyncio.Event().wait()


async def run_for_ever(store, claim_ttl):
    async def work():
        say("begun")
        await asyncio.Event().wait()

    await Once(store, claim_ttl=float(claim_ttl)).run("key", work)


async def main(work, url, *arguments):
    async with open_store(url) as store:
        await globals()[work](store, *arguments)


if __name__ == "__main__":
    warnings.simplefilter("error")
    asyncio.run(main(*sys.argv[1:]))
